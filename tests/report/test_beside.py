"""Two runs beside each other."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.report.beside import beside
from nas.report.page import compose
from nas.runs.folder.run import Run
from nas.training.recipe import Recipe


@pytest.fixture
def other(written: Path, tmp_path: Path) -> Run:
    """The same run of which only the first twelve trials are there, under another budget."""
    found = Run(shutil.copytree(written, tmp_path / "other"))
    found.trials, found.front = found.trials.head(12), found.front[found.front["trial"] < 12]
    found.record = replace(found.record, budget="50gflops")
    return found


def test_picks_fronts_volumes_and_settings(run: Run, other: Run) -> None:
    report = compose(run, other)
    text = report.markdown
    assert "## Beside other" in text and "beside.png" in report.pictures
    # 78.9 % of trial 23 and 59.0 % of trial 1, each with the error of 256 clips.
    assert "The pick of run is 19.9 points (+11.9 to +27.9) above that of other on validation." in text
    assert "Hypervolume after 11 (%)" in text and "| budget | 100gflops; 50gflops |" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| run |", "| other |"))]
    assert rows[0][2] == rows[1][2] and rows[0][3] == "trial 23" and rows[1][3] == "trial 1"
    assert "are not of the same thing" not in text
    other.record = replace(other.record, clips={"val": 12})
    unlike = compose(run, other).markdown
    assert "They differ in clips, so neither accuracies nor hypervolumes are of the same thing." in unlike
    dashes = [line.split(" | ")[2] for line in unlike.splitlines() if line.startswith(("| run |", "| other |"))]
    assert dashes == ["\N{EN DASH}"] * 2
    assert "The pick of run is" not in unlike
    other.record = run.record
    assert "The pick of other is 19.9 points (+11.9 to +27.9) below that of run" in compose(other, run).markdown


def test_runs_of_another_seed_or_an_older_version_are_of_the_same_thing(run: Run, other: Run) -> None:
    proxy = run.record.proxy
    assert proxy is not None
    recipe = asdict(Recipe(proxy.epochs))
    older = {name: value for name, value in recipe.items() if name != "initial_gain"}

    def unlike(**changes: object) -> bool:
        run.record = replace(run.record, proxy=replace(proxy, recipe=recipe))
        other.record = replace(other.record, proxy=replace(proxy, recipe=older | changes))
        return "They differ in proxy" in compose(run, other).markdown

    assert not unlike(seed=7, stages=[])  # as JSON has it
    assert unlike(lr=1e-3)


def test_runs_of_other_objectives_and_without_trainings_are_refused(run: Run, other: Run) -> None:
    other.record = replace(other.record, objectives=("accuracy", "latency_ms"))
    with pytest.raises(NasError, match="allowed: two runs of the same objectives"):
        beside(run, other)
    other.record, other.trials = run.record, other.trials.head(0)
    with pytest.raises(NasError, match="'other' trained no network"):
        beside(run, other)


def test_runs_of_one_name_are_told_apart(run: Run, other: Run) -> None:
    other.path = Path("elsewhere") / run.path.name
    assert "run (this)" in compose(run, other).markdown

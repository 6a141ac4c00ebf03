"""What a choice is defended by: comparison, limits, predictions, the drawn picks, the command."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nas
from nas.data.clips import Clips
from nas.data.strips import write_strips
from nas.profiler.tables.rows import Row, part_workloads
from nas.profiler.tables.table import Table
from nas.report.differences import Difference, best_of_control, difference, paired
from nas.report.panels.classes import Classes
from nas.report.panels.comparison import Comparison
from nas.report.panels.data import Data
from nas.report.panels.drawn import Drawn, training_charts
from nas.report.panels.limits import Limits
from nas.report.panels.predicted import Predicted
from nas.report.panels.repeat import Repeat, command
from nas.runs.folder import journal
from nas.runs.folder.journal import Curve, begun, curves
from nas.runs.folder.record import ProxyRecord
from nas.runs.folder.run import Run
from nas.runs.folder.tables import LATENCIES
from nas.runs.settings import Settings
from nas.trials.answers import AnswerBook
from nas.units import MISSING

BEFORE = Path(__file__).parents[2] / "runs" / "run_of_version_0.1"


def text(panel: object, run: Run) -> str:
    return "\n\n".join(block.markdown() for block in panel.blocks(run))  # type: ignore[attr-defined]


def test_a_difference_is_of_independent_shares(run: Run) -> None:
    # sqrt(.8 x .2 / 256 + .5 x .5 / 256) = 0.0400
    found = difference(run, {"accuracy": 0.8, "accuracy_se": math.nan}, {"accuracy": 0.5, "accuracy_se": math.nan})
    assert found.error == pytest.approx(0.04002, abs=1e-4) and found.clear
    assert found.text("it") == "30.0 points (+22.0 to +38.0) above it"
    # The luck of training is larger than that of the clips: sqrt(.06^2 + .5 x .5 / 256) = 0.0677.
    found = difference(run, {"accuracy": 0.6, "accuracy_se": 0.06}, {"accuracy": 0.5, "accuracy_se": 0.0})
    assert found.error == pytest.approx(0.0677, abs=1e-3) and not found.clear
    run.record = replace(run.record, clips={})
    unknown = difference(run, {"accuracy": 0.8}, {"accuracy": 0.5})
    assert unknown.text("it") == "30.0 points above it" and not unknown.clear
    assert Difference(-0.1, 0.01).clear
    assert Difference(0.1, 0.2).text("it") == "10.0 points (-30.0 to +50.0; may be luck) above it"
    assert Difference(-0.1, 0.01).text("it") == "10.0 points (+8.0 to +12.0) below it"


def answered(run: Run, folder: Path, trial: int, *trainings: str) -> None:
    """Keeps what a network called ten clips of class 1 by each of its trainings, and its mean
    accuracy.
    """
    for repeat, text in enumerate(trainings):
        called = {"val": tuple(map(int, text)), "test": (0, 1, 2)}
        AnswerBook(folder, {"val": [1] * 10, "test": [0, 1, 1]}).add(trial, repeat, called)
    accuracy = sum(text.count("1") for text in trainings) / 10 / len(trainings)
    for table in (run.trials, run.front, run.control):
        if len(table):
            table.loc[table["trial"] == trial, "accuracy"] = accuracy


def test_two_networks_of_a_run_are_compared_clip_by_clip(run: Run) -> None:
    # One alone is right on 3 clips, the other alone on 1: .2, McNemar's
    # sqrt((3 + 1 - 2^2 / 10) / (10 x 9)) = 0.2.
    answered(run, run.path, 23, "1111111200")
    answered(run, run.path, 17, "1111200010")
    one, other = run.row(23), run.row(17)
    found = paired(run, one, other)
    assert found.paired and found.by == pytest.approx(0.2) and found.error == pytest.approx(0.2)
    # The luck of training is another: sqrt(.2^2 + .03^2 + .04^2).
    seeds = paired(run, one | {"accuracy_se": 0.03}, other | {"accuracy_se": 0.04})
    assert seeds.error == pytest.approx(math.sqrt(0.0425))
    assert "compared clip by clip" in text(Comparison(), run)


def test_seeds_of_a_clip_are_taken_together(run: Run) -> None:
    """Right in both seeds, in one, in none: 1, .5 and 0; the other network is right in all."""
    answered(run, run.path, 23, "1111111100", "1111110000")
    answered(run, run.path, 17, "1111111111")
    found = paired(run, run.row(23), run.row(17))
    # Of -.5, -.5, -1, -1 and six zeros: mean -.3, variance (2.5 - .9) / 9.
    assert found.by == pytest.approx(-0.3) and found.error == pytest.approx(math.sqrt(1.6 / 9 / 10))


def test_without_all_answers_two_networks_are_two_shares(run: Run) -> None:
    answered(run, run.path, 23, "1111111200")
    answered(run, run.path, 17, "1111110000")
    one, other = run.row(23), run.row(17)
    run.trials.loc[run.trials["trial"] == 17, "accuracy"] = 0.75  # a seed whose answers are not there
    assert not paired(run, one, other).paired and paired(run, one, other) == difference(run, one, other)
    assert "count as independent shares" in text(Comparison(), run)


def test_the_picks_class_by_class(run: Run) -> None:
    answered(run, run.path, 23, "1" * 10, "1" * 10)
    said = text(Classes(), run)
    # Three test clips of class 0, 1, 1 that both trainings called 0, 1, 2.
    assert "trial 23:" in said and "the 256 test clips" in said
    assert "| 0 move_right | 100 % of 1 | 2 | 0 | 0 |" in said
    assert "| 1 move_left | 50.0 ± 35.4 % | 0 | 2 | 2 |" in said
    assert f"| 2 turn_clockwise | {MISSING} | 0 | 0 | 0 |" in said
    page = Classes().blocks(run)[1].html()
    assert page.count('class="right"') == 3 and "--share: 30%" in page


def test_many_classes_are_a_table(run: Run) -> None:
    run.record = replace(run.record, classes=tuple(f"class {i}" for i in range(30)))
    answered(run, run.path, 23, "1" * 10)
    assert "Most often taken for" in Classes().blocks(run)[1].html() and text(Classes(), run).endswith(".\n\n")
    run.record = replace(run.record, classes=("one",))  # the answers name others
    assert not Classes().applies(run)


def test_the_pick_stands_beside_every_other_of_the_front(run: Run) -> None:
    said = text(Comparison(), run)
    assert "| trial 17 | +4.3 | -3.2 to +11.8 | may be luck | 1.5 | 1.8 | 1.7 |" in said
    rows = [line for line in said.splitlines() if line.startswith("| trial")]
    assert len(rows) == len(run.front) - 1 and "best of" not in said
    run.front = run.front[run.front["trial"] == 23]
    assert not Comparison().applies(run)


def test_the_best_of_random_search_is_beside_it_if_it_keeps_the_limits(run: Run) -> None:
    rows = {"by": ["random"] * 3 + ["search"], "trial": [0, 1, 2, 0], "accuracy": [0.5, 0.9, math.nan, 0.7]}
    run.control = pd.DataFrame(rows | {"macs": [5e9, 2e11, 1e9, 1e9]})
    best = best_of_control(run)
    assert best and (best["accuracy"], best["trainings"]) == (0.5, 3)
    assert "| best of 3 random trainings | +28.9 |" in text(Comparison(), run)


def test_the_share_of_each_limit_that_the_pick_uses(run: Run) -> None:
    run.record = replace(run.record, budget="100gflops,40ms")
    said = text(Limits(), run)
    assert "| 100gflops | 24.4 GFLOPs | 24 | multiply-adds | computed |" in said
    assert "| 40ms | 34.3 ms | 86 | latency | measured |" in said


def test_limits_stand_beside_a_network_without_a_front_too(run: Run) -> None:
    run.record, run.front = replace(run.record, budget="100gflops"), run.front.head(0)
    best = run.trials.sort_values("accuracy").dropna(subset="accuracy")["trial"].iloc[-1]
    assert f"What trial {best}, the most accurate network so far, uses" in text(Limits(), run)
    run.record = replace(run.record, budget="1gflops")
    run.over = run.trials.dropna(subset="accuracy").assign(breaks="too large")
    assert f"What trial {run.nearest()}, the network that misses them least, uses" in text(Limits(), run)


def test_predictions_stand_beside_measurements(run: Run) -> None:
    said = text(Predicted(), run)
    row = run.front[run.front["trial"] == 23].iloc[0]
    assert f"| 23 | {row['latency_ms_predicted']:.1f} | {row['latency_ms']:.1f} | 0.99 |" in said
    assert "of 9 networks" in said and "memory" not in said  # what was computed of it is not in this run
    run.front["latency_ms"] = math.nan
    assert not Predicted().applies(run)


def test_the_picks_are_drawn_from_their_files(tmp_path: Path) -> None:
    run = Run(shutil.copytree(BEFORE, tmp_path / "run"))
    trial = run.pick_trial()
    said = text(Drawn(), run)
    network = nas.load(run.path / "architectures" / f"{trial}.yaml")
    layers = [layer.op for stage in network.stages for layer in stage.layers]
    drawn = said[said.index(f"trial {trial}:") :]
    assert all(f"{op} " in drawn for op in layers) and "- stem (" in drawn and "- head" in drawn
    assert "Validation accuracy in the search, by epochs" in said
    # A device on which every part takes as long: a share of the time of one of so many.
    table, parts = Table("box"), part_workloads(network)
    for workload in parts:
        table.add(Row(workload, 1.0, 0.01, 9))
    table.save(run.path / LATENCIES)
    shown = f", {100 / len(parts):.0f} % of the time)"
    assert text(Drawn(), run).count(shown) == len(parts) * len(set(run.picks().values()))
    (run.path / LATENCIES).write_text("nothing\n")
    assert "of the time" not in text(Drawn(), run)
    (run.path / "architectures" / f"{trial}.yaml").write_text("{")
    assert f"trial {trial}:" not in text(Drawn(), run)


def test_accuracy_and_loss_of_a_pick_are_drawn_over_its_epochs(run: Run) -> None:
    charts = training_charts(run, 23, "knee", Curve((0.125, 0.25, 0.25), (2, 4, 4), (2.5, 2.25, 2.0, 1.5)))
    assert charts
    (chart,) = charts.charts
    accuracy, loss = ([(mark.x, mark.y) for mark in plane.marks] for plane in chart.planes)  # type: ignore[union-attr]
    assert accuracy == [([2, 4], [12.5, 25.0])] and loss == [([1, 2, 3, 4], [2.5, 2.25, 2.0, 1.5])]
    assert (chart.name, chart.size) == ("training_knee", "small") and chart.planes[0].x.ticks[-1] == 4
    assert chart.notes == [
        "Validation accuracy in the search, by epochs: 12.5 % after 2, 25.0 % after 4.",
        "Mean loss of the training clips: 2.50 in the first epoch, 1.50 in the last.",
    ]


def test_one_epoch_is_no_curve(run: Run) -> None:
    assert training_charts(run, 23, "knee", Curve((0.25,), (1,), (2.5,))) is None
    # Of an earlier version: the record tells the epochs of its rungs, unless they were in seconds.
    run.record = replace(run.record, proxy=ProxyRecord(8, (32, 32), 6, (3, 6)))
    charts = training_charts(run, 23, "knee", Curve((0.25, 0.5)))
    assert charts and "25.0 % after 3, 50.0 % after 6." in charts.markdown()
    run.record = replace(run.record, settings=Settings(rung_seconds=20.0))
    assert training_charts(run, 23, "knee", Curve((0.25, 0.5))) is None


def test_the_command_names_what_is_no_default(run: Run) -> None:
    settings = Settings(space="hybrid", budget="30ms", trials=8, proxy_frames=8, proxy_size=32, rung_seconds=20.0)
    words = command(settings)
    assert words.startswith("nas search hybrid ") and "--seed" not in words
    assert all(part in words for part in ("--budget 30ms", "--trials 8", "--proxy 8x32", "--rungs 20s"))
    run.record = replace(run.record, settings=settings, versions={"torch": "2.13.0"})
    said = text(Repeat(), run)
    assert f"`{words}`" in said and "| torch | 2.13.0 |" in said
    private = command(Settings(data="/of/somebody/clips.csv", around="/x/net.yaml"))
    assert "--data clips.csv" in private and "--around net.yaml" in private and "somebody" not in private


def test_data_names_clips_and_classes(run: Run) -> None:
    said = text(Data(), run)
    assert (
        "Each training used 1,024 training, 256 validation and 256 test clips." in said
        and "| 2 | turn_clockwise |" in said
    )


def test_a_clip_of_each_class_is_shown(run: Run) -> None:
    run.record = replace(run.record, classes=("<b>", "two"))
    write_strips(run.path, Clips(np.zeros((2, 3, 8, 8, 3), np.uint8), np.array([1, 0])))
    page = Data().blocks(run)[-1].html()
    assert page.count("data:image/jpeg;base64,/9j/") == 2 and 'alt="Frames of 0 &lt;b&gt;"' in page
    run.record = replace(run.record, classes=("a", "b", "c"))
    assert "The first 2 classes are shown." in text(Data(), run)


def test_the_journal_tells_its_beginning_and_curves(tmp_path: Path) -> None:
    when = begun(BEFORE)
    assert when == "2026-11-28 17:58 UTC"
    known = curves(BEFORE, range(100))
    last = {row["trial"]: row["accuracy"] for row in Run(BEFORE).trials.to_dict("records")}
    assert known and all(each.accuracies[-1] == pytest.approx(last[trial]) for trial, each in known.items())
    assert all(each.reached == each.losses == () for each in known.values())  # an earlier version kept neither
    assert begun(tmp_path) is None and curves(tmp_path, [0]) == {}
    lines = ["{", json.dumps({"trial_id": 1, "user_attr": {"result": {}}}), '{"datetime_start": "soon"}']
    (tmp_path / "study.log").write_text("\n".join(lines))
    assert begun(tmp_path) is None and curves(tmp_path, [0]) == {}


def test_the_journal_has_one_name() -> None:
    from nas.trials.proposer import STUDY

    assert journal.STUDY == STUDY

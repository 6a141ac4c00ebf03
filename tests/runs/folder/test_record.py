"""`run.json`: read, written, and read from a folder of the version before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import NasError
from nas.report import write
from nas.runs.folder.record import Counts, RunRecord, read_record, write_record
from nas.runs.folder.run import Run
from nas.runs.settings import Settings

BEFORE = Path(__file__).parents[1] / "run_of_version_0.1"  # three trainings, confirmed and measured


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = RunRecord(
        space="hybrid",
        classes=("a", "b"),
        clips={"train": 12},
        counts=Counts(5, 1, 1, 2, 1, 1),
        spent_s={"training": 1.5},
        settings=Settings(trials=4, time=60.0),
    )
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    document = json.loads((tmp_path / "run.json").read_text())
    assert (document["trials"], document["time_s"], document["seed"]) == (4, 60.0, 0)
    assert document["settings"]["confirm_seeds"] == 2


def test_a_run_of_the_version_before_is_read_and_reported(tmp_path: Path) -> None:
    run = Run(BEFORE)
    record = run.record
    assert record.settings and record.proxy and record.counts and record.target
    assert (record.space, record.budget, len(record.classes), record.chance) == ("tiny", "5gflops", 12, 1 / 12)
    assert (record.settings.trials, record.settings.proxy_size, record.settings.around) == (3, 16, None)
    assert (record.proxy.frames, record.proxy.size, record.proxy.epochs, record.proxy.rungs) == (4, (16, 16), 2, (1, 2))
    assert (record.counts.proposed, record.counts.trained, record.searched, record.front_of) == (3, 3, True, 3)
    assert record.clips == {"train": 12, "val": 12, "test": 12} and record.target.size == (64, 64)
    page = write(run, tmp_path)[0].read_text()
    assert "tiny on motion" in page and "under a budget of 5gflops" in page
    assert "1\N{NO-BREAK SPACE}min 2\N{NO-BREAK SPACE}s" in page
    shutil.copytree(BEFORE, tmp_path / "run")
    write_record(record, tmp_path / "run")
    before, after = (json.loads((folder / "run.json").read_text()) for folder in (BEFORE, tmp_path / "run"))
    settings, further = before.pop("settings"), after.pop("settings")
    assert after.pop("counts") == before.pop("counts") | {"unreached": 0}
    assert before == {name: after[name] for name in before}  # later versions may have more
    assert settings == {name: further[name] for name in settings}


@pytest.mark.parametrize("part", ["settings", "proxy", "counts", "target"])
def test_a_part_that_another_version_wrote_is_left_out(tmp_path: Path, part: str) -> None:
    document = json.loads((BEFORE / "run.json").read_text())
    without: dict[str, Any] = {part: None}
    for value in ({**document[part], next(iter(document[part])): {"of": "another kind"}}, 5, None):
        (tmp_path / "run.json").write_text(json.dumps(document | {part: value, "colour": "blue"}))
        assert read_record(tmp_path) == replace(read_record(BEFORE), **without)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chance": "high"}, r"run\.json' holds chance 'high'; allowed: the run\.json of `nas search`"),
        ({"classes": [1, 2]}, r"run\.json' holds classes\.0 1; allowed"),
        ({"spent_s": {"training": "long"}}, r"run\.json' holds spent_s\.training 'long'; allowed"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = json.loads((BEFORE / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(document | change))
    with pytest.raises(NasError, match=message):
        read_record(tmp_path)


def test_a_report_names_no_folder_of_its_author() -> None:
    settings = Settings(data="/media/disk/videos/list.csv", storage="s3://bucket/mine", space="/media/disk/space.yaml")
    shown = RunRecord(settings=settings).shown()["settings"]
    assert (shown["data"], shown["storage"], shown["space"]) == ("list.csv", "s3://bucket/mine", "space.yaml")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"clips": {"val": -5}}, "clips.val -5"),
        ({"chance": 1.5}, "chance 1.5"),
        ({"wall_s": -1.0}, "wall_s -1.0"),
        ({"memory_factor": 0.0}, "memory_factor 0.0"),
        ({"phases_s": {"training": -2.0}}, "phases_s.training -2.0"),
    ],
)
def test_a_record_that_was_edited_is_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(change))
    with pytest.raises(NasError, match=rf"run.json' holds {named}; allowed: the run.json of `nas search`"):
        read_record(tmp_path)

"""The page of a run that is being written."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from nas.errors import NasError
from nas.locks import LOCK, WATCHED, Watch
from nas.report import live
from nas.report.live import watch
from nas.runs.folder.run import Run

REFRESH = '<meta http-equiv="refresh"'


def pass_time(monkeypatch: pytest.MonkeyPatch, *steps: object) -> None:
    """Whenever the watch sleeps, the next step is done: a function, or nothing."""
    left = list(steps)

    def sleep(_: float) -> None:
        if callable(step := left.pop(0)):
            step()

    monkeypatch.setattr(live.time, "sleep", sleep)


def test_the_page_follows_the_search_and_ends_with_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.path / LOCK).touch()
    trials = pd.read_csv(run.path / "trials.csv")
    (run.path / "front.csv").rename(run.path / "kept")
    trials.head(5).to_csv(run.path / "trials.csv", index=False)
    told: list[tuple[bool, int, str, list[str]]] = []

    def note(found: Run, paths: list[Path]) -> None:
        told.append((found.running, len(found.trials), paths[0].read_text(), [path.name for path in paths]))

    def end() -> None:
        trials.to_csv(run.path / "trials.csv", index=False)
        (run.path / "kept").rename(run.path / "front.csv")
        (run.path / LOCK).unlink()

    pass_time(monkeypatch, None, lambda: trials.head(9).to_csv(run.path / "trials.csv", index=False), None, end)
    watch(run.path, told=note)
    assert [each[:2] for each in told] == [(True, 5), (True, 9), (False, 24)]  # unchanged files write no page
    first, _, last = (each[2] for each in told)
    assert REFRESH in first and "The search is going on" in first and "--resume" not in first
    assert REFRESH not in last and "The search is going on" not in last
    assert told[0][3] == ["report.html"] and {"report.md", "progress.png"} <= set(told[2][3])


def test_a_run_that_nobody_writes_is_reported_once(run: Run) -> None:
    told: list[bool] = []
    watch(run.path, told=lambda found, _: told.append(found.running))
    assert told == [False]


def test_files_that_cannot_be_read_yet_are_looked_at_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.path / LOCK).touch()
    record = (run.path / "run.json").read_bytes()
    (run.path / "run.json").unlink()
    told: list[bool] = []
    broken = lambda: (run.path / "run.json").write_text("{")  # noqa: E731
    pass_time(monkeypatch, broken, lambda: (run.path / "run.json").write_bytes(record), (run.path / LOCK).unlink)
    watch(run.path, told=lambda found, _: told.append(found.running))
    assert told == [True, False]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="is not a run"):
        watch(tmp_path)
    with pytest.raises(NasError, match="does not exist"):
        watch(tmp_path / "none")


def test_a_lock_without_a_sign_of_life_is_of_a_process_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("nas.locks.time.monotonic", lambda: now)
    lock = Watch(tmp_path)
    assert not lock.alive()
    (tmp_path / LOCK).touch()
    assert lock.alive()
    now += WATCHED - 1
    assert lock.alive()
    os.utime(tmp_path / LOCK, (1, 1))
    assert lock.alive()
    now += WATCHED - 1
    assert lock.alive()
    now += 1
    assert not lock.alive()

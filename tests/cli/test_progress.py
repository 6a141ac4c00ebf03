"""What long work shows where its output is piped."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from nas.cli.progress import progress_bar
from nas.cli.train import _Shown
from nas.runs.progress import news
from nas.trained.moment import Moment


def until(file: io.StringIO, text: str) -> str:
    """What the file holds as soon as it holds a text, or after two seconds."""
    for _ in range(200):
        if text in file.getvalue():
            break
        time.sleep(0.01)
    return file.getvalue()


def test_a_bar_tells_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "FIRST", 0.05)
    file = io.StringIO()
    with progress_bar(Console(file=file), "evaluating") as show:
        show(3, 24)
        assert until(file, "\n") == "evaluating, 3 of 24 done, 0 s\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_training_tells_what_it_does_before_its_first_epoch(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    monkeypatch.setattr(news, "FIRST", 0.0)
    file = io.StringIO()
    with _Shown(Console(file=file), quiet):
        said = "" if quiet else until(file, "\n")
    assert said.startswith("" if quiet else "reading clips and timing steps, ") and (not quiet or not file.getvalue())


def test_a_training_tells_where_it_is_within_an_epoch() -> None:
    file = io.StringIO()
    shown = _Shown(Console(file=file), quiet=False)
    shown.show(Moment(2, 0.4, 1.25, 31.0, 312.0, None, None))
    shown._beat(75.0)
    assert file.getvalue() == "epoch 2, loss 1.250, 31 clips/s, 5 min 12 s left, 1 min 15 s passed\n"

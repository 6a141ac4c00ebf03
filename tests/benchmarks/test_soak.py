"""What `benchmarks/soak.py` makes of its rows."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)  # its scripts import each other
    return importlib.import_module("soak")


def row(soak: ModuleType, minute: float, **found: Any) -> Any:
    known = dict.fromkeys((*soak.COUNTS, "code", "processes_seconds", "strays", "agents_seconds"), 0)
    return soak.Row(**{"minute": minute, "ending": "left alone", **known, **found})


def test_what_is_larger_after_the_first_sixth_has_grown(soak: ModuleType) -> None:
    first = [row(soak, 1.0, temporary_files=2, home_files=4), row(soak, 10.0, temporary_files=1)]
    assert soak.grown([*first, row(soak, 10.1, temporary_files=2)], 60.0) == []
    killed = row(soak, 20.0, ending="SIGKILL", temporary_files=90)  # which the next search removes
    assert soak.grown([*first, killed, row(soak, 21.0)], 60.0) == []
    later = [row(soak, 30.0, temporary_files=3), row(soak, 60.0)]
    assert soak.grown([*first, *later], 60.0) == ["temporary_files grew from 2 to 3"]


def test_too_few_searches_tell_nothing_of_growth(soak: ModuleType) -> None:
    said = ["the time was too short to tell whether anything grows"]
    assert soak.grown([], 60.0) == soak.grown([row(soak, 9.0)], 60.0) == said
    assert soak.grown([row(soak, 11.0), row(soak, 30.0)], 60.0) == said


def test_a_search_that_is_left_alone_must_not_fail(soak: ModuleType) -> None:
    """Others are ended by what they were hit by; 1 is of a search that found nothing."""
    rows = [row(soak, 1.0), row(soak, 2.0, code=1), row(soak, 3.0, ending="SIGKILL", code=-9)]
    assert soak.failed(rows) == []
    rows += [row(soak, 4.0, code=2), row(soak, 5.0, ending="SIGINT", code=130, strays=3)]
    assert soak.failed(rows) == ["1 of 5 searches left processes", "1 of 5 searches failed, left alone"]

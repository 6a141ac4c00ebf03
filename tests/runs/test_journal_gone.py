"""A run whose journal is gone is not begun anew over what it has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.runs.search import resume


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_without_its_journal_is_refused_and_left_as_it_is(empty: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parent / "run_of_version_0.1", folder)
    (folder / "study.log").unlink()
    if empty:
        (folder / "study.log").touch()
    before = (folder / "trials.csv").read_bytes()
    with pytest.raises(NasError, match=r"and no journal 'study.log', which is its memory; allowed: a run with all"):
        resume(folder)
    assert (folder / "trials.csv").read_bytes() == before

"""A file that is replaced is the old or the new one, never a part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.resources import drafts, replacing


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old")
    with replacing(file) as draft:
        assert draft.parent == tmp_path and draft.name.startswith(".")
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_writer_that_breaks_off_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(KeyError), replacing(file) as draft:
        draft.write_text("ne")
        raise KeyError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_drafts_of_killed_processes_are_found(tmp_path: Path) -> None:
    (tmp_path / "architectures").mkdir()
    for name in (".run.json.123", "architectures/.0.yaml.7", ".DS_Store", "run.json.123", "..5"):
        (tmp_path / name).touch()
    assert drafts(tmp_path) == [tmp_path / ".run.json.123", tmp_path / "architectures" / ".0.yaml.7"]

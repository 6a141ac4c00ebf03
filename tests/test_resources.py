"""A file that is replaced is the old or the new one, never a part of it."""

from __future__ import annotations

import errno
import os
from importlib import metadata
from pathlib import Path

import pytest

from nas.resources import drafts, installed_version, replacing


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


def test_a_disk_that_is_full_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    """`/dev/full` takes nothing, and its error has no name."""
    path = tmp_path / "run.json"
    path.write_text("before")
    with pytest.raises(OSError, match=r"No space left on device: '.*/run\.json'$"), replacing(path) as draft:
        draft.write_text("half")
        Path("/dev/full").write_text("anything")
    assert path.read_text() == "before" and drafts(tmp_path) == []


def test_a_folder_that_may_only_be_read_is_told_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / f".run.json.{os.getpid()}"))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match=r"Read-only file system: '.*/run\.json'$"), replacing(tmp_path / "run.json") as d:
        d.touch()


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a network, where the packages and the checkout are on the path."""

    def version(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert installed_version("video-nas") == "unknown"

"""`nas data` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nas.cli.app import main


def nas(*arguments: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "data", *arguments])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == code


def test_a_sample_is_written_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nas("sample", "clips", "--per-class", "5", monkeypatch=monkeypatch)
    assert "list  clips/clips.csv" in capsys.readouterr().out
    arguments = ("check", "clips/clips.csv", "--clip", "4x16", "--decoders", "1")
    nas(*arguments, "--sheet", "sheet.png", monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "4 classes, 12 train, 4 val, 4 test clips" in out
    assert "64x64 (20)" in out and "16 (20)" in out and "clips/s of 4x16x16, 1 thread" in out
    assert "fewer than 10 clips in train: approach, move_left, move_right and 1 more" in out
    assert (tmp_path / "sheet.png").exists()
    nas(*arguments, "--strict", "--json", monkeypatch=monkeypatch, code=2)
    found = json.loads(capsys.readouterr().out)
    assert found["clips"]["train"]["approach"] == 3 and found["unreadable"] == []
    assert found["frames"] == {"min": 32, "median": 32, "max": 32}


def test_what_cannot_be_read_and_what_is_there_twice_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("run", "walk"):
        for split in ("train", "val"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "0.mp4").write_bytes(label.encode())
    nas("check", str(tmp_path), monkeypatch=monkeypatch)
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be read train run/0.mp4: Cannot read video" in out
    assert "of equal content train run/0.mp4 = val run/0.mp4" in out
    assert "4 of 4 clips cannot be read" in out
    nas("check", str(tmp_path), "--strict", monkeypatch=monkeypatch, code=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "absent"], "data 'absent' does not exist"),
        (["check", "motion", "--clip", "8"], "clip '8' is no clip shape; allowed: frames x size"),
        (["sample", "."], "folder '.' is not empty"),
        (["sample", "new", "--per-class", "1"], "1 clips of a class are too few"),
    ],
)
def test_bad_input_gets_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    nas(*arguments, monkeypatch=monkeypatch, code=2)
    assert words in capsys.readouterr().err

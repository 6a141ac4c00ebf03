"""Folders of Ray's sessions: removed with their session, or after their driver was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.trials.leftovers import SessionFolder, remove_dead

OWNER = """
import sys, time
from pathlib import Path
from nas.trials.leftovers import SessionFolder
folder = SessionFolder(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def folder_of(root: Path, name: str) -> Path:
    folder = root / name
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "raylet.out").write_text("a line\n")
    return folder


def test_a_folder_goes_with_its_session_and_after_a_kill_and_no_other(tmp_path: Path) -> None:
    own, killed, stranger = (folder_of(tmp_path, f"session_{name}") for name in ("own", "killed", "stranger"))
    first = SessionFolder(own)
    other = subprocess.Popen([sys.executable, "-c", OWNER, str(killed)], stdout=subprocess.PIPE, text=True)
    assert other.stdout and other.stdout.readline() == "locked\n"
    remove_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"session_own", "session_killed", "session_stranger"}
    other.send_signal(signal.SIGKILL)
    other.communicate()
    remove_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"session_own", "session_stranger"}
    first.remove()
    assert list(tmp_path.iterdir()) == [stranger]


def test_a_folder_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, "session_other")
    (folder / "nas.lock").touch()
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    remove_dead(tmp_path)
    assert folder.exists()


def test_what_is_written_while_a_folder_is_removed_goes_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, "session_busy")
    owned = SessionFolder(folder)
    with monkeypatch.context() as busy:
        busy.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "nas.lock").unlink())
        owned.remove()
    assert (folder / "logs" / "raylet.out").exists()
    remove_dead(tmp_path)
    assert not folder.exists()

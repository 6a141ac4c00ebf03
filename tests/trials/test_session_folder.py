"""Folders of Ray's sessions: where they are made, and removed even after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import nas
from nas.trials import session_folder
from nas.trials.session_folder import SessionFolder, remove_dead

OWNER = """
import time
from nas.trials.session_folder import SessionFolder
print(SessionFolder().path, flush=True)
time.sleep(60)
"""
SESSION = "session_2026-11-28_19-04-30_123456_1234567/sockets/plasma_store"


@pytest.fixture
def roomy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sessions, whose name may be as long as pytest's are."""
    monkeypatch.setattr(session_folder, "_LONGEST", 4000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_owner_and_after_a_kill_and_no_other(roomy: Path) -> None:
    own = SessionFolder()
    (own.path / "logs").mkdir()
    stranger = roomy / "nas-stranger"
    stranger.mkdir()
    # The limit on names is of this process alone, so that the other one needs a short folder.
    with tempfile.TemporaryDirectory(prefix="n") as short:
        other = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env={**os.environ, "RAY_TMPDIR": short}
        )
        assert other.stdout
        killed = Path(other.stdout.readline().strip())
        assert killed.parent == Path(short) and killed.stat().st_mode & 0o777 == 0o700
        remove_dead(Path(short))
        assert killed.exists()
        other.send_signal(signal.SIGKILL)
        other.communicate()
        remove_dead(Path(short))
        assert list(Path(short).iterdir()) == []
    SessionFolder().remove()
    assert set(roomy.iterdir()) == {own.path, stranger}
    own.remove()
    assert list(roomy.iterdir()) == [stranger]


def test_what_is_of_another_user_or_elsewhere_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, elsewhere = tmp_path / "temporary", tmp_path / "elsewhere"
    (parent / "nas-other").mkdir(parents=True)
    elsewhere.mkdir()
    for folder in (parent / "nas-other", elsewhere):
        (folder / "nas.lock").touch()
    (parent / "nas-link").symlink_to(elsewhere)
    (parent / "nas-pipe").mkdir()
    pipe = parent / "nas-pipe" / "nas.lock"
    os.mkfifo(pipe)
    with monkeypatch.context() as another:
        another.setattr(os, "getuid", lambda: parent.stat().st_uid + 1)
        another.setattr(Path, "open", lambda path, mode: pytest.fail(f"{path} of another user was opened"))
        remove_dead(parent)
        assert (parent / "nas-other").exists()
    pipe.unlink()
    pipe.parent.rmdir()
    remove_dead(parent)
    assert [path.name for path in parent.iterdir()] == ["nas-link"] and (elsewhere / "nas.lock").exists()


def test_what_is_written_while_a_folder_is_removed_goes_the_next_time(
    roomy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SessionFolder()
    with monkeypatch.context() as busy:
        busy.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "nas.lock").unlink())
        folder.remove()
    assert folder.path.exists()
    remove_dead(roomy)
    assert list(roomy.iterdir()) == []


def test_sockets_of_a_long_temporary_folder_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix, dir: f"{dir}/{prefix}12345678")
    for length, fits in ((30, True), (31, False), (60, False)):
        long = "/" + "t" * (length - 1)
        monkeypatch.setattr(tempfile, "tempdir", long)
        folder = session_folder._new_folder()
        assert str(folder.parent) == (long if fits else "/tmp")
        assert len(f"{folder}/{SESSION}") <= 107
    # Ray wants the whole path, which is what has to be short enough.
    monkeypatch.setenv("RAY_TMPDIR", "here")
    monkeypatch.chdir("/")
    assert str(session_folder._new_folder().parent) == "/here"
    monkeypatch.chdir(tmp_path)
    assert len(str(tmp_path)) > 30 and str(session_folder._new_folder().parent) == "/tmp"
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(session_folder, "_SHORT_PARENTS", (str(tmp_path / "none"),))
    with pytest.raises(nas.NasError, match=r"temporary folder '/t+' cannot hold .*; allowed: .* at most 30 characters"):
        SessionFolder()

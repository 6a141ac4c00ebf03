"""One writer at a time, and the lock of a dead one."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas import locks
from nas.errors import NasError
from nas.locks import LOCK, locked


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with locked(tmp_path):
        who = rf"process {os.getpid()} on {socket.gethostname()}"
        message = rf"is being written by {who}; allowed: one process at a time"
        with pytest.raises(NasError, match=message), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from nas.locks import locked\n"
        "with locked(Path(sys.argv[1])): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 9
    assert (tmp_path / LOCK).read_text().startswith("process ")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_the_lock_of_a_machine_that_gives_no_sign_of_life_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WATCHED", 0.3)
    (tmp_path / LOCK).write_text("process 12 on another-machine")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize(("host", "locks_there"), [("another-machine", True), (socket.gethostname(), False)])
def test_a_writer_that_locks_do_not_tell_of_is_known_by_its_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, locks_there: bool
) -> None:
    monkeypatch.setattr(locks, "WATCHED", 2.0)
    monkeypatch.setattr(locks, "BEAT", 0.05)
    if not locks_there:
        monkeypatch.setattr(locks.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    path, ended = tmp_path / LOCK, threading.Event()
    path.write_text(f"process 1 on {host}")
    beat = threading.Thread(target=locks._beat, args=(path, ended))
    beat.start()
    try:
        with pytest.raises(NasError, match=f"is being written by process 1 on {host}; allowed"), locked(tmp_path):
            pass
    finally:
        ended.set()
        beat.join()
    assert path.read_text() == f"process 1 on {host}"


def test_a_dead_process_of_this_machine_is_not_watched_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    monkeypatch.setattr(locks, "_lives", None)
    (tmp_path / LOCK).write_text(f"process 99999999 on {socket.gethostname()}")
    with locked(tmp_path):
        pass


def test_a_writer_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        end = time.monotonic() + 5
        while (tmp_path / LOCK).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert (tmp_path / LOCK).stat().st_mtime > 0

"""A folder that a long run writes has one writer at a time: a second one would undo its work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from nas.errors import NasError

LOCK = "run.lock"
BEAT = 5.0  # seconds between two signs of life of a writer: the time of change of its lock
WATCHED = 16.0  # seconds without one after which a writer that cannot be looked up is taken to be dead
_WRITER = re.compile(r"process (\d+) on (\S+)")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps others from writing into a folder until the context ends.

    The operating system gives up the lock of a process that has died, so nothing is left to be
    cleared away. Machines that share a folder may not share its locks, and some file systems have
    none: there a lock that names another machine, or a living process of this one, is watched for
    signs of life, by the folder's own clock, before it is taken over.

    Args:
        folder: The folder of a search or a training, which exists.

    Raises:
        NasError: Another process has it.
    """
    path = folder / LOCK
    descriptor = _open(path)
    ended = threading.Event()
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.truncate()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        yield
    finally:
        ended.set()
        path.unlink(missing_ok=True)
        os.close(descriptor)


class Watch:
    """Tells whether a folder is being written by looking at its lock, of which it takes nothing.

    Args:
        folder: The folder of a search or a training.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._changed, self._since = folder / LOCK, 0, 0.0

    def alive(self) -> bool:
        """Whether the lock is there and has given a sign of life in the last 16 seconds of looking;
        the lock of a process that was killed is taken for alive for so long.
        """
        changed, now = _changed(self._path), time.monotonic()
        if changed != self._changed:
            self._changed, self._since = changed, now
        return changed != 0 and now - self._since < WATCHED


def _beat(path: Path, ended: threading.Event) -> None:
    """Gives signs of life until the writer's context has ended."""
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _open(path: Path) -> int:
    """The descriptor of the lock's file, with the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        guarded = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse(path, descriptor)
        except OSError:  # there are no locks here
            guarded = False
        if _may_live(_writer(descriptor), guarded) and _lives(path):
            _refuse(path, descriptor)
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # of a file that its owner has just removed


def _refuse(path: Path, descriptor: int) -> NoReturn:
    writer = _writer(descriptor) or "another process"
    os.close(descriptor)
    raise NasError(
        f"run {str(path.parent)!r} is being written by {writer}; allowed: one process at a time, so wait for it to end"
    ) from None


def _writer(descriptor: int) -> str:
    return os.pread(descriptor, 500, 0).decode(errors="replace")


def _may_live(writer: str, guarded: bool) -> bool:
    """Whether the writer that a lock names may live although the operating system gave us the lock.

    Args:
        writer: What the lock says.
        guarded: Whether there are locks here, so that no process of this machine has it.
    """
    named = _WRITER.match(writer)
    if named is None:
        return False
    if named[2] != socket.gethostname():
        return True
    return not guarded and int(named[1]) != os.getpid() and _is_there(int(named[1]))


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def _lives(path: Path) -> bool:
    """Whether a lock's time of change moves while it is watched."""
    first, end = _changed(path), time.monotonic() + WATCHED
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCHED / 10))
        if (now := _changed(path)) != first:
            return now != 0
    return False


def _changed(path: Path) -> int:
    """A lock's time of change; 0 where its owner has removed it.

    It is opened to be looked at: a file system of the network then asks its server.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return 0

"""A folder that a long run writes has one writer at a time: a second one would undo its work."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import NasError

LOCK = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps others from writing into a folder until the context ends.

    The operating system gives up the lock of a process that has died, so nothing is left to be
    cleared away. On a file system without locks the folder is not guarded.

    Args:
        folder: The folder of a search or a training, which exists.

    Raises:
        NasError: Another process has it.
    """
    path = folder / LOCK
    descriptor = _open(path)
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.truncate()
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _open(path: Path) -> int:
    """The descriptor of the lock's file, with the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = os.read(descriptor, 500).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise NasError(
                f"run {str(path.parent)!r} is being written by {writer}; allowed: one process at a time, so wait for "
                "it to end"
            ) from None
        except OSError:  # there are no locks here
            return descriptor
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # of a file that its owner has just removed

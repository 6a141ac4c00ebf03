"""What a Ray that was started here leaves in the temporary folder, its sockets and logs: removed
when it ends, and, where its driver was killed, when the next one starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

LOCK = "nas.lock"  # in a session's folder, locked while its driver lives


class SessionFolder:
    """The folder of a session of Ray that this process has started.

    Nothing but folders with a lock of ours is ever removed, so sessions that others have started
    stay. The operating system gives up the lock of a process that has died.

    Args:
        folder: The session's folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It gets its name once it is locked: one that another process sees unlocked has no owner.
        unnamed = folder / f"{LOCK}.{os.getpid()}"
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # there are no locks here, so nobody else may remove it
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            unnamed.rename(folder / LOCK)

    def remove(self) -> None:
        """Removes the folder of a session that has ended."""
        _remove(self._folder)
        os.close(self._descriptor)


def remove_dead(folder: Path) -> None:
    """Removes what sessions of this user have left whose drivers were killed.

    Args:
        folder: In which Ray keeps the folders of its sessions.
    """
    for lock in folder.glob(f"session_*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:
            if os.fstat(file.fileno()).st_uid == os.getuid() and not lock.parent.is_symlink():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # a process of the session that is about to end has written meanwhile
        with contextlib.suppress(OSError):
            (folder / LOCK).touch()

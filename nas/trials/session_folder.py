"""The folder in which a Ray that is started here keeps its sockets and logs. Ray would leave it
behind: it is removed at the end, or, where its driver was killed, when the next one is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from nas.errors import NasError

_LOCK = "nas.lock"  # of the process that made the folder, while it lives
_PREFIX = "nas-"
# A socket's name has at most 107 bytes. Ray takes 64 for a session's own folder and file, and the
# folder of it 13 with the slash before it.
_LONGEST = 107 - 64 - len("/nas-12345678")
_SHORT_PARENTS = ("/tmp", "/var/tmp", "/dev/shm")  # nosec B108 # a new folder there is the user's alone


class SessionFolder:
    """A new folder, in RAY_TMPDIR, the temporary folder, or a shorter one where the names of
    sockets would be too long in it, as in that of a batch system.

    Attributes:
        path: Of the folder.

    Raises:
        NasError: There is no short one.
    """

    def __init__(self) -> None:
        self.path = _new_folder()
        # The lock gets its name once it is held: one that can be had has lost its owner.
        unnamed = self.path / f"{_LOCK}.new"
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # there are no locks here, so nobody else may remove it
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            unnamed.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Removes the folder, with what Ray has left in it."""
        _remove(self.path)
        os.close(self._descriptor)


def remove_dead(parent: Path) -> None:
    """Removes the folders of this user whose owners were killed.

    Args:
        parent: The folder in which they are.
    """
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            found = lock.parent.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue  # unopened, as it may be a pipe, which would be waited for
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)


def _new_folder() -> Path:
    first = os.path.abspath(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    for parent in (first, *_SHORT_PARENTS):
        if len(os.fsencode(parent)) <= _LONGEST:
            remove_dead(Path(parent))
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise NasError(
        f"temporary folder {first!r} cannot hold Ray's sockets, nor can {', '.join(_SHORT_PARENTS)}; allowed: a "
        f"TMPDIR that can be written, of at most {_LONGEST} characters"
    )


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # a process of the session that is about to end has written meanwhile
        with contextlib.suppress(OSError):
            (folder / _LOCK).touch()

"""Files of equal content."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_HEAD = 1 << 16  # bytes, which tell most files of equal size apart


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of files that hold the same bytes, each of two or more, in the order given.

    Only files of equal size are read, and whole only where they begin alike. Folders, and files
    that cannot be read, are like none.
    """
    groups = [list(paths)]
    for told in (_size, lambda path: _hash(path, _HEAD), lambda path: _hash(path, None)):
        groups = [part for group in groups for part in _parts(group, told)]
    return groups


def _parts(paths: Sequence[Path], told: Callable[[Path], object]) -> list[list[Path]]:
    parts: defaultdict[object, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            parts[told(path)].append(path)
        except OSError:
            continue
    return [part for part in parts.values() if len(part) > 1]


def _size(path: Path) -> object:
    return path.stat().st_size if path.is_file() else path


def _hash(path: Path, count: int | None) -> bytes:
    with path.open("rb") as file:
        if count is not None:
            return hashlib.blake2b(file.read(count)).digest()
        return hashlib.file_digest(file, "blake2b").digest()

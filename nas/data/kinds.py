"""Which files and folders are clips: videos, folders of pictures, single pictures, arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
CACHE_GB = 20.0  # 10^9 bytes of decoded clips that are kept, unless the user says
CLIP_SUFFIXES = VIDEO_SUFFIXES | PICTURE_SUFFIXES | ARRAY_SUFFIXES


def has_suffix(file: str | os.PathLike[str], suffixes: frozenset[str]) -> bool:
    """Whether the name ends so, in upper or lower case."""
    return os.path.splitext(file)[1].lower() in suffixes


def in_natural_order(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts names by the numbers in them: `frame2` before `frame10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, "" if part.isdigit() else part.lower())
        for part in parts
    )


def frames_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures of a folder that are not hidden, in natural order.

    Raises:
        OSError: It cannot be read.
    """
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return [Path(folder, name) for name in sorted(names, key=in_natural_order) if has_suffix(name, PICTURE_SUFFIXES)]


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file, or a folder of pictures."""
    if os.path.isfile(path):
        return True
    try:
        return os.path.isdir(path) and bool(frames_in(path))
    except OSError:
        return False


def holds_frames(names: Iterable[str | os.PathLike[str]]) -> bool:
    """Whether what lies in a folder makes it a clip: pictures, and no video or array, whose covers
    and previews they would be.
    """
    names = list(names)
    return any(has_suffix(name, PICTURE_SUFFIXES) for name in names) and not any(
        has_suffix(name, VIDEO_SUFFIXES | ARRAY_SUFFIXES) for name in names
    )

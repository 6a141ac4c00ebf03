"""Folders of videos: a folder per class, or `train` and `val` folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from nas.data.records import Record, video_data
from nas.data.source import VideoData
from nas.errors import NasError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FolderSource:
    """A folder of class folders, or of `train` and `val` (and `test`) folders of them."""

    forms: ClassVar[str] = "a folder with a folder per class"

    def accepts(self, spec: str) -> bool:
        return Path(spec).expanduser().is_dir()

    def open(self, spec: str, seed: int, flip: bool | None) -> VideoData:
        path = Path(spec).expanduser()
        return video_data(path, _read_folder(path), seed, flip)


def _read_folder(folder: Path) -> list[Record]:
    children = _folders(folder)
    roots: list[tuple[str | None, Path]] = [(None, folder)]
    if any(child.name == "train" for child in children) and all(child.name in SPLIT_NAMES for child in children):
        roots = [(SPLIT_NAMES[child.name], child) for child in children]
    rows = [
        Record(path, child.name, split)
        for split, root in roots
        for child in _folders(root)
        for path in sorted(child.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    ]
    if not rows:
        suffixes = ", ".join(sorted(VIDEO_SUFFIXES))
        raise NasError(f"data {str(folder)!r} holds no videos; allowed: a folder per class with files of {suffixes}")
    return rows


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))

"""Labelled clips in train, val and test splits: the motion task, folders of videos, CSV files and
text lists.
"""

from __future__ import annotations

import csv
import warnings
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.data import motion
from nas.errors import NasError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
HELD_OUT = 0.2  # share of the clips in val, and in test, where the data set does not say

_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_MOTION_CLIPS = {"train": 4096, "val": 512, "test": 512}


@dataclass(frozen=True)
class Split(ABC):
    """Clips with labels. `groups` names the recording of each clip; it is empty where the data set
    has no groups.
    """

    labels: list[int]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def clip(self, index: int, frames: int, size: tuple[int, int], seed: int | None = None) -> npt.NDArray[np.uint8]:
        """Reads one clip.

        Args:
            index: which, from 0.
            frames: T, frames in it.
            size: (height, width).
            seed: None is the clip that evaluation uses, any other a random one of the same kind.

        Returns:
            uint8 (T, H, W, 3).

        Raises:
            NasError: the video cannot be read.
        """


@dataclass(frozen=True)
class MotionSplit(Split):
    """Clips of the motion task. A seed draws a new clip of the same class."""

    difficulty: float
    stream: int  # clips of different streams never share their randomness

    def clip(self, index: int, frames: int, size: tuple[int, int], seed: int | None = None) -> npt.NDArray[np.uint8]:
        draw = 0 if seed is None else seed + 1
        clip_seed = (draw << 96) + (self.stream << 32) + index
        return motion.motion_clip(clip_seed, self.labels[index], frames, size, self.difficulty)


@dataclass(frozen=True)
class VideoSplit(Split):
    """Clips of video files, spread over the whole of each. A seed shifts the frames that are taken."""

    paths: list[Path]

    def clip(self, index: int, frames: int, size: tuple[int, int], seed: int | None = None) -> npt.NDArray[np.uint8]:
        from nas.data.video import read_clip

        start = None if seed is None else float(np.random.default_rng([seed, index]).random())
        return read_clip(self.paths[index], frames, None, start, size)


@dataclass(frozen=True)
class VideoData:
    """A data set. `test` is for clips that no architecture was picked on; `flip` says whether clips
    may be mirrored.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None
    flip: bool

    @property
    def chance(self) -> float:
        """Accuracy of a guess, 1 / number of classes."""
        return 1 / len(self.classes)

    def describe(self) -> str:
        """One line: classes, clips per split, groups held out."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items() if split is not None)
        line = f"{self.name}: {len(self.classes)} classes, {sizes} clips"
        for name in ("val", "test"):
            split = splits[name]
            if split is not None and split.groups:
                groups = sorted(set(split.groups))
                shown = ", ".join(groups[:3]) + (f" and {len(groups) - 3} more" if len(groups) > 3 else "")
                line += f"; {name} holds out {shown}"
        return line


@dataclass(frozen=True)
class Clips:
    """Decoded clips: `pixels` uint8 (N, T, H, W, 3), `labels` int64 (N,)."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Row:
    path: Path
    label: str
    split: str | None = None
    group: str | None = None


def open_data(spec: str | Path, *, seed: int = 0, flip: bool | None = None) -> VideoData:
    """Opens a data set; no video is decoded.

    The first of these that applies says which clips go where: train/val/test folders, a `split`
    column, or `train` and `val` list files; a `group` column, from which whole groups are held out,
    never clips of a group that is trained on; else a random 60/20/20 split within each class.

    Args:
        spec: `motion` or `motion:DIFFICULTY`; a folder of class folders, or of `train` and `val`
            (and `test`) folders of them; a CSV file with columns `path` (or `file`) and `label`,
            and optionally `split` and `group`; or a text file with a path and a label per line,
            whose name may hold `train` and have a `val` (and `test`) file beside it. Relative paths
            start at the file's folder.
        seed: of the motion clips, or of a random split.
        flip: whether clips may be mirrored; None is True for videos and False for `motion`. False
            suits data where left and right are classes.

    Raises:
        NasError: unknown name, wrong file, missing videos, fewer than two classes, or a class that
            train lacks.
    """
    text = str(spec)
    if seed < 0:
        raise NasError(f"seed {seed} is not allowed; allowed: whole numbers from 0")
    if text == "motion" or text.startswith("motion:"):
        return _open_motion(text, seed, bool(flip))
    path = Path(spec).expanduser()
    if path.is_dir():
        rows = _read_folder(path)
    elif path.is_file():
        rows = _read_csv(path) if _has_header(path) else _read_lists(path)
    else:
        raise NasError(
            f"data {text!r} does not exist; allowed: `motion`, `motion:DIFFICULTY`, a folder with a folder per class, "
            "a CSV or a list of videos"
        )
    return _video_data(path, rows, seed, True if flip is None else flip)


def load_clips(
    split: Split,
    frames: int,
    size: tuple[int, int],
    *,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Clips:
    """Decodes a split, or a part of it with the same mixture of classes, into memory.

    Args:
        split: what to read.
        frames: T, frames per clip.
        size: (height, width) of the clips.
        limit: at most so many clips, one of each class first; a smaller limit reads a subset of a
            larger one's. None is all.
        seed: decides which clips a limit keeps.
        workers: threads that decode.
        progress: called with (clips read, clips to read) after each.

    Returns:
        Clips in the order of the split, without those that cannot be read, for which one warning is
        given.

    Raises:
        NasError: more than half of the videos cannot be read, or the split is empty.
    """
    chosen = _subset(split.labels, limit, seed)
    if not chosen:
        raise NasError(f"No clips to load: the split holds {len(split)} and the limit is {limit}.")

    def read(index: int) -> npt.NDArray[np.uint8] | NasError:
        try:
            return split.clip(index, frames, size)
        except NasError as error:
            return error

    pixels = np.empty((len(chosen), frames, *size, 3), np.uint8)
    kept: list[int] = []
    failures: list[NasError] = []
    for done, (index, clip) in enumerate(zip(chosen, _map(read, chosen, workers), strict=True), 1):
        if isinstance(clip, NasError):
            failures.append(clip)
        else:
            pixels[len(kept)] = clip
            kept.append(index)
        if progress is not None:
            progress(done, len(chosen))
    if failures:
        summary = f"{len(failures)} of {len(chosen)} videos cannot be read; the first: {failures[0]}"
        if len(failures) > len(kept):
            raise NasError(summary)
        warnings.warn(summary, stacklevel=2)
    return Clips(pixels[: len(kept)], np.array([split.labels[i] for i in kept], np.int64))


def _map(
    read: Callable[[int], npt.NDArray[np.uint8] | NasError], indices: list[int], workers: int
) -> Iterator[npt.NDArray[np.uint8] | NasError]:
    if workers <= 1:
        yield from map(read, indices)
        return
    with ThreadPoolExecutor(workers) as pool:
        # Rounds keep the clips that wait to be taken few; all at once they would fill the memory a
        # second time.
        for first in range(0, len(indices), 16 * workers):
            yield from pool.map(read, indices[first : first + 16 * workers])


def _subset(labels: list[int], limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    counts = Counter(labels)
    seen: Counter[int] = Counter()
    share = {}
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    for index in order:
        share[index] = seen[labels[index]] / counts[labels[index]]
        seen[labels[index]] += 1
    return sorted(sorted(order, key=share.__getitem__)[: max(limit, 0)])


def _open_motion(spec: str, seed: int, flip: bool) -> VideoData:
    _, _, value = spec.partition(":")
    try:
        difficulty = float(value) if spec != "motion" else motion.DEFAULT_DIFFICULTY
    except ValueError:
        difficulty = -1.0
    if not 0 <= difficulty <= 1:
        raise NasError(f"Data {spec!r}: the difficulty must be a number from 0 to 1.")
    splits = {}
    for number, (name, count) in enumerate(_MOTION_CLIPS.items()):
        labels = [i % len(motion.CLASSES) for i in range(count)]
        splits[name] = MotionSplit(labels, [], difficulty, 3 * seed + number)
    return VideoData(spec, motion.CLASSES, splits["train"], splits["val"], splits["test"], flip)


def _read_folder(folder: Path) -> list[_Row]:
    children = _folders(folder)
    roots: list[tuple[str | None, Path]] = [(None, folder)]
    if any(child.name == "train" for child in children) and all(child.name in _SPLIT_NAMES for child in children):
        roots = [(_SPLIT_NAMES[child.name], child) for child in children]
    rows = [
        _Row(path, child.name, split)
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


def _has_header(path: Path) -> bool:
    if path.suffix.lower() != ".csv":
        return False
    first = next(iter(_lines(path)), "")
    return "," in first or len(first.split()) < 2  # else it is a list of `path label` under the name of a CSV file


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise NasError(f"Data file {str(path)!r} is not text: a CSV file or a list of paths is needed.") from None


def _read_csv(path: Path) -> list[_Row]:
    reader = csv.DictReader(_lines(path), restval="")
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    file_column = columns.get("path", columns.get("file"))
    if file_column is None or "label" not in columns:
        found = ", ".join(columns) or "none"
        raise NasError(f"data {str(path)!r} has the columns {found}; allowed: `path` (or `file`) and `label`, and more")
    rows = []
    for number, record in enumerate(reader, 1):
        file, label = record[file_column].strip(), record[columns["label"]].strip()
        if not file or not label:
            raise NasError(f"CSV {str(path)!r}, data row {number}: the {'label' if file else 'path'} is empty.")
        split = None
        if "split" in columns:
            value = record[columns["split"]].strip()
            if value.lower() not in _SPLIT_NAMES:
                raise NasError(f"CSV {str(path)!r}, data row {number}: split {value!r} is not train, val or test.")
            split = _SPLIT_NAMES[value.lower()]
        group = record[columns["group"]].strip() if "group" in columns else None
        rows.append(_Row(path.parent / file, label, split, group))
    return rows


def _read_lists(path: Path) -> list[_Row]:
    if "train" not in path.name:
        return _read_list(path, None)
    rows = {}
    for word, split in _SPLIT_NAMES.items():
        sibling = path.with_name(path.name.replace("train", word))
        if sibling.is_file() and split not in rows:
            rows[split] = _read_list(sibling, split)
    if "val" not in rows:
        return _read_list(path, None)
    return [row for part in rows.values() for row in part]


def _read_list(path: Path, split: str | None) -> list[_Row]:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        fields = line.strip().rsplit(maxsplit=1)
        if len(fields) < 2:
            raise NasError(f"List {str(path)!r}, line {number}: {line.strip()!r} is not a path and a label.")
        rows.append(_Row(path.parent / fields[0], fields[1], split))
    return rows


def _video_data(path: Path, rows: list[_Row], seed: int, flip: bool) -> VideoData:
    missing = [row.path for row in rows if not row.path.is_file()]
    if missing:
        summary = f"{len(missing)} of its {len(rows)} videos do not exist (first {str(missing[0])!r})"
        raise NasError(f"data {str(path)!r}: {summary}; allowed: paths from the folder of that file, or whole paths")
    names = {row.label for row in rows}
    numbers = all(name.removeprefix("-").isdecimal() for name in names)
    classes = sorted(names, key=int) if numbers else sorted(names)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise NasError(f"data {str(path)!r} has fewer than two classes: {found}; allowed: two or more")
    if rows[0].split is not None:
        parts = _by_key(rows, (row.split or "" for row in rows))
    elif rows[0].group is not None:
        parts = _split_by_group(path, rows)
    else:
        parts = _split_by_clip(rows, seed)
    for name in ("train", "val"):
        if name not in parts:
            raise NasError(f"Data {str(path)!r} has no {name} split; found: {', '.join(sorted(parts))}.")
    unseen = sorted(names - {row.label for row in parts["train"]})
    if unseen:
        raise NasError(f"Data {str(path)!r}: {len(unseen)} classes have no clip in train; the first: {unseen[0]!r}.")
    splits = {name: _video_split(part, classes) for name, part in parts.items()}
    return VideoData(path.stem, tuple(classes), splits["train"], splits["val"], splits.get("test"), flip)


def _video_split(rows: list[_Row], classes: list[str]) -> VideoSplit:
    index = {name: i for i, name in enumerate(classes)}
    groups = [row.group for row in rows if row.group is not None]
    return VideoSplit([index[row.label] for row in rows], groups, [row.path for row in rows])


def _by_key(rows: list[_Row], keys: Iterable[str]) -> dict[str, list[_Row]]:
    parts = defaultdict(list)
    for row, key in zip(rows, keys, strict=True):
        parts[key].append(row)
    return dict(parts)


def _split_by_group(path: Path, rows: list[_Row]) -> dict[str, list[_Row]]:
    groups = _by_key(rows, (row.group or "" for row in rows))
    free = sorted(groups)
    if len(free) < 2:
        raise NasError(f"Data {str(path)!r} has one group, {free[0]!r}: holding one out needs two.")
    target = HELD_OUT * len(rows)

    def take(reserve: int) -> list[_Row]:
        """Whole groups from the end, while that brings the number of clips nearer to the target."""
        taken = groups[free.pop()]
        while len(free) > reserve and abs(len(taken) + len(groups[free[-1]]) - target) < abs(len(taken) - target):
            taken = taken + groups[free.pop()]
        return taken

    parts = {"test": take(2), "val": take(1)} if len(free) >= 4 else {"val": take(len(free))}
    return {"train": [row for name in free for row in groups[name]], **parts}


def _split_by_clip(rows: list[_Row], seed: int) -> dict[str, list[_Row]]:
    rng = np.random.default_rng(seed)
    parts: defaultdict[str, list[_Row]] = defaultdict(list)
    for _, members in sorted(_by_key(rows, (row.label for row in rows)).items()):
        # A class of one clip is all train, a class of two has no test.
        held = max(1, round(HELD_OUT * len(members)))
        val = held if len(members) > 1 else 0
        test = held if len(members) > 2 else 0
        shuffled = [members[i] for i in rng.permutation(len(members))]
        parts["val"] += shuffled[:val]
        parts["test"] += shuffled[val : val + test]
        parts["train"] += shuffled[val + test :]
    return {name: part for name, part in parts.items() if part}

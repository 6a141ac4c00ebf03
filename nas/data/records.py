"""Videos with labels to a data set: every file once, in one split, with what is not so refused."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.data.assignment import assign_clips, assign_groups
from nas.data.kinds import VIDEO_SUFFIXES, has_suffix, is_clip
from nas.data.oddities import odd_labels
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import SPLITS, Split, VideoData
from nas.errors import NasError
from nas.units import plural, whole


@dataclass(frozen=True)
class Record:
    """A file of a clip, or a folder of its frames, and what is said of it. In a data set all
    records have a split, or none has; the same goes for groups. `number` is that of the clip in a
    file of many.
    """

    path: Path
    label: str
    split: str | None = None
    group: str | None = None
    number: int = 0


@dataclass(frozen=True)
class VideoSplit(Split):
    """Clips of video files. A seed shifts which frames they are."""

    paths: list[Path]

    def clip_name(self, index: int) -> str:
        path = self.paths[index]
        return f"{path.parent.name}/{path.name}"

    def seconds(self, index: int) -> float | None:
        from nas.data.video import probe

        path = self.paths[index]
        return probe(path).duration if has_suffix(path, VIDEO_SUFFIXES) else None

    def clip(
        self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None
    ) -> npt.NDArray[np.uint8]:
        from nas.data.video import read_view

        if seed is not None:
            view = replace(view, start=float(np.random.default_rng([seed, index]).random()))
        return read_view(self.paths[index], sampling, view)


def video_data(
    path: Path, records: Sequence[Record], seed: int, flip: bool | None, notes: Sequence[str] = ()
) -> VideoData:
    """Makes a data set of videos.

    The splits are those of the records. Where there are none, whole groups are held out, or a
    random fifth of each class where there are no groups. Records with train and test only have val
    held out of train in the same way.

    Args:
        path: Of the list or the folder, for messages and the name.
        records: In any order; a random split does not depend on it.
        seed: Of a random split.
        flip: Whether clips may be mirrored; None is True.
        notes: What the source has to say.

    Raises:
        NasError: Missing videos, a video with two labels or two groups, fewer than two classes, no
            split to train or to validate on, or a class that train lacks.
    """
    records, repeats = _distinct(f"data {str(path)!r}", records)
    return replace(split_data(path, records, seed, flip, (*notes, *repeats), _video_split), doubts=tuple(repeats))


def split_data(
    path: Path,
    records: Sequence[Record],
    seed: int,
    flip: bool | None,
    notes: Sequence[str],
    make_split: Callable[[Sequence[Record], Sequence[str]], Split],
) -> VideoData:
    """Makes a data set of clips that are known to be distinct.

    Args:
        path, records, seed, flip, notes: As for `video_data`.
        make_split: Makes a split of its records and the names of all classes.

    Raises:
        NasError: As `video_data`, but for what is said of files.
    """
    where = f"data {str(path)!r}"
    classes = _classes(where, {record.label for record in records})
    records, held_out = _with_splits(where, list(records), seed)
    parts = {name: [record for record in records if record.split == name] for name in SPLITS}
    for name in ("train", "val"):
        if not parts[name]:
            found = ", ".join(sorted(split for split, part in parts.items() if part))
            why = "".join(f" ({note})" for note in notes)
            raise NasError(f"{where} has no {name} split; found: {found}{why}; allowed: videos in train and in val")
    unseen = set(classes) - {record.label for record in parts["train"]}
    if unseen:
        first = min(unseen)
        raise NasError(
            f"{where}: {len(unseen)} classes have no clip in train; the first: {first!r}; allowed: every class in train"
        )
    train, val, test = (make_split(parts[name], classes) for name in SPLITS)
    given = (*notes, *held_out, *odd_labels(classes))
    name = path.stem if path.is_file() else path.resolve().name
    return VideoData(name, tuple(classes), train, val, test if len(test) else None, flip is not False, given)


def _video_split(records: Sequence[Record], classes: Sequence[str]) -> VideoSplit:
    index = {name: i for i, name in enumerate(classes)}
    groups = [record.group for record in records if record.group is not None]
    return VideoSplit([index[record.label] for record in records], groups, [record.path for record in records])


def _distinct(where: str, records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """The records with each file once, links followed: of a file in two splits, the record of the
    one that is further from training.
    """
    kept: dict[tuple[int, int], Record] = {}
    missing: list[Path] = []
    repeated = 0
    crossing: Counter[tuple[str, str]] = Counter()
    for record in records:
        file = _clip_file(record.path)
        if file is None:
            missing.append(record.path)
            continue
        identity = (file.st_dev, file.st_ino)
        other = kept.setdefault(identity, record)
        if other is record:
            continue
        for thing, values in (("labels", (other.label, record.label)), ("groups", (other.group, record.group))):
            if values[0] != values[1]:
                raise NasError(
                    f"{where}: video {str(record.path)!r} has the {thing} {values[0]!r} and {values[1]!r}; "
                    "allowed: one for each video"
                )
        if other.split == record.split:
            repeated += 1
            continue
        first, last = sorted((other, record), key=lambda each: SPLITS.index(each.split or "train"))
        kept[identity] = last
        crossing[first.split or "", last.split or ""] += 1
    if missing:
        raise NasError(
            f"{where}: {len(missing)} of its {len(records)} videos do not exist (first {str(missing[0])!r}); "
            "allowed: local files, their paths whole or from the folder of the list"
        )
    notes = [f"{plural(count, 'file')} of {a} and {b} in {b} only" for (a, b), count in sorted(crossing.items())]
    return list(kept.values()), [f"{plural(repeated, 'repeated file')} left out"] * (repeated > 0) + notes


def outside(folder: Path, records: Iterable[Record]) -> list[Path]:
    """The videos that do not lie below a folder, links followed."""
    below = os.path.join(os.path.realpath(folder), "")
    real: dict[str, str] = {}  # of the folders of the videos, which are few
    found = []
    for record in records:
        parent, name = os.path.split(record.path)
        if parent not in real:
            real[parent] = os.path.realpath(parent)
        file = os.path.join(real[parent], name)
        if os.path.islink(file):
            file = os.path.realpath(file)
        if not file.startswith(below):
            found.append(record.path)
    return found


def _clip_file(path: Path) -> os.stat_result | None:
    """What the system says of a file, or of a folder of pictures."""
    try:
        return path.stat() if is_clip(path) else None
    except (OSError, ValueError):  # a name that no file can have is a ValueError
        return None


def _classes(where: str, labels: set[str]) -> list[str]:
    """The labels in order, numbers by value."""
    classes = sorted(labels)
    if all(whole(label) is not None for label in classes):
        classes.sort(key=int)
        for one, other in pairwise(classes):
            if int(one) == int(other):
                raise NasError(
                    f"{where}: labels {one!r} and {other!r} are one number; allowed: one spelling of a class"
                )
    values: dict[str, str] = {}
    for label in classes:
        other = values.setdefault(re.sub(r"^(-?\d+)\.0*$", r"\1", label), label)
        if other != label:
            raise NasError(f"{where}: labels {other!r} and {label!r} are one number; allowed: one spelling of a class")
    spellings: dict[str, str] = {}
    for label in classes:
        # Of the signs that are not shown, a byte order mark is the commonest.
        shown = "".join(sign for sign in unicodedata.normalize("NFKC", label) if unicodedata.category(sign) != "Cf")
        other = spellings.setdefault(" ".join(shown.casefold().split()), label)
        if other != label:
            how = "capitals or spaces" if label.isascii() and other.isascii() else "capitals, spaces or hidden signs"
            raise NasError(
                f"{where}: labels {other!a} and {label!a} differ in {how} alone; allowed: one spelling of a class"
            )
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise NasError(f"{where} has fewer than two classes: {found}; allowed: two or more")
    return classes


def _with_splits(where: str, records: list[Record], seed: int) -> tuple[list[Record], list[str]]:
    """The records, each with its split, and a sentence where they say only a part of that."""
    given = {record.split for record in records}
    if given == {None}:
        return _held_out(where, records, seed), []
    if given == {"train", "test"}:
        train = _held_out(where, [each for each in records if each.split == "train"], seed, with_test=False)
        return train + [each for each in records if each.split == "test"], ["val is a part of what was given as train"]
    return records, []


def _held_out(where: str, records: list[Record], seed: int, with_test: bool = True) -> list[Record]:
    """The records, each with a split: whole groups are held out, or clips where there are none."""
    records = sorted(records, key=lambda record: (record.group or record.label, record.path.parts, record.number))
    labels = [record.label for record in records]
    groups = [record.group for record in records if record.group is not None]
    splits = assign_groups(labels, groups, with_test) if groups else assign_clips(labels, seed, with_test)
    if not groups and "val" not in splits:
        raise NasError(
            f"{where} has one clip of each of its {len(set(labels))} classes, so none can be held out; allowed: two or "
            "more clips of a class, or splits that the data name"
        )
    if groups and "val" not in splits:
        names = sorted(set(groups))
        if len(names) == 1:
            raise NasError(f"{where} has one group, {names[0]!r}; allowed: two or more, so that one can be held out")
        raise NasError(
            f"{where}: none of its {len(names)} groups can be held out, as each has the only clips of a class "
            f"({names[0]!r} for one); allowed: classes in two groups or more, or a column `split`"
        )
    return [replace(record, split=split) for record, split in zip(records, splits, strict=True)]

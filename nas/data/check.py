"""What a data set holds and what is wrong with it: reads a clip of each of its videos."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data.arrays import ArraySplit, is_picture, read_array
from nas.data.clips import in_order
from nas.data.doubts import doubts
from nas.data.duplicates import same_content
from nas.data.records import VideoSplit
from nas.data.sampling import Sampling
from nas.data.source import SPLITS, Split, VideoData, listed
from nas.data.unreadable import MOST_UNREADABLE, Unreadable
from nas.data.video import VideoInfo, probe
from nas.errors import NasError
from nas.units import plural

FEW = 10  # clips of a class in train, below which it is said
UNEQUAL = 10  # times as many clips of one class as of another, above which it is said
STRIP = 8  # frames of a class in the contact sheet


@dataclass(frozen=True)
class CheckedClip:
    """A clip that was looked at.

    Attributes:
        split, label, name: Where it belongs and what it is called.
        info: What its file says; None where it cannot be read, or where it has none.
        reason: Why it cannot be read; None where it can.
        seconds: That reading a clip of it took.
    """

    split: str
    label: str
    name: str
    info: VideoInfo | None
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class Same:
    """Clips whose files hold the same bytes, as (split, class, name)."""

    clips: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        summary: The line of `VideoData.describe`, with what its source had to say.
        classes: Their names.
        counts: Clips of each class in each split.
        clips: All clips, in the order of the splits.
        same: Groups of clips of equal content.
        workers: Threads that read.
        sampling: Of the clips that were read.
        notes: What the source had to say.
        doubts: What makes accuracies doubtful, see `nas.data.doubts`.
    """

    summary: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    clips: tuple[CheckedClip, ...]
    same: tuple[Same, ...]
    workers: int
    sampling: Sampling
    notes: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        return tuple(Unreadable(each.split, each.name, each.reason) for each in self.clips if each.reason is not None)

    @property
    def clips_per_second(self) -> float:
        """Clips that can be read a second, by all threads together."""
        read = [each.seconds for each in self.clips if each.reason is None]
        return self.workers * len(read) / max(sum(read), 1e-9)

    def infos(self) -> list[VideoInfo]:
        """What the files say that can be read."""
        return [each.info for each in self.clips if each.info is not None]

    def warnings(self) -> list[str]:
        """Sentences without full stop on what should be mended or known before a training."""
        found = list(dict.fromkeys((*self.notes, *self.doubts)))
        if self.unreadable:
            found.append(f"{len(self.unreadable)} of {plural(len(self.clips), 'clip')} cannot be read")
        for split, counts in self.counts.items():
            of_split = [each for each in self.clips if each.split == split]
            broken = sum(each.reason is not None for each in of_split)
            if broken > MOST_UNREADABLE * len(of_split):
                share = f"{100 * broken / len(of_split):.0f} %"
                found.append(f"{share} of {split} cannot be read, and a run stops at {100 * MOST_UNREADABLE:.0f} %")
            lacking = [name for name in self.classes if not counts[name]]
            if lacking:
                found.append(f"{split} lacks {listed(lacking)}")
        train = self.counts["train"]
        few = [name for name in self.classes if 0 < train[name] < FEW]
        if few:
            found.append(f"fewer than {FEW} clips in train: {listed(few)}")
        most, least = max(train.values()), min(count for count in train.values() if count)
        if most > UNEQUAL * least:
            found.append(f"a class has {most} clips in train and another {least}")
        short = sum(info.frames < self.sampling.frames for info in self.infos())
        if short:
            found.append(f"{plural(short, 'clip')} of fewer than {self.sampling.frames} frames, which repeat")
        return found

    def figures(self) -> dict[str, Any]:
        """All of it as JSON."""
        infos = self.infos()
        return {
            "data": self.summary,
            "classes": list(self.classes),
            "clips": self.counts,
            "frames": spread([info.frames for info in infos]),
            "seconds": spread([info.duration for info in infos if info.duration]),
            "sizes": dict(Counter(f"{info.width}x{info.height}" for info in infos).most_common()),
            "codecs": dict(Counter(info.codec for info in infos).most_common()),
            "frame_rates": dict(Counter(f"{info.fps:.4g}" for info in infos if info.fps).most_common()),
            "unreadable": [{"split": e.split, "clip": e.clip, "reason": e.reason} for e in self.unreadable],
            "same_content": [
                [{"split": split, "label": label, "clip": clip} for split, label, clip in each.clips]
                for each in self.same
            ],
            "clips_per_second": self.clips_per_second,
            "workers": self.workers,
            "warnings": self.warnings(),
        }


def spread(values: list[float] | list[int]) -> dict[str, float] | None:
    """Least, median and most; None of nothing."""
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def splits_of(data: VideoData) -> Iterator[tuple[str, Split]]:
    """The splits that there are, with their names."""
    for name in SPLITS:
        split = getattr(data, name)
        if split is not None:
            yield name, split


def check_data(
    data: VideoData, sampling: Sampling, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Check:
    """Looks at every clip of a data set.

    Args:
        data: What to check.
        sampling: Of the clip that is read of each, which takes the time of reading it in training.
        workers: Threads that read.
        progress: Called with (clips looked at, clips) after each.
    """
    places = [(name, split, index) for name, split in splits_of(data) for index in range(len(split))]
    counts = {name: dict.fromkeys(data.classes, 0) for name, _ in splits_of(data)}

    def look(number: int) -> CheckedClip:
        name, split, index = places[number]
        label, clip_name = data.classes[split.labels[index]], split.clip_name(index)
        began = perf_counter()
        try:
            split.clip(index, sampling)
            seconds = perf_counter() - began
            return CheckedClip(name, label, clip_name, _info(split, index), None, seconds)
        except NasError as error:
            return CheckedClip(name, label, clip_name, None, str(error), perf_counter() - began)

    clips = []
    for clip in in_order(look, range(len(places)), workers):
        counts[clip.split][clip.label] += 1
        clips.append(clip)
        if progress is not None:
            progress(len(clips), len(places))
    return Check(
        data.describe(),
        data.classes,
        counts,
        tuple(clips),
        _same(data),
        workers,
        sampling,
        data.notes,
        doubts(data),
    )


def _info(split: Split, index: int) -> VideoInfo | None:
    if isinstance(split, VideoSplit):
        return probe(split.paths[index])
    if isinstance(split, ArraySplit):
        array = read_array(split.path, split.name)
        if split.length is not None:
            return VideoInfo(split.length[index], 0.0, 0.0, array.shape[2], array.shape[1], "array")
        frames, height, width = (1, *array.shape[1:3]) if is_picture(array) else array.shape[1:4]
        return VideoInfo(frames, 0.0, 0.0, width, height, "array")
    return None


def _same(data: VideoData) -> tuple[Same, ...]:
    owner: dict[Any, tuple[str, str, str]] = {}
    for name, split in splits_of(data):
        if isinstance(split, VideoSplit):
            for index, path in enumerate(split.paths):
                owner[path] = (name, data.classes[split.labels[index]], split.clip_name(index))
    return tuple(Same(tuple(owner[path] for path in group)) for group in same_content(owner))


def strips(data: VideoData, height: int = 96) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Of each class, the frames of its first clip that can be read, side by side: its name and
    uint8 (H, STRIP x W, 3). A class of which no clip can be read has none.

    Args:
        data: The data set.
        height: Of a frame; it is as wide as 4/3 of that.
    """
    sampling = Sampling(STRIP, (height, height * 4 // 3))
    for label, name in enumerate(data.classes):
        for _, split in splits_of(data):
            found = None
            for index in (i for i, of in enumerate(split.labels) if of == label):
                try:
                    found = split.clip(index, sampling)
                    break
                except NasError:
                    continue
            if found is not None:
                yield name, np.concatenate(list(found), 1)
                break

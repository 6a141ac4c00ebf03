"""What a data source implements, and what it gives: a data set of labelled clips in splits.

A new source is one file in this folder with a class like `Source` and, where its clips are no video
files, one like `Split`; and its line in `nas.data.datasets.SOURCES`. A source whose clips are video
files builds `nas.data.records.Record`s and has `nas.data.records.video_data` do the rest.
"""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from nas.data.sampling import MIDDLE, Sampling, View
from nas.errors import NasError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split(ABC):
    """Clips with labels. Must be picklable: a search sends it to the processes that train.

    Attributes:
        labels: Class index of each clip, from 0, an index into `VideoData.classes`.
        groups: Who or what each clip was recorded with, such as its person or day; empty where the
            data set has no groups.
    """

    labels: list[int]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def clip_name(self, index: int) -> str:
        """What a clip is called where people read of it."""
        return f"clip {index}"

    def seconds(self, index: int) -> float | None:
        """How long what a clip is cut out of lasts; None where no time is known, as of pictures.

        Raises:
            NasError: It cannot be read.
        """
        return None

    def median_seconds(self, most: int = 25) -> float | None:
        """The median length of what its clips are cut out of; None where none is known.

        Args:
            most: Clips that are looked at, spread over all.
        """
        known = []
        for index in range(0, len(self), max(1, len(self) // most)):
            with suppress(NasError):
                known.append(self.seconds(index))
        lengths = [seconds for seconds in known if seconds]
        return statistics.median(lengths) if lengths else None

    @abstractmethod
    def clip(
        self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """Reads one clip. Called by `load_split`, from several threads at a time; equal arguments
        must give equal pixels.

        Args:
            index: Which, from 0.
            sampling: Frames, size, and how the clip is cut out of what was recorded.
            view: Which part of it.
            seed: None is the clip of that view, any other one that starts at random.

        Returns:
            uint8 (T, H, W, 3), RGB.

        Raises:
            NasError: The clip cannot be read. `load_split` leaves it out and says so.
        """


@dataclass(frozen=True)
class VideoData:
    """A data set.

    Attributes:
        name: Shown in reports.
        classes: Names, in the order of the labels.
        train: Clips to train on; has every class.
        val: Clips that architectures are compared on.
        test: Clips that nothing is decided by, or None.
        flip: Whether clips may be mirrored.
        notes: Sentences without full stop on what a user would not expect of the data set, such as
            clips that were left out.
        doubts: Those of the notes for which accuracies are doubtful, such as a file that was given
            for two splits; `nas.data.doubts.doubts` finds more.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None
    flip: bool
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def chance(self) -> float:
        """Accuracy of a guess, 1 / number of classes."""
        return 1 / len(self.classes)

    def describe(self) -> str:
        """One line: classes, clips per split, groups held out and shared, classes that a split
        lacks, notes.
        """
        splits = {name: split for name in SPLITS if (split := getattr(self, name)) is not None}
        sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
        parts = [f"{self.name}: {len(self.classes)} classes, {sizes} clips"]
        before: dict[str, set[str]] = {}
        for name, split in splits.items():
            groups = set(split.groups)
            held_out = groups.difference(*before.values())
            if before and held_out:
                parts.append(f"{name} holds out {listed(held_out)}")
            parts += [
                f"{name} shares {listed(groups & other)} with {of}" for of, other in before.items() if groups & other
            ]
            missing = set(range(len(self.classes))) - set(split.labels)
            if missing:
                parts.append(f"{name} lacks {listed(self.classes[label] for label in missing)}")
            before[name] = groups
        return "; ".join((*parts, *self.notes))


class Source(Protocol):
    """A kind of data that `open_data` reads. Sources are asked in the order of
    `nas.data.datasets.SOURCES`: the first that accepts what the user wrote opens it.
    """

    forms: ClassVar[str]
    """What a user writes for it, as errors list it: "`motion`, `motion:DIFFICULTY`"."""

    def accepts(self, spec: str) -> bool:
        """Whether `spec`, as the user wrote it, is data of this kind. Called first; must not raise
        and not read more than it needs to tell.
        """

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        """Opens the data set without decoding a clip. Called once, if `accepts` said yes.

        Args:
            spec: What the user wrote.
            seed: Of all that is random: equal arguments must give equal splits, in any process.
            flip: Whether clips may be mirrored; None where the user did not say.
            allow_outside: Whether a text that the user was handed, such as a list, may name files
                outside of its folder.

        Raises:
            NasError: The data set cannot be used.
        """


def listed(names: Iterable[str]) -> str:
    """The first three of the names in order, and how many more there are."""
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""The clips that a training reads before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.data.clips import Clips
from nas.data.unreadable import write_unreadable
from nas.trained.plan import Plan


@dataclass(frozen=True)
class Decoded:
    """What is in memory of a data set.

    Attributes:
        train: Clips to train on, a little larger than the input.
        val: Clips that epochs are compared on.
        clip_seconds: Median length of what the training clips are cut out of; None where unknown.
    """

    train: Clips
    val: Clips
    clip_seconds: float | None

    @classmethod
    def read(cls, plan: Plan, folder: Path) -> Decoded:
        """Decodes the clips of a plan, and lists in a folder those that cannot be read.

        Raises:
            NasError: Too many cannot be read.
        """
        train = plan.clips("train", plan.data.train, plan.preprocessing.training)
        val = plan.clips("val", plan.data.val, plan.preprocessing.evaluation)
        write_unreadable(folder, (*train.unreadable, *val.unreadable))
        return cls(train, val, plan.data.train.median_seconds())

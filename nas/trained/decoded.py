"""The clips that a training reads before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.data.clips import Clips
from nas.data.unreadable import write_unreadable
from nas.trained.plan import Plan


@dataclass(frozen=True)
class Decoded:
    """What is in memory of the data.

    Attributes:
        train: Clips to train on, a little larger than the input.
        val: Clips that epochs are compared on.
        clip_seconds: Median length of what the training clips are cut out of; None where unknown.
        images, val_images: The same of images for a second head, clips of one frame, or None.
    """

    train: Clips
    val: Clips
    clip_seconds: float | None
    images: Clips | None = None
    val_images: Clips | None = None

    @classmethod
    def read(cls, plan: Plan, folder: Path) -> Decoded:
        """Decodes the clips of a plan, and lists in a folder those that cannot be read.

        Raises:
            NasError: Too many cannot be read, or workers cannot share what is left.
        """
        train = plan.clips("train", plan.data.train, plan.preprocessing.training)
        val = plan.clips("val", plan.data.val, plan.preprocessing.evaluation)
        images = val_images = None
        unreadable = (*train.unreadable, *val.unreadable)
        if plan.images is not None:
            images = plan.clips("image train", plan.images.train, plan.image_preprocessing.training)
            val_images = plan.clips("image val", plan.images.val, plan.image_preprocessing.evaluation)
            unreadable += (*images.unreadable, *val_images.unreadable)
        write_unreadable(folder, unreadable)
        plan.check_shares(len(train.labels), None if images is None else len(images.labels))
        return cls(train, val, plan.data.train.median_seconds(), images, val_images)

"""The clips that an exported file is run on beside the network that it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nas.data.preprocessing import Preprocessing
from nas.data.source import VideoData
from nas.data.unreadable import Unreadable, check_unreadable
from nas.errors import NasError
from nas.trained.evaluation import chosen_split
from nas.units import plural

COUNT = 5  # clips that a file is run on


@dataclass(frozen=True)
class Clips:
    """Frames of some clips.

    Attributes:
        frames_BTHWC: uint8, at the size that frames are resized to before they are cropped.
        what: What they are, such as `5 clips of val of clips.csv`.
    """

    frames_BTHWC: Tensor
    what: str

    @classmethod
    def random(cls, preprocessing: Preprocessing, count: int = COUNT) -> Self:
        """Clips of random pixels, the same ones every time."""
        generator = torch.Generator().manual_seed(0)
        shape = (count, preprocessing.frames, *preprocessing.resized, 3)
        return cls(
            torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), f"{plural(count, 'random clip')}"
        )

    @classmethod
    def of_data(cls, data: VideoData, preprocessing: Preprocessing, split: str = "val", count: int = COUNT) -> Self:
        """Clips of a split, spread over all of it.

        Raises:
            NasError: No such split, or too many clips that cannot be read.
        """
        part = chosen_split(data, split)
        places = np.linspace(0, len(part) - 1, min(count, len(part))).astype(int).tolist()
        read, unreadable = [], []
        for index in places:
            try:
                read.append(part.clip(index, preprocessing.training))
            except NasError as error:
                unreadable.append(Unreadable(split, part.clip_name(index), str(error)))
        check_unreadable(unreadable, len(places))
        return cls(torch.from_numpy(np.stack(read)), f"{plural(len(read), 'clip')} of {split} of {data.name}")

    def largest_difference(self, run: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor]) -> float:
        """The largest difference of two functions of frames, over the largest value of the second.

        Both are called with the first clip and with all clips: a file may know one batch only.
        """
        differences = []
        for batch in (self.frames_BTHWC[:1], self.frames_BTHWC):
            one, other = run(batch).double(), expected(batch).double()
            if one.shape != other.shape or not one.isfinite().all():
                return float("inf")
            differences.append(float((one - other).abs().max() / other.abs().max().clamp(min=1e-30)))
        return max(differences)

"""How a video becomes what a network takes, once for training, evaluation and prediction.

The object is stored with the weights of a trained network, so that no two of the three can differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from nas.data.sampling import Sampling, View
from nas.data.transforms import MEAN, STD, centre_crop
from nas.errors import NasError

MARGIN = 8 / 7  # by how much clips are kept larger than the network's input, for random crops

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Which frames of a video, at which size, and on which scale.

    Attributes:
        frames: T, frames of a clip.
        height, width: Of the network's input in pixels.
        resized_height, resized_width: What a frame is resized to cover, its aspect ratio kept,
            before it is cropped; training crops at random within it, evaluation in its middle.
        stride: Distance between the frames of a clip in frames of the file; None cuts the whole
            video into T equal parts and takes one frame of each.
        mean, std: Per channel (red, green, blue), of values from 0 to 1.
    """

    frames: int
    height: int
    width: int
    resized_height: int
    resized_width: int
    stride: int | None = None
    mean: Channels = (MEAN, MEAN, MEAN)
    std: Channels = (STD, STD, STD)

    def __post_init__(self) -> None:
        counts = {"frames": self.frames, "height": self.height, "width": self.width, "stride": self.stride}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise NasError(f"preprocessing has the {name} {count}; allowed: whole numbers from 1")
        if self.resized_height < self.height or self.resized_width < self.width:
            raise NasError(
                f"preprocessing resizes frames to {self.resized_height}x{self.resized_width} and crops "
                f"{self.height}x{self.width}; allowed: crops up to that size"
            )
        if min(self.std) <= 0:
            raise NasError(f"preprocessing divides by std {list(self.std)}; allowed: numbers above zero")

    @classmethod
    def of_input(cls, frames: int, size: tuple[int, int], stride: int | None = None) -> Self:
        """That of an input of so many frames of (height, width): frames are resized to cover 8/7 of
        it.
        """
        height, width = size
        return cls(frames, height, width, math.ceil(height * MARGIN), math.ceil(width * MARGIN), stride)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.height, self.width

    @property
    def resized(self) -> tuple[int, int]:
        """(height, width) of the clips that are read, before the crop."""
        return self.resized_height, self.resized_width

    @property
    def training(self) -> Sampling:
        """How clips are read that are cropped afterwards."""
        return Sampling(self.frames, self.resized, self.stride)

    @property
    def evaluation(self) -> Sampling:
        """How clips are read that the network takes as they are, any view of a video."""
        return Sampling(self.frames, self.size, self.stride, self.resized)

    def views(self, clips: int, crops: int) -> tuple[View, ...]:
        """The views of one video over which probabilities are averaged: every clip in every crop.

        One clip or crop is the middle one. Crops spread from one end of the longer side to the
        other; clips with a stride spread from the first to the last, and those of equal parts take
        the middles of `clips` equal parts of each part.

        Args:
            clips: Clips in time.
            crops: Crops along the longer side.

        Returns:
            `clips * crops` views, the crops of the first clip first.

        Raises:
            NasError: A number below one.
        """
        if min(clips, crops) < 1:
            raise NasError(f"views {clips}x{crops} are none; allowed: clips x crops, each from 1")
        starts = _spread(clips) if self.stride is not None else [(i + 0.5) / clips for i in range(clips)]
        return tuple(View(start, place) for start in starts for place in _spread(crops))

    def network_input(self, clips_BTHWC: Tensor) -> Tensor:
        """What the network takes of uint8 clips of any size from its input's upwards: the middle
        crop, on the network's scale.

        Returns:
            float (B, C, T, height, width).

        Raises:
            NasError: A clip is smaller than the input.
        """
        cropped = centre_crop(clips_BTHWC, self.size).permute(0, 4, 1, 2, 3).float()
        mean, std = (torch.tensor(values, device=cropped.device).view(3, 1, 1, 1) for values in (self.mean, self.std))
        return cropped.div_(255).sub_(mean).div_(std)


def _spread(count: int) -> list[float]:
    """Numbers from 0 to 1 at equal distances, both included; 0.5 for one."""
    return [0.5] if count == 1 else [i / (count - 1) for i in range(count)]

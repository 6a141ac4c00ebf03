"""Which frames of a video, at which size, make a clip: the request that every split answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.errors import NasError


@dataclass(frozen=True)
class View:
    """Which part of a video one pass of the network sees.

    Attributes:
        start: Where in time, 0 (first) to 1 (last): with a stride the place of the clip in the room
            that the video leaves; in equal parts the place of the frame in each part.
        place: Where the crop lies along the side of the resized frame that leaves more room, 0
            (left or top) to 1; across it the crop is in the middle.
    """

    start: float = 0.5
    place: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("place", self.place)):
            if not 0 <= value <= 1:
                raise NasError(f"{name} {value} of a view is not allowed; allowed: numbers from 0 to 1")


MIDDLE = View()


@dataclass(frozen=True)
class Sampling:
    """How clips are cut out of videos; a `View` says which of those of one video.

    Attributes:
        frames: T, frames in a clip. They repeat where a video has fewer.
        size: (height, width) of a clip.
        stride: None cuts the whole video into T equal parts and takes a frame from each (segments).
            A number takes frames so far apart (dense), where 1 is the mean distance in time of two
            frames of the video: of a constant frame rate, every frame. A video too short for it is
            read in segments.
        cover: (height, width) that a frame is resized to cover, its aspect ratio kept, before
            `size` is cut out of it; None is `size`.

    Raises:
        NasError: A value out of range.
    """

    frames: int
    size: tuple[int, int]
    stride: int | None = None
    cover: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        numbers = {"frames": self.frames, "height": self.size[0], "width": self.size[1], "stride": self.stride}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise NasError(f"{name} {value} of a clip is not allowed; allowed: whole numbers from 1")
        if self.cover is not None and (self.cover[0] < self.size[0] or self.cover[1] < self.size[1]):
            raise NasError(
                f"clips of {self.size[0]}x{self.size[1]} are larger than the {self.cover[0]}x{self.cover[1]} that "
                "frames are resized to cover; allowed: up to that"
            )

    @property
    def covered(self) -> tuple[int, int]:
        """(height, width) that a frame is resized to cover."""
        return self.cover or self.size

    def window(self, full: Sequence[int], place: float) -> tuple[slice, slice]:
        """The rows and columns that are cut out of a resized frame.

        Args:
            full: (height, width) of the frame, at least the size.
            place: See `View`.
        """
        room_y, room_x = full[0] - self.size[0], full[1] - self.size[1]
        top, left = (room_y // 2, int(place * room_x)) if room_x >= room_y else (int(place * room_y), room_x // 2)
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def indices(self, start: float, count: int, times: npt.NDArray[np.float64] | None = None) -> list[int]:
        """Which frames of a video make the clip.

        Args:
            start: See `View`.
            count: N, frames of the video.
            times: When each of them is shown, (N,) from 0 in mean distances of two frames, where
                the rate is not constant: then the frame that is shown at a time is taken.

        Returns:
            T indices, from 0 to N - 1, in order of time.
        """
        room = -1 if self.stride is None else count - ((self.frames - 1) * self.stride + 1)
        if self.stride is not None and room >= 0:
            places = [float(int(start * room + 0.5) + i * self.stride) for i in range(self.frames)]
        else:
            places = [(i + start) * count / self.frames for i in range(self.frames)]
        if times is None:
            return [min(int(place), count - 1) for place in places]
        return [int(index) - 1 for index in np.searchsorted(times, places, "right")]

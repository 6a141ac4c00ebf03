"""Decoded frames to pixels of a clip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from nas.data.sampling import Sampling

Pixels = npt.NDArray[np.uint8]


def quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise right angles that show the frame upright."""
    # A matrix without extent has no angle, of which PyAV makes a number of ten digits.
    return round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 360 else 0


def upright(frame: VideoFrame) -> Pixels:
    """The frame as it is, uint8 (H, W, 3), RGB, turned upright."""
    picture: Pixels = np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns(frame))
    return picture


class Resizer:
    """Turns frames upright, resizes them to cover what a sampling says, and crops them.

    One object keeps its scaling context between the frames of a clip; its threads would cost more
    than they save on small frames.
    """

    def __init__(self, sampling: Sampling, place: float) -> None:
        """Args:
        sampling: Of the clip.
        place: Where the crop lies, see `nas.data.sampling.View`.
        """
        self._sampling, self._place = sampling, place
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        """Returns uint8 (H, W, 3), RGB.

        Raises:
            av.error.FFmpegError, ValueError: The frame cannot be converted.
        """
        turns = quarter_turns(frame)
        height, width = self._sampling.covered if turns % 2 == 0 else self._sampling.covered[::-1]
        scale = max(height / frame.height, width / frame.width)
        full_height, full_width = max(height, round(frame.height * scale)), max(width, round(frame.width * scale))
        scaled = self._reformatter.reformat(
            frame, full_width, full_height, format="rgb24", interpolation="BILINEAR", threads=1
        ).to_ndarray()
        turned: Pixels = np.rot90(scaled, turns)
        rows, columns = self._sampling.window(turned.shape[:2], self._place)
        return turned[rows, columns]

"""A window that slides over a video of any length, from frames as they come. Pure: any frames.

Times are in seconds from the first frame.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from nas.errors import NasError

Picture = TypeVar("Picture")

_ALMOST = 1e-3  # seconds by which two times may differ and be one: Matroska rounds to milliseconds


@dataclass(frozen=True)
class Window(Generic[Picture]):
    """A part of a video, and the frames that a network sees of it.

    Attributes:
        start: First second.
        end: Last second.
        pictures: T frames.
    """

    start: float
    end: float
    pictures: tuple[Picture, ...]


def sample_times(start: float, length: float, frames: int, distance: float | None) -> list[float]:
    """When the frames of a clip in a window are shown.

    Args:
        start: Of the window.
        length: Of the window.
        frames: T.
        distance: Between two frames, in the middle of the window; None, or one that does not fit
            into the window, takes the middles of T equal parts.
    """
    span = math.inf if distance is None else (frames - 1) * distance
    if distance is None or span > length + _ALMOST:
        return [start + (i + 0.5) * length / frames for i in range(frames)]
    first = start + (length - span) / 2
    return [first + i * distance for i in range(frames)]


def slide(
    pictures: Iterable[tuple[float, Picture]],
    length: float,
    step: float,
    frames: int,
    distance: float | None = None,
) -> Iterator[Window[Picture]]:
    """Windows over a video, each as soon as its last frame has come.

    They begin at 0, step, 2 step, ...; the last one ends with the video. A video that is shorter
    than a window is one window. At a time between two frames the earlier one is shown.

    Args:
        pictures: Frames with the times from which they are shown, rising.
        length: Of a window.
        step: From the start of one to the start of the next.
        frames: T, frames of each.
        distance: Between them; see `sample_times`.

    Raises:
        NasError: A length or a step that is not above zero.
    """
    for name, value in (("window", length), ("step", step)):
        if not 0 < value < math.inf:
            raise NasError(f"{name} of {value:g} s is not allowed; allowed: seconds above zero")
    kept: deque[tuple[float, Picture]] = deque()
    number, first, now, interval, seen = 0, 0.0, 0.0, 0.0, 0
    for time, picture in pictures:
        if not seen:
            first = time
        seen += 1
        interval, now = time - first - now if seen > 1 else 0.0, time - first
        while number * step + length <= now + _ALMOST:
            yield _window(kept, number * step, length, frames, distance)
            number += 1
        while len(kept) > 1 and kept[1][0] <= min(number * step, now - length) - _ALMOST:
            kept.popleft()
        kept.append((now, picture))
    if not seen:
        return
    end = now + interval  # the last frame is shown as long as the one before it
    while number * step + length <= end + _ALMOST:
        yield _window(kept, number * step, length, frames, distance)
        number += 1
    covered = (number - 1) * step + length if number else 0.0
    if covered < end - max(interval / 2, _ALMOST) or not number:
        start = max(0.0, end - length)
        yield _window(kept, start, end - start, frames, distance)


def _window(
    kept: Sequence[tuple[float, Picture]], start: float, length: float, frames: int, distance: float | None
) -> Window[Picture]:
    shown: list[Picture] = []
    i = 0
    for time in sample_times(start, length, frames, distance):
        while i + 1 < len(kept) and kept[i + 1][0] <= time + _ALMOST:
            i += 1
        shown.append(kept[i][1])
    return Window(start, start + length, tuple(shown))

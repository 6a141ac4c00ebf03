"""What a network says of a video: of all of it, or of windows that slide over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nas.data.video import open_video, read_view
from nas.errors import NasError
from nas.trained.folder import TrainedModel
from nas.trained.passes import mean_probabilities, read_views
from nas.trained.scores import Floats
from nas.trained.windows import slide

OVERLAP = 2  # windows over each second, unless a step is given


@dataclass(frozen=True)
class Guess:
    """A class and how probable it is."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a network says of a video or of a window of it.

    Attributes:
        video: As it was named.
        classes: In the order of the probabilities.
        probabilities: (K,), their sum is 1.
        span: From which to which second of the video; None for all of it.
    """

    video: str
    classes: tuple[str, ...]
    probabilities: Floats
    span: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    def top(self, count: int = 5) -> tuple[Guess, ...]:
        """The most probable classes, the most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return tuple(Guess(self.classes[k], float(self.probabilities[k])) for k in order)


def predict(model: TrainedModel, video: str | Path, views: tuple[int, int] = (1, 1)) -> Prediction:
    """Predicts the class of a whole video, as `nas.trained.evaluation.evaluate` does.

    Args:
        model: The network.
        video: A file, or a folder of pictures that are its frames; see `nas.data.video.read_view`.
        views: Clips in time and crops in space whose probabilities are averaged.

    Raises:
        NasError: The video cannot be read, or there are no such views.
    """
    preprocessing = model.record.preprocessing
    looks, sampling = preprocessing.views(*views), preprocessing.evaluation
    pixels = read_views(lambda view: read_view(video, sampling, view), looks)
    return Prediction(str(video), model.classes, mean_probabilities(model, pixels))


def predict_windows(
    model: TrainedModel, video: str | Path | BinaryIO, length: float | None = None, step: float | None = None
) -> Iterator[Prediction]:
    """Predicts the class of windows that slide over a video, each as soon as its frames are there.

    Args:
        model: The network.
        video: A file, or a stream of one that FFmpeg reads without going back, such as Matroska or
            MPEG-TS.
        length: Of a window in seconds; by default see `window_length`.
        step: From the start of one to that of the next; half of the length by default.

    Raises:
        NasError: The video cannot be read, no length is known, or one is not above zero.
    """
    preprocessing = model.record.preprocessing
    name = str(video) if isinstance(video, str | Path) else "standard input"
    with open_video(video, preprocessing.evaluation) as opened:
        length = window_length(model, opened.rate) if length is None else length
        step = length / OVERLAP if step is None else step
        distance = preprocessing.stride / opened.rate if preprocessing.stride else None
        for window in slide(opened.frames, length, step, preprocessing.frames, distance):
            probabilities = mean_probabilities(model, np.stack(window.pictures)[None])
            yield Prediction(name, model.classes, probabilities, (window.start, window.end))


def window_length(model: TrainedModel, rate: float) -> float:
    """The seconds of video that the network saw of a clip when it was trained.

    Args:
        model: The network.
        rate: Frames per second of the video that it is used on.

    Returns:
        What its frames at their stride last, or the median length of the videos that it was trained
        on.

    Raises:
        NasError: Its folder does not tell.
    """
    preprocessing = model.record.preprocessing
    if preprocessing.stride is not None:
        return ((preprocessing.frames - 1) * preprocessing.stride + 1) / rate
    if model.record.clip_seconds is None:
        raise NasError(
            f"model {model.name!r} does not say how long the videos were that it was trained on; "
            "allowed: a length of the window in seconds"
        )
    return model.record.clip_seconds

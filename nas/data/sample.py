"""A small data set of video files, drawn on the spot: what to try the commands on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.codec import codecs_available
from av.video.stream import VideoStream

from nas.data.motion import CLASSES as MOTIONS
from nas.data.motion import motion_clip
from nas.errors import NasError
from nas.resources import replacing

CLASSES = ("move_right", "move_left", "turn_clockwise", "approach")
SUBJECTS = 5
LIST = "clips.csv"
FRAMES, SIZE, RATE = 32, 64, 16
_CODECS = ("libx264", "mpeg4")


def write_sample(folder: Path, per_class: int = 30, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes labelled mp4 clips of textures that move, in a folder per class, and a list of them.

    Clips are of 32 frames of 64x64 pixels at 16 frames a second. Each is of one of five subjects,
    who differ in colour: the `group` column of the list, so that none is trained and tested on.

    Args:
        folder: Must not exist, or be empty.
        per_class: Clips of each of the four classes, at least one for each subject.
        progress: Called with (clips written, clips) after each.

    Returns:
        The list, `clips.csv`, with the columns path, label and group.

    Raises:
        NasError: The folder holds something or cannot be made, or there are too few clips.
    """
    if per_class < SUBJECTS:
        raise NasError(f"{per_class} clips of a class are too few; allowed: at least {SUBJECTS}, one of each subject")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise NasError(f"folder {str(folder)!r} is not empty; allowed: a new folder")
        for name in CLASSES:
            (folder / name).mkdir()
    except OSError as error:
        raise NasError(f"folder {str(folder)!r} cannot be made: {error.strerror}; allowed: a new folder") from None
    rows = []
    for number in range(per_class * len(CLASSES)):
        name, subject = CLASSES[number % len(CLASSES)], number // len(CLASSES) % SUBJECTS
        path = f"{name}/subject{subject}_{number // len(CLASSES) // SUBJECTS}.mp4"
        clip = motion_clip(number, MOTIONS.index(name), FRAMES, SIZE, difficulty=0.0)
        tint = np.random.default_rng(subject).uniform(0.5, 1.0, 3)
        write_video(folder / path, (clip * tint).astype(np.uint8), RATE)
        rows.append((path, name, f"subject{subject}"))
        if progress is not None:
            progress(len(rows), per_class * len(CLASSES))
    with replacing(folder / LIST) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "group"), *rows])
    return folder / LIST


def write_video(path: Path, clip: npt.NDArray[np.uint8], rate: int) -> None:
    """Writes a clip, uint8 (T, H, W, 3), as H.264 where FFmpeg can, else as MPEG-4."""
    codec = next(name for name in _CODECS if name in codecs_available)
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())

"""Strips of frames of a clip of each class, as a run keeps them for its report: small JPEG files of
what the trainings saw, named by the number of the class.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nas.data.clips import Clips
from nas.resources import replacing

STRIPS = "frames"  # the folder, in that of a run
FRAMES = 6  # of a strip, at most
HEIGHT = 64  # pixels, at most
MOST_BYTES = 300_000  # of all strips; what does not fit is left out
_JPEG = b"\xff\xd8\xff"  # how such a file begins
_QUALITY = 75


def write_strips(folder: Path, clips: Clips) -> None:
    """Writes the strips of the first clip of each class, in the order of the classes.

    Args:
        folder: Of the run.
        clips: That networks are trained on.
    """
    left = MOST_BYTES
    for label in np.unique(clips.labels).tolist():
        data = strip(clips.pixels[int(np.argmax(clips.labels == label))])
        left -= len(data)
        if left < 0:
            return
        (folder / STRIPS).mkdir(exist_ok=True)
        with replacing(folder / STRIPS / f"{label}.jpg") as draft:
            draft.write_bytes(data)


def strip(clip: npt.NDArray[np.uint8]) -> bytes:
    """Frames spread over a clip, uint8 (T, H, W, 3), side by side as a JPEG file."""
    count, height, width, _ = clip.shape
    chosen = np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)
    picture = Image.fromarray(np.ascontiguousarray(np.concatenate(list(clip[chosen]), 1)))
    if height > HEIGHT:
        picture = picture.resize((max(1, round(width * HEIGHT / height)) * len(chosen), HEIGHT))
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()


def read_strips(folder: Path, classes: int) -> dict[int, bytes]:
    """The strips that a run has, by the number of the class; what is no JPEG file, or would be more
    than a run keeps, is left out.
    """
    found: dict[int, bytes] = {}
    left = MOST_BYTES
    for label in range(classes):
        path = folder / STRIPS / f"{label}.jpg"
        if not path.is_file() or path.stat().st_size > left:
            continue
        data = path.read_bytes()
        if data.startswith(_JPEG):
            found[label] = data
            left -= len(data)
    return found

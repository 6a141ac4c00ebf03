"""Clips of pictures: a folder with one per frame, or a single picture, a clip of one frame."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from nas.data.kinds import frames_in
from nas.data.pictures import Pixels, Resizer, quarter_turns
from nas.data.sampling import Sampling, View
from nas.errors import NasError

# What a file begins with says its format; many a PNG is called .jpg.
_CODECS = {b"\xff\xd8": "mjpeg", b"\x89PNG": "png", b"BM": "bmp", b"RIFF": "webp", b"II*\0": "tiff", b"MM\0*": "tiff"}
_NUMBER = re.compile("[0-9]+")
_ALLOWED = "allowed: JPEG, PNG, BMP, WebP or TIFF"


def read_folder_clip(folder: Path, sampling: Sampling, view: View) -> Pixels:
    """Reads a clip of a folder of pictures, in the natural order of their names.

    Raises:
        NasError: There is no picture, one cannot be read, or there are several of each frame, as of
            a video and its optical flow.
    """
    return read_pictures(_frames(folder), sampling, view)


def size_of_pictures(path: Path) -> tuple[int, int, int]:
    """Frames, height and width of a folder of pictures, as the first has them, or of one picture.

    Raises:
        NasError: There is no picture, or the first cannot be read.
    """
    files = _frames(path) if path.is_dir() else [path]
    resize = Resizer(Sampling(1, (1, 1)), 0.5)
    frame, _ = _decoded(files[0], resize)
    sizes = (frame.height, frame.width)
    height, width = sizes if quarter_turns(frame) % 2 == 0 else sizes[::-1]
    return len(files), height, width


def _frames(folder: Path) -> list[Path]:
    try:
        frames = frames_in(folder)
    except OSError as error:
        raise NasError(f"Cannot read frames of {str(folder)!r}: {error.strerror}; allowed: a readable folder") from None
    if not frames:
        raise NasError(f"Cannot read frames of {str(folder)!r}: it holds no picture; {_ALLOWED}")
    series: defaultdict[str, list[str]] = defaultdict(list)
    for frame in frames:
        series[_NUMBER.sub("#", frame.name)].append("-".join(_NUMBER.findall(frame.name)))
    first, *others = sorted(series)
    for other in others:
        if len(series[first]) > 1 and sorted(series[first]) == sorted(series[other]):
            raise NasError(
                f"Cannot read frames of {str(folder)!r}: {first!r} and {other!r} have the same numbers, so that each "
                "frame is there twice; allowed: one picture for each frame"
            )
    return frames


def read_pictures(files: Sequence[Path], sampling: Sampling, view: View) -> Pixels:
    """Reads a clip of pictures, each a frame.

    Raises:
        NasError: One cannot be read.
    """
    resize = Resizer(sampling, view.place)
    indices = sampling.indices(view.start, len(files))
    pictures = {index: _decoded(files[index], resize)[1] for index in set(indices)}
    return np.stack([pictures[index] for index in indices])


def _decoded(file: Path, resize: Resizer) -> tuple[VideoFrame, Pixels]:
    try:
        frame = decode_picture(file)
        return frame, resize(frame)
    except NasError:
        raise
    except (av.error.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NasError(f"Cannot read picture {str(file)!r}: {reason}; {_ALLOWED}") from error


def decode_picture(file: Path) -> VideoFrame:
    """Decodes a file of one picture.

    Raises:
        NasError: It is in no format that is allowed.
        av.error.FFmpegError, OSError: It cannot be read.
    """
    data = file.read_bytes()
    name = next((codec for head, codec in _CODECS.items() if data.startswith(head)), None)
    if name is None:
        kind = "is empty" if not data else "is in none of the formats"
        raise NasError(f"Cannot read picture {str(file)!r}: it {kind}; {_ALLOWED}")
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    if not frames:
        raise NasError(f"Cannot read picture {str(file)!r}: no frame of it decodes; {_ALLOWED}")
    return frames[0]

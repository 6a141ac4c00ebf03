"""A video with what a network says of it written into its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import matplotlib
import numpy as np
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

from nas.data.video import open_video, probe
from nas.errors import NasError
from nas.resources import replacing
from nas.trained.passes import Pixels
from nas.trained.prediction import Prediction

SUFFIXES = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}  # and FFmpeg's name of the container
TOP = 3  # classes that are written
_CODECS = ("libx264", "mpeg4")  # the first that this FFmpeg has
_CLOCK = Fraction(1, 90_000)  # seconds: what times of frames are rounded to
_SMALLEST = 240  # pixels of the shorter side; what is smaller is enlarged, so that text can be read
_BAR, _BACK, _INK = (0, 114, 178), (0, 0, 0, 150), (255, 255, 255)


def write_overlay(
    video: str | Path,
    predictions: Sequence[Prediction],
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Copies the pictures of a video (not its sound) with the most probable classes of the time
    written over them.

    Args:
        video: A file.
        predictions: Of it: one without a span, or those of windows; at each time those of the
            window whose middle is nearest.
        out: H.264, or MPEG-4 where FFmpeg lacks it, in a file of one of `SUFFIXES`.
        progress: Called with (frames written, frames there are) after each.

    Raises:
        NasError: The video cannot be read, or the file not written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise NasError(f"overlay {str(out)!r} has the ending {out.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    frames = probe(video).frames
    middles = np.array([0.0 if each.span is None else sum(each.span) / 2 for each in predictions])
    with open_video(video) as opened, replacing(out) as draft:
        try:
            # Without the prefix, what stands before a colon in the name would be a protocol.
            with av.open(f"file:{draft}", "w", format=SUFFIXES[out.suffix.lower()]) as to:
                codec = next(name for name in _CODECS if name in av.codecs_available)
                stream = to.add_stream(codec, rate=Fraction(opened.rate).limit_denominator(1001))
                assert isinstance(stream, VideoStream)
                stream.pix_fmt, stream.time_base = "yuv420p", _CLOCK
                first, last = None, -1
                for number, (time, pixels) in enumerate(opened.frames):
                    first = time if first is None else first
                    shown = predictions[int(np.abs(middles - (time - first)).argmin())]
                    written = annotate(pixels, shown)
                    if number == 0:
                        stream.height, stream.width = written.shape[:2]
                    frame = av.VideoFrame.from_ndarray(written, format="rgb24")
                    # Times that are equal, as broken files have them, cannot be written.
                    last = max(last + 1, round((time - first) / _CLOCK))
                    frame.pts, frame.time_base = last, _CLOCK
                    to.mux(stream.encode(frame))
                    if progress is not None:
                        progress(number + 1, frames)
                to.mux(stream.encode())
        except (av.error.FFmpegError, OSError) as error:
            raise NasError(
                f"overlay {str(out)!r} cannot be written ({error.strerror}); allowed: a file in a folder with room"
            ) from None


def annotate(pixels: Pixels, prediction: Prediction) -> Pixels:
    """A frame with the most probable classes written into its upper left corner, with bars as long
    as they are probable.

    Args:
        pixels: uint8 (H, W, 3).
        prediction: What is written.

    Returns:
        uint8 of even height and width, enlarged where the shorter side is below 240 pixels.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    scale = max(1.0, _SMALLEST / min(picture.size))
    even = [max(2, round(side * scale) // 2 * 2) for side in picture.size]
    if tuple(even) != picture.size:
        picture = picture.resize((even[0], even[1]), Image.Resampling.BILINEAR)
    line = max(12, picture.height // 18)
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), line * 3 // 4)  # older versions of Pillow take no path
    guesses = prediction.top(TOP)
    width = min(picture.width, max(picture.width * 2 // 5, 12 * line))
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rectangle((0, 0, width, (len(guesses) + 0.5) * line), fill=_BACK)
    for row, guess in enumerate(guesses):
        top = row * line + line // 4
        draw.rectangle((0, top, width * guess.probability, top + line - 2), fill=(*_BAR, 220))
        draw.text((line // 4, top), f"{100 * guess.probability:.0f} %  {guess.name}", font=font, fill=_INK)
    return np.asarray(picture)

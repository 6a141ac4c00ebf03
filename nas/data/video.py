"""Video files to arrays of pixels, by PyAV. One decoder thread per file: callers run several files
side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from nas.data.sampling import MIDDLE, Sampling, View
from nas.errors import NasError

# Only a file itself is opened: no protocol, and no playlist, picture series or other format that
# names further files. Formats of sound are here so that a file of sound is called that.
ALLOWED = "allowed: one file with a video stream that FFmpeg decodes"
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mjpeg,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,"
    "rm,vc1,wtv,yuv4mpegpipe,apng,aac,aiff,flac,mp3,wav",
}

_UNKNOWN_RATE = 25.0  # frames per second, where neither file nor decoder says


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself; `width` and `height` in pixels as shown, after rotation,
    `duration` in seconds.
    """

    frames: int
    fps: float
    duration: float
    width: int
    height: int


def probe(path: str | Path) -> VideoInfo:
    """Reads the header and decodes one frame.

    The frame count is the number of packets that are to be shown, or of frames that decode where a
    packet is known to be damaged; of another damaged file fewer may decode.

    Raises:
        NasError: the file cannot be read, or holds no video.
    """
    with _open(path) as (container, stream):
        frame = next(_frames(path, container, stream))
        turned = _quarter_turns(frame) % 2 == 1
        width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = container.duration / av.time_base if container.duration else None
    count = _frame_count(path)
    duration = seconds if seconds is not None else (count / fps if fps else 0.0)
    return VideoInfo(count, fps, duration, width, height)


def read_clip(path: str | Path, sampling: Sampling, view: View = MIDDLE) -> npt.NDArray[np.uint8]:
    """Decodes a clip, turned upright.

    Args:
        path: video file.
        sampling: frames, size, and how the clip is cut out of the video.
        view: which part of it.

    Returns:
        uint8 (T, H, W, 3), RGB. A damaged file gives a clip of the frames that decode.

    Raises:
        NasError: the file cannot be read, holds no video, or no frame of it decodes.
    """
    indices = _indices(_frame_count(path), sampling, view.start)
    pictures, decoded = _decode(path, set(indices), sampling, view.place)
    if len(pictures) < len(set(indices)):
        indices = _indices(decoded, sampling, view.start)
        pictures, _ = _decode(path, set(indices), sampling, view.place)
    return np.stack([pictures[i] for i in indices])


@dataclass(frozen=True)
class OpenVideo:
    """A video that is being read from its beginning to its end.

    Attributes:
        rate: Frames per second, as the file says.
        frames: The second from which each is shown, counted as the file counts, and the frame,
            uint8 (H, W, 3), RGB.
    """

    rate: float
    frames: Iterator[tuple[float, npt.NDArray[np.uint8]]]


@contextmanager
def open_video(video: str | Path | BinaryIO, sampling: Sampling | None = None) -> Iterator[OpenVideo]:
    """Opens a video whose frames are all read, one after the other.

    Args:
        video: a file, or a stream of one in a format that needs no going back, such as Matroska or
            MPEG-TS.
        sampling: how frames are resized and cropped, in the middle; None leaves them as they are,
            turned upright.

    Raises:
        NasError: it cannot be read, holds no video, or no frame of it decodes.
    """
    with _open(video) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or _UNKNOWN_RATE)
        yield OpenVideo(rate, _timed(video, container, stream, sampling, rate))


def _timed(
    video: str | Path | BinaryIO, container: InputContainer, stream: VideoStream, sampling: Sampling | None, rate: float
) -> Iterator[tuple[float, npt.NDArray[np.uint8]]]:
    reformatter = VideoReformatter()
    last = 0.0
    for number, frame in enumerate(_frames(video, container, stream)):
        last = max(last, number / rate if frame.time is None else frame.time)
        try:
            if sampling is None:
                yield last, np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
            else:
                yield last, _picture(frame, reformatter, sampling, MIDDLE.place)
        except (av.error.FFmpegError, ValueError) as error:
            raise _unreadable(video, error) from error


def _indices(count: int, sampling: Sampling, start: float) -> list[int]:
    frames, stride = sampling.frames, sampling.stride
    if stride is not None:
        room = count - ((frames - 1) * stride + 1)
        if room >= 0:
            first = int(start * room + 0.5)
            return [first + i * stride for i in range(frames)]
    return [min(int((i + start) * count / frames), count - 1) for i in range(frames)]


def _decode(
    path: str | Path, wanted: set[int], sampling: Sampling, place: float
) -> tuple[dict[int, npt.NDArray[np.uint8]], int]:
    """The wanted frames by index, and how many were decoded on the way to the last of them."""
    pictures = {}
    decoded = 0
    last = max(wanted)
    # One reformatter keeps its scaling context between frames; its threads cost more than they save
    # on small frames.
    reformatter = VideoReformatter()
    with _open(path) as (container, stream):
        for index, frame in enumerate(_frames(path, container, stream)):
            decoded += 1
            if index in wanted:
                try:
                    pictures[index] = _picture(frame, reformatter, sampling, place)
                except (av.error.FFmpegError, ValueError) as error:
                    raise _unreadable(path, error) from error
            if index == last:
                break
    return pictures, decoded


def _picture(
    frame: VideoFrame, reformatter: VideoReformatter, sampling: Sampling, place: float
) -> npt.NDArray[np.uint8]:
    """The frame upright, resized to cover what the sampling says, and cropped."""
    turns = _quarter_turns(frame)
    height, width = sampling.covered if turns % 2 == 0 else sampling.covered[::-1]
    scale = max(height / frame.height, width / frame.width)
    full_height, full_width = max(height, round(frame.height * scale)), max(width, round(frame.width * scale))
    scaled = reformatter.reformat(
        frame, full_width, full_height, format="rgb24", interpolation="BILINEAR", threads=1
    ).to_ndarray()
    upright: npt.NDArray[np.uint8] = np.rot90(scaled, turns)
    rows, columns = sampling.window(upright.shape[:2], place)
    return upright[rows, columns]


def _quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise right angles that show the frame upright."""
    return round(frame.rotation / 90) % 4


def _frame_count(path: str | Path) -> int:
    """Packets that are to be shown, or frames that decode where a packet is damaged. A header's
    count may be of the first fragment, of before an edit or of before the file was cut off.
    """
    with _open(path) as (container, stream):
        count, damaged = 0, False
        try:
            for packet in container.demux(stream):
                count += packet.size > 0 and not packet.is_discard
                damaged |= packet.is_corrupt
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from error
        if not damaged:
            return max(1, count)
    with _open(path) as (container, stream):
        return sum(1 for _ in _frames(path, container, stream))


def _frames(path: str | Path | BinaryIO, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in the order shown, up to the first that is damaged beyond decoding; at least one."""
    decoded = False
    failure: av.error.FFmpegError | None = None
    try:
        for frame in container.decode(stream):
            decoded = True
            yield frame
    except av.error.FFmpegError as error:
        failure = error
    if not decoded:
        raise _unreadable(path, failure) from failure


@contextmanager
def _open(path: str | Path | BinaryIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        # Without the prefix, what stands before a colon in the name would be a protocol.
        source = f"file:{path}" if isinstance(path, str | Path) else path
        container = av.open(source, "r", options=_OPEN_OPTIONS)
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from error
    with container:
        streams = [each for each in container.streams.video if Disposition.attached_pic not in each.disposition]
        if not streams:
            raise NasError(f"Cannot read video {str(path)!r}: it has no video stream; {ALLOWED}")
        stream = streams[0]
        if stream.codec_context is None:
            raise NasError(f"Cannot read video {str(path)!r}: its codec has no decoder here; {ALLOWED}")
        stream.codec_context.thread_count = 1
        yield container, stream


def _unreadable(path: str | Path | BinaryIO, error: Exception | None) -> NasError:
    if not isinstance(path, str | Path):
        reason = getattr(error, "strerror", None) or (str(error) if error else "no frame of it decodes")
        return NasError(f"Cannot read a video from {path.name!r}: {reason}; {ALLOWED}, in a format that streams")
    file = Path(path)
    if not file.exists():
        reason = "the file does not exist"
    elif file.is_dir():
        reason = "it is a folder"
    elif file.stat().st_size == 0:
        reason = "the file is empty"
    elif isinstance(error, av.error.InvalidDataError) and _is_lfs_pointer(file):
        reason = "it is a git LFS pointer, not the video (run `git lfs pull`)"
    elif isinstance(error, av.error.ArgumentError):
        reason = "it is in no format of video in one file"
    else:
        reason = getattr(error, "strerror", None) or (str(error) if error else "no frame of it decodes")
    return NasError(f"Cannot read video {str(path)!r}: {reason}; {ALLOWED}")


def _is_lfs_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(40).startswith(b"version https://git-lfs.github.com")

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
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nas.data.arrays import open_array_clip, read_array_clip
from nas.data.kinds import ARRAY_SUFFIXES, PICTURE_SUFFIXES, has_suffix
from nas.data.packets import Packets, read_packets, times_of
from nas.data.pictures import Pixels, Resizer, quarter_turns, upright
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.stills import read_folder_clip, read_pictures, size_of_pictures
from nas.errors import NasError

# Only a file itself is opened: no protocol, and no playlist, picture series or other format that
# names further files. Formats of sound are here so that a file of sound is called that.
ALLOWED = "allowed: one file with a video stream that FFmpeg decodes"
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mjpeg,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,"
    "rm,vc1,wtv,yuv4mpegpipe,apng,aac,aiff,flac,mp3,wav",
}
NEAR = 8  # frames from one that is wanted to the next keyframe that are rather decoded than sought over
_UNKNOWN_RATE = 25.0  # frames per second, where neither file nor decoder says


@dataclass(frozen=True)
class VideoInfo:
    """What a clip's file says of itself; `width` and `height` in pixels as shown, after rotation,
    `duration` in seconds, `codec` by FFmpeg's name, or `pictures` or `array`. What has no rate has
    no duration.
    """

    frames: int
    fps: float
    duration: float
    width: int
    height: int
    codec: str


def probe(path: str | Path) -> VideoInfo:
    """Reads the header and decodes one frame.

    Of a folder of pictures and of an array, counts the frames and reads the first.

    The frame count is the number of packets that are to be shown, or of frames that decode where a
    packet is known to be damaged; of another damaged file fewer may decode.

    Raises:
        NasError: the file cannot be read, or holds no video.
    """
    path = Path(path)
    if path.is_dir() or has_suffix(path, PICTURE_SUFFIXES):
        count, height, width = size_of_pictures(path)
        return VideoInfo(count, 0.0, 0.0, width, height, "pictures")
    if has_suffix(path, ARRAY_SUFFIXES):
        count, height, width = open_array_clip(path).shape[:3]
        return VideoInfo(count, 0.0, 0.0, width, height, "array")
    with _open(path) as (container, stream):
        frame = next(_frames(path, container, stream))
        turned = quarter_turns(frame) % 2 == 1
        width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        codec = stream.codec_context.name
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = container.duration / av.time_base if container.duration else 0.0
        time_base = stream.time_base
    with _open(path) as (container, stream):
        packets = _packets(path, container, stream)
    count = len(_stamps(path)) if packets.damaged else packets.count
    if fps and not packets.damaged:  # a header's may be of another cut, or count from another time
        span = count / fps
        if packets.stamps is not None and time_base:
            span = float((packets.stamps[-1] - packets.stamps[0]) * time_base) + 1 / fps
        seconds = span
    return VideoInfo(count, fps, seconds, width, height, codec)


def read_clip(path: str | Path, frames: int, stride: int | None, start: float | None, size: tuple[int, int]) -> Pixels:
    """Decodes a clip of so many frames and this size; `read_view` with plain arguments.

    Args:
        path: as `read_view` takes it.
        frames: T, frames in the clip.
        stride: distance between them; None cuts the whole video into T equal parts.
        start: where the clip lies, 0 (first) to 1 (last); None is the middle.
        size: (height, width).

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        NasError: as `read_view`.
    """
    return read_view(path, Sampling(frames, size, stride), MIDDLE if start is None else View(start))


def read_view(path: str | Path, sampling: Sampling, view: View = MIDDLE) -> Pixels:
    """Decodes a clip, turned upright.

    Args:
        path: a video file, a folder of pictures that are its frames, one picture, which is a clip
            of one frame, or a NumPy file of one clip.
        sampling: frames, size, and how the clip is cut out of the video.
        view: which part of it.

    Returns:
        uint8 (T, H, W, 3), RGB. A damaged file gives a clip of the frames that decode.

    Raises:
        NasError: the file cannot be read, holds no video, or no frame of it decodes.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder_clip(path, sampling, view)
    if has_suffix(path, PICTURE_SUFFIXES):
        return read_pictures([path], sampling, view)
    if has_suffix(path, ARRAY_SUFFIXES):
        return read_array_clip(path, sampling, view)
    return _read_video_clip(path, sampling, view)


def _read_video_clip(path: Path, sampling: Sampling, view: View) -> Pixels:
    resize = Resizer(sampling, view.place)
    with _open(path) as (container, stream):
        packets = _packets(path, container, stream)
        indices = sampling.indices(view.start, packets.count, packets.times)
        pictures = None if packets.damaged else _from_keyframes(container, stream, packets, set(indices), resize)
    if packets.damaged:
        stamps = _stamps(path)
        indices = sampling.indices(view.start, len(stamps), times_of(stamps))
    if pictures is None:
        pictures, stamps = _from_the_beginning(path, set(indices), resize)
        if len(pictures) < len(set(indices)):
            indices = sampling.indices(view.start, len(stamps), times_of(stamps))
            pictures, _ = _from_the_beginning(path, set(indices), resize)
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
    frames: Iterator[tuple[float, Pixels]]


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
) -> Iterator[tuple[float, Pixels]]:
    resize = None if sampling is None else Resizer(sampling, MIDDLE.place)
    last = 0.0
    for number, frame in enumerate(_frames(video, container, stream)):
        last = max(last, number / rate if frame.time is None else frame.time)
        try:
            yield last, upright(frame) if resize is None else resize(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise _unreadable(video, error) from error


def _packets(path: str | Path, container: InputContainer, stream: VideoStream) -> Packets:
    try:
        return read_packets(path, container, stream)
    except av.error.FFmpegError as error:
        raise _unreadable(path, error) from error


def _from_keyframes(
    container: InputContainer, stream: VideoStream, packets: Packets, wanted: set[int], resize: Resizer
) -> dict[int, Pixels] | None:
    """The wanted frames by index, each decoded from the keyframe before it; None where that does
    not give what decoding from the beginning gives, or is not known to.
    """
    if packets.stamps is None:
        return None
    indices = sorted(wanted)
    stamps = packets.stamps[indices]
    before = np.searchsorted(packets.keys, stamps, "right") - 1
    if before[0] < 0:
        return None
    place = np.searchsorted(packets.stamps, packets.keys[before])  # of the keyframe among the frames
    pictures: dict[int, Pixels] = {}
    first = 0
    for end in range(1, len(indices) + 1):
        if end < len(indices) and place[end] - indices[end - 1] <= NEAR:
            continue
        run = {int(stamp): index for stamp, index in zip(stamps[first:end], indices[first:end], strict=True)}
        try:
            container.seek(int(packets.key_times[before[first]]), stream=stream)
            found = _run(container, stream, int(packets.keys[before[first]]), run, resize)
        except (av.error.FFmpegError, ValueError):
            found = None
        if found is None:
            return None
        pictures |= found
        first = end
    return pictures


def _run(
    container: InputContainer, stream: VideoStream, key: int, run: dict[int, int], resize: Resizer
) -> dict[int, Pixels] | None:
    """The frames of `run`, index by stamp, decoded from the keyframe with the stamp `key` on, which
    comes; None where the stream is not what its packets said.

    Raises:
        av.error.FFmpegError, ValueError: A packet cannot be decoded, or a frame not converted.
    """
    # Frames that no other is made from need not be decoded: in H.264 the header of each tells.
    skipping = stream.codec_context.name == "h264"
    to_feed, begun, shown = set(run), False, key - 1
    pictures: dict[int, Pixels] = {}
    for packet in container.demux(stream):
        begun |= packet.is_keyframe and packet.pts == key
        if not begun:
            if not packet.size or (packet.dts is not None and packet.dts > key):
                return None
            continue
        if skipping:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in run else "NONREF"
        frames = packet.decode()
        to_feed.discard(packet.pts)
        if not to_feed and packet.size:  # the rest is inside the decoder
            frames += stream.codec_context.decode(None)
        for frame in frames:
            if frame.pts is None:
                return None
            if frame.pts < key:  # made from frames before the keyframe, which were not decoded
                continue
            if frame.is_corrupt or frame.pts <= shown:
                return None
            shown = frame.pts
            if shown in run:
                pictures[run[shown]] = resize(frame)
        if not to_feed:
            break
    return pictures if len(pictures) == len(run) else None


def _from_the_beginning(
    path: str | Path, wanted: set[int], resize: Resizer
) -> tuple[dict[int, Pixels], list[int | None]]:
    """The wanted frames by index, and the stamps of all that were decoded on the way to the last of
    them.
    """
    pictures = {}
    stamps: list[int | None] = []
    last = max(wanted)
    with _open(path) as (container, stream):
        for index, frame in enumerate(_frames(path, container, stream)):
            stamps.append(frame.pts)
            if index in wanted:
                try:
                    pictures[index] = resize(frame)
                except (av.error.FFmpegError, ValueError) as error:
                    raise _unreadable(path, error) from error
            if index == last:
                break
    return pictures, stamps


def _stamps(path: str | Path) -> list[int | None]:
    """The stamps of all frames that decode."""
    with _open(path) as (container, stream):
        return [frame.pts for frame in _frames(path, container, stream)]


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

"""What the packets of a video file say of its frames before any is decoded: how many there are,
when each is shown, and where decoding can begin.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

KEPT_FRAMES = 4_000_000  # of the packet tables that a process keeps, 8 bytes each


@dataclass(frozen=True)
class Packets:
    """The packets of a file. N frames.

    Attributes:
        count: Packets that are to be shown. A header's count may be of the first fragment, of
            before an edit or of before the file was cut off.
        damaged: Whether one is known to be damaged.
        stamps: When each frame is shown, sorted, (N,) in the time base of the stream; None where
            the packets do not say, or where what they say is not what the decoder gives.
        keys: Stamps of the keyframes, sorted, (K,): from one of them on, all later frames decode.
        key_times: When each keyframe is decoded, (K,), not after it is shown: some formats seek by
            the one, some by the other, and none lands behind the earlier.
    """

    count: int
    damaged: bool
    stamps: npt.NDArray[np.int64] | None
    keys: npt.NDArray[np.int64]
    key_times: npt.NDArray[np.int64]

    @cached_property
    def times(self) -> npt.NDArray[np.float64] | None:
        """See `times_of`."""
        return None if self.stamps is None else times_of(self.stamps.tolist())


def times_of(stamps: Sequence[int | None]) -> npt.NDArray[np.float64] | None:
    """When each frame is shown, (N,), from 0, where 1 is the mean distance of two frames. None
    where the rate is constant, that is where no frame is half of that distance away from its place,
    or where stamps are missing or out of order.
    """
    if len(stamps) < 2 or any(stamp is None for stamp in stamps):
        return None
    found = np.array(stamps, np.float64)
    steps = np.diff(found)
    if (steps <= 0).any():
        return None
    times: npt.NDArray[np.float64] = (found - found[0]) / steps.mean()
    return times if np.abs(times - np.arange(len(times))).max() > 0.5 else None


def read_packets(path: str | os.PathLike[str], container: InputContainer, stream: VideoStream) -> Packets:
    """Reads all packets of a stream without decoding them; the container is at its end afterwards.

    What was read of a file is kept for the next clip of it, while neither its size nor its time of
    change differ.

    Raises:
        av.error.FFmpegError: The file cannot be read, not one packet of it.
    """
    file = os.stat(path)
    identity = (os.path.abspath(path), file.st_size, file.st_mtime_ns)
    known = _KEPT.get(identity)
    if known is None:
        known = _KEPT.put(identity, _read(container, stream))
    return known


def _read(container: InputContainer, stream: VideoStream) -> Packets:
    stamps: list[int | None] = []
    keys: dict[int, int] = {}
    damaged = False
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            damaged |= packet.is_corrupt
            if not packet.is_discard:
                stamps.append(packet.pts)
            if packet.is_keyframe and packet.pts is not None:
                keys[packet.pts] = packet.pts if packet.dts is None else min(packet.dts, packet.pts)
    except av.error.FFmpegError:
        if not stamps:
            raise
        damaged = True
    # AVI counts packets and has no time stamps: with B-frames, those made up for it are wrong.
    told = not (container.format.name == "avi" and stream.codec_context.has_b_frames)
    known = [stamp for stamp in stamps if stamp is not None]
    if not told or not known or len(set(known)) < len(stamps):
        return Packets(max(1, len(stamps)), damaged, None, np.empty(0, np.int64), np.empty(0, np.int64))
    shown, decoded = np.array(sorted(keys.items()), np.int64).reshape(-1, 2).T
    return Packets(len(stamps), damaged, np.array(sorted(known), np.int64), shown, decoded)


class _Kept:
    """The tables that were used last, of all threads, up to so many frames."""

    def __init__(self, frames: int) -> None:
        self._frames, self._held = frames, 0
        self._tables: OrderedDict[tuple[str, int, int], Packets] = OrderedDict()
        self._lock = Lock()

    def get(self, identity: tuple[str, int, int]) -> Packets | None:
        with self._lock:
            if identity in self._tables:
                self._tables.move_to_end(identity)
            return self._tables.get(identity)

    def put(self, identity: tuple[str, int, int], packets: Packets) -> Packets:
        with self._lock:
            if identity not in self._tables:
                self._held += packets.count
                self._tables[identity] = packets
            while self._held > self._frames and len(self._tables) > 1:
                self._held -= self._tables.popitem(last=False)[1].count
        return packets


_KEPT = _Kept(KEPT_FRAMES)

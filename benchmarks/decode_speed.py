"""How fast clips are read out of long videos, beside plain PyAV in the same run.

Plain PyAV decodes a file from its beginning and converts the frames that are wanted; `nas` decodes
from the keyframe before them. Both use one thread, read the same frames of files that are written
here, and give equal pixels, which is checked. A row is the median over clips that are read in turn,
in seconds of the CPU, which other programs disturb less than those of a clock.

    python benchmarks/decode_speed.py > docs/results/data.md
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

import av
import numpy as np
from numpy.typing import NDArray

from nas.data import packets
from nas.data.sampling import Sampling, View
from nas.data.video import read_view

FRAMES = 16
GROUPS = (12, 60, 250)  # frames from one keyframe to the next; cameras have 12 to 60, x264 250
SHAPES = {(64, 64): 3000, (256, 340): 1000}  # height and width of a video, and its frames
KINDS = {"16 frames, 4 apart": 4, "16 equal parts": None}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """Median seconds of the CPU for a clip."""

    size: tuple[int, int]
    frames: int
    group: int
    kind: str
    plain: float
    first: float
    again: float


def write_video(path: Path, size: tuple[int, int], frames: int, group: int) -> None:
    """A texture that drifts and changes, in H.264 with B-frames."""
    height, width = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2 + frames // 16, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        options = {"g": str(group), "preset": "veryfast", "bf": "3", "x264-params": "scenecut=0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(frames):
            noise = rng.integers(0, 16, (height, width, 1), np.uint8)
            picture = texture[i % 8 : i % 8 + height, i // 2 : i // 2 + width] // 2 + noise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def plain(path: Path, sampling: Sampling, view: View) -> Pixels:
    """The clip as a few lines of PyAV read it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        indices = sampling.indices(view.start, stream.frames)
        wanted, pictures = set(indices), {}
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                pictures[index] = frame.to_ndarray(format="rgb24")
            if index == indices[-1]:
                break
    return np.stack([pictures[index] for index in indices])


def timed(read: Callable[[Path, Sampling, View], Pixels], *arguments: object) -> tuple[float, Pixels]:
    began = process_time()
    clip = read(*arguments)  # type: ignore[arg-type]
    return process_time() - began, clip


def rows(clips: int, folder: Path) -> Iterator[Row]:
    for size, frames in SHAPES.items():
        for group in GROUPS:
            path = folder / f"{size[1]}_{group}.mp4"
            write_video(path, size, frames, group)
            for kind, stride in KINDS.items():
                sampling, times = Sampling(FRAMES, size, stride), []
                for start in np.random.default_rng(0).random(clips):
                    view = View(float(start))
                    packets._KEPT = packets._Kept(packets.KEPT_FRAMES)
                    slow, expected = timed(plain, path, sampling, view)
                    first, clip = timed(read_view, path, sampling, view)
                    again, _ = timed(read_view, path, sampling, view)
                    if not np.array_equal(clip, expected):
                        raise SystemExit(f"{path.name} at {start}: the pixels differ")
                    times.append((slow, first, again))
                yield Row(size, frames, group, kind, *(median(column) for column in zip(*times, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=15, help="of each row")
    clips = parser.parse_args().clips
    print("# Reading clips\n")
    print(
        f"Clips of {FRAMES} frames out of long H.264 videos with B-frames, beside plain PyAV {av.__version__}, which\n"
        "decodes from the beginning; the pixels are equal. One thread each, in turn in one run; median\n"
        f"milliseconds of the CPU over {clips} clips at random places. The first reading of a file includes going\n"
        "through its packets, which later readings have kept. A group is what lies from one keyframe to the next.\n"
    )
    print(
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.0f} when it began: other\n"
        "programs ran, so that the ratios count. Printed by `benchmarks/decode_speed.py`.\n"
    )
    print(
        "A read clip costs at least the frames from the keyframe to its last one, so that few keyframes leave little\n"
        "to win for parts of a whole video. Of videos of 64x64, a first reading is mostly the packets.\n"
    )
    print("| video | group | clip | PyAV, ms | first, ms | again, ms | first | again |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(clips, Path(folder)):
            height, width = row.size
            milliseconds = " | ".join(f"{1000 * value:.1f}" for value in (row.plain, row.first, row.again))
            ratios = f"{row.plain / row.first:.1f}x | {row.plain / row.again:.1f}x"
            print(
                f"| {width}x{height}, {row.frames} frames | {row.group} | {row.kind} | {milliseconds} | {ratios} |",
                flush=True,
            )
            print(row, file=sys.stderr)


if __name__ == "__main__":
    main()

"""How fast clips are read out of videos, beside plain PyAV in the same run, and how long a training
waits for them.

Plain PyAV decodes a file from its beginning and converts the frames that are wanted; `nas` decodes
from the keyframe before them, and with `--cache` reads what it decoded in an earlier run. Both use
one thread, read the same frames of files that are written here, and give equal pixels, which is
checked. A row is the median over clips that are read in turn, in seconds of the CPU, which other
programs disturb less than those of a clock.

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
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from nas.architecture import load
from nas.data import packets
from nas.data.cache import ClipCache
from nas.data.sample import write_sample
from nas.data.sampling import Sampling, View
from nas.data.video import read_view
from nas.models.network import build
from nas.trained.decoded import Decoded
from nas.trained.plan import Plan, TrainSettings
from nas.training.loop import Training

FRAMES = 16
GROUPS = (12, 60, 250)  # frames from one keyframe to the next; cameras have 12 to 60, x264 250
# Height and width of a video, its frames, and its groups: the first are clips of their own.
VIDEOS = (((64, 64), 48, (12,)), ((64, 64), 3000, GROUPS), ((256, 340), 1000, GROUPS))
NETWORK = Path(__file__).parent / "nagoya" / "plain.yaml"  # small: the less a step takes, the more waiting counts
STEPS = 12
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
    cached: float


@dataclass(frozen=True)
class Waiting:
    """Seconds of the CPU of a training's parts: reading all clips before the first step, from
    videos and from the cache, and of a step all of it, and what comes before the network.
    """

    clips: int
    videos: float
    cache: float
    step: float
    before: float


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


def timed(read: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    began = process_time()
    found = read(*arguments)
    return process_time() - began, found


def from_cache(cache: ClipCache, path: Path, sampling: Sampling, view: View) -> Pixels:
    """A clip that is there, copied as a training copies it into its memory."""
    found = cache.get(cache.name(path, sampling, view), (sampling.frames, *sampling.size, 3))
    assert found is not None
    return np.array(found)


def rows(clips: int, folder: Path) -> Iterator[Row]:
    cache = ClipCache(folder / "cache", 10**9)
    for size, frames, groups in VIDEOS:
        for group in groups:
            path = folder / f"{size[1]}_{frames}_{group}.mp4"
            write_video(path, size, frames, group)
            for kind, stride in KINDS.items():
                sampling, times = Sampling(FRAMES, size, stride), []
                for start in np.random.default_rng(0).random(clips):
                    view = View(float(start))
                    packets._KEPT = packets._Kept(packets.KEPT_FRAMES)
                    slow, expected = timed(plain, path, sampling, view)
                    first, clip = timed(read_view, path, sampling, view)
                    again, _ = timed(read_view, path, sampling, view)
                    cache.put(cache.name(path, sampling, view), clip)
                    cached, kept = timed(from_cache, cache, path, sampling, view)
                    if not (np.array_equal(clip, expected) and np.array_equal(kept, expected)):
                        raise SystemExit(f"{path.name} at {start}: the pixels differ")
                    times.append((slow, first, again, cached))
                yield Row(size, frames, group, kind, *(median(column) for column in zip(*times, strict=True)))


def waiting(folder: Path) -> Waiting:
    """Trains a small network on videos of 64x64 as `nas train --cache` does, for a few steps."""
    torch.set_num_threads(1)
    settings = TrainSettings(
        data=str(write_sample(folder / "videos")),
        out=str(folder / "trained"),
        batch=32,
        resize=(64, 64),
        device="cpu",
        threads=1,
        cache=str(folder / "clips"),
    )
    plan = Plan.of(settings, load(NETWORK).resized(FRAMES, 56))
    (folder / "trained").mkdir()
    videos, decoded = timed(Decoded.read, plan, folder / "trained")
    cache, decoded = timed(Decoded.read, plan, folder / "trained")
    recipe = plan.recipe.changed(epochs=STEPS)
    size, device = plan.preprocessing.size, plan.device
    training = Training(build(plan.architecture), decoded.train, size, recipe, plan.data.flip, device)
    network, spent = training._gradients, 0.0

    def gradients(*arguments: Any, **options: Any) -> Any:
        nonlocal spent
        took, loss = timed(lambda: network(*arguments, **options))
        spent += took
        return loss

    training._gradients = gradients  # type: ignore[method-assign]
    loss_of, whole = training._loss_of, 0.0

    def loss(*arguments: Any) -> Any:
        nonlocal whole
        took, found = timed(loss_of, *arguments)
        whole += took
        return found

    training._loss_of = loss  # type: ignore[method-assign, assignment]
    training.step()  # the first one allocates
    spent = whole = 0.0
    steps, _ = timed(lambda: [training.step() for _ in range(STEPS - 1)])
    clips = len(decoded.train.labels) + len(decoded.val.labels)
    return Waiting(clips, videos, cache, steps / (STEPS - 1), (whole - spent) / (STEPS - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=15, help="of each row")
    clips = parser.parse_args().clips
    print("# Reading clips\n")
    print(
        f"Clips of {FRAMES} frames out of H.264 videos with B-frames, beside plain PyAV {av.__version__}, which\n"
        "decodes from the beginning; the pixels are equal. One thread each, in turn in one run; median\n"
        f"milliseconds of the CPU over {clips} clips at random places. The first reading of a file includes going\n"
        "through its packets, which later readings have kept; cached is a clip that `--cache` kept of an\n"
        "earlier run. A group is what lies from one keyframe to the next.\n"
    )
    print(
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.0f} when it began: other\n"
        "programs ran, so that the ratios count. Printed by `benchmarks/decode_speed.py`.\n"
    )
    print(
        "A read clip costs at least the frames from the keyframe to its last one, so that few keyframes leave little\n"
        "to win for parts of a whole video, and a video as short as a clip nothing. Of long videos of 64x64,\n"
        "a first reading is mostly the packets.\n"
    )
    print("| video | group | clip | PyAV, ms | first, ms | again, ms | cached, ms | first | again | cached |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(clips, Path(folder)):
            found.append(row)
            height, width = row.size
            read = (row.first, row.again, row.cached)
            milliseconds = " | ".join(f"{1000 * value:.1f}" for value in (row.plain, *read))
            ratios = " | ".join(f"{row.plain / value:.1f}x" for value in read)
            print(
                f"| {width}x{height}, {row.frames} frames | {row.group} | {row.kind} | {milliseconds} | {ratios} |",
                flush=True,
            )
            print(row, file=sys.stderr)
        waited = waiting(Path(folder))
    print()
    for size in dict.fromkeys(row.size for row in found):
        ratios = " and ".join(
            f"{min(row.plain / getattr(row, name) for row in found if row.size == size):.1f}x {name}"
            for name in ("first", "again", "cached")
        )
        print(f"- The least of {size[1]}x{size[0]}: {ratios}.")
    print(
        "\n## What a training waits for\n\n"
        f"`nas train --cache` reads all clips before its first step: {waited.clips} of {FRAMES} frames of 64x64 in\n"
        f"{waited.videos:.2f} s of the CPU from videos, and in {waited.cache:.2f} s from the cache. A step of 32\n"
        f"clips of {FRAMES}x56x56, of the plain network of [Far-infrared actions](nagoya.md) with the\n"
        f"recipe that `nas train` chooses, takes {1000 * waited.step:.0f} ms of one core; "
        f"{1000 * waited.before:.1f} ms of them, {100 * waited.before / waited.step:.1f} %, pass before the\n"
        "network has its clips: they are taken out of the memory and varied (augmentation)."
    )


if __name__ == "__main__":
    main()

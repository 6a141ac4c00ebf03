"""One trained network in several runtimes side by side."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from nas.data.clips import in_order
from nas.data.source import VideoData
from nas.data.unreadable import Unreadable, check_unreadable
from nas.deployment.clips import Clips
from nas.deployment.programs import to_clips, write_onnx_file
from nas.deployment.runtimes import (
    EAGER,
    FROM_FILE,
    NEEDED,
    ON_GPU,
    Run,
    missing,
    runner,
    runtime_version,
)
from nas.deployment.timing import TimingAnswer, TimingRequest, one_clip
from nas.errors import NasError, one_line
from nas.profiler.measured.device import available_cores, device_name, resolve_device
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.process import FORKS, MeasuringProcess
from nas.trained.evaluation import chosen_split, labels_of
from nas.trained.folder import TrainedModel, load_model, weights_file
from nas.trained.scores import Share
from nas.units import plural

START_SECONDS = 600  # for importing, compiling and the first runs
_ANSWER = TypeAdapter(TimingAnswer)


@dataclass(frozen=True)
class Row:
    """One runtime.

    Attributes:
        runtime: `torch`, `compiled` (torch.compile), `ONNX Runtime` or `OpenVINO`.
        version: Of it.
        device: Where it computes, as measurements name it.
        file_bytes: Of the file that it reads: weights, or the ONNX file.
        latency_ms: Of one clip.
        ratio: Of its time to that of torch in the same turn, in the median.
        peak_memory_bytes: Of the first runs of a fresh process, weights included.
        difference: The largest of its logits from those of torch, over the largest of these; None
            where one of them is no finite number.
        accuracy: Of the clips that were given; None without data.
    """

    runtime: str
    version: str
    device: str
    file_bytes: int
    latency_ms: Latency
    ratio: float
    peak_memory_bytes: int
    difference: float | None
    accuracy: Share | None


@dataclass(frozen=True)
class Benchmark:
    """A network in all runtimes that are here.

    Attributes:
        model: Its name.
        clips: What differences, and accuracies if any, are of.
        rows: The runtimes that run it, torch first.
        skipped: Why others do not, by name.
        flags: What disturbed the machine while times were taken.
        unreadable: Clips that could not be read.
    """

    model: str
    clips: str
    rows: tuple[Row, ...]
    skipped: Mapping[str, str]
    flags: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists and numbers."""
        return asdict(self)


def benchmark(
    folder: str | Path,
    data: VideoData | None = None,
    *,
    split: str = "val",
    device: str = "auto",
    threads: int | None = None,
    max_seconds: float = 10.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Runs a trained network in every runtime that is installed.

    Args:
        folder: Of the network.
        data: With the network's classes; random clips and no accuracies without.
        split: Which clips: `val` or `test`.
        device: Of PyTorch; other runtimes compute on the CPU.
        threads: Of the CPU; all cores unless given.
        max_seconds: For the turns in which all runtimes are timed.
        workers: Threads that decode.
        progress: Called with (clips done, clips to do).

    Raises:
        NasError: No such network, other classes, or PyTorch itself cannot run it.
    """
    if not 0 < max_seconds < float("inf"):
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    if threads is not None and threads < 1:
        raise NasError(f"threads {threads} is not allowed; allowed: whole numbers from 1")
    count = available_cores() if threads is None else threads
    model = load_model(folder, device)
    if data is not None:
        labels_of(model, data, chosen_split(data, split))
    with tempfile.TemporaryDirectory() as place:
        graph = Path(place) / "model.onnx"
        runs, skipped = _runs(model, folder, graph, count)
        what, logits, labels, unreadable = _logits(model, runs, data, split, workers, progress)
        request = TimingRequest(
            str(folder), str(graph) if graph.exists() else None, tuple(runs), device, count, max_seconds
        )
        with _fresh_processes() as ask:
            times = ask(request)
            memory = {name: ask(replace(request, runtimes=(name,), memory=True)).peak_bytes for name in runs}
        sizes = {
            name: graph.stat().st_size if name in FROM_FILE else weights_file(folder).stat().st_size for name in runs
        }
    rows = []
    for name in runs:
        peak = memory[name]
        assert peak is not None
        rows.append(
            Row(
                runtime=name,
                version=runtime_version(name),
                device=_device(name, device, count),
                file_bytes=sizes[name],
                latency_ms=Latency.of(times.samples[name]),
                ratio=paired_ratio(times.samples[name], times.samples[EAGER]),
                peak_memory_bytes=peak,
                difference=_difference(logits[name], logits[EAGER]),
                accuracy=None if labels is None else Share.of(logits[name].argmax(1).numpy() == labels),
            )
        )
    return Benchmark(model.name, what, tuple(rows), skipped, tuple(times.flags), tuple(unreadable))


def paired_ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """The median over turns of one time over the other."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def _runs(model: TrainedModel, folder: str | Path, graph: Path, threads: int) -> tuple[dict[str, Run], dict[str, str]]:
    """What runs the network here, and why the rest does not; writes the ONNX file."""
    runs: dict[str, Run] = {}
    skipped: dict[str, str] = {}
    clip = one_clip(model)
    for name in NEEDED:
        if lacking := missing(name):
            skipped[name] = f"{' and '.join(lacking)} not installed"
            continue
        try:
            if name in FROM_FILE and not graph.exists():
                write_onnx_file(load_model(folder, "cpu"), graph, with_preprocessing=False)
            runs[name] = runner(name, model, graph, threads)
            runs[name](clip)
        except Exception as error:  # runtimes raise types of their own
            runs.pop(name, None)
            if name == EAGER:
                raise NasError(
                    f"model {model.name!r} cannot be run by torch ({one_line(error)}); allowed: one that runs on "
                    f"{model.device}"
                ) from error
            skipped[name] = one_line(error)[:200]
    return runs, skipped


def _logits(
    model: TrainedModel,
    runs: Mapping[str, Run],
    data: VideoData | None,
    split: str,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[str, dict[str, Tensor], Any, list[Unreadable]]:
    """What the clips are, the logits (N, classes) of every runtime, the labels (N,) or None, and
    the clips that cannot be read.
    """
    how = model.record.preprocessing
    found: dict[str, list[Tensor]] = {name: [] for name in runs}
    if data is None:
        clips = Clips.random(how)
        for frames in torch.split(clips.frames_BTHWC, 1):
            for name, run in runs.items():
                found[name].append(run(to_clips(model, frames)))
        return clips.what, {name: torch.cat(each) for name, each in found.items()}, None, []
    part = chosen_split(data, split)
    labels, kept, unreadable = labels_of(model, data, part), [], []

    def read(index: int) -> Any:
        try:
            return part.clip(index, how.evaluation)
        except NasError as error:
            return error

    for index, pixels in enumerate(in_order(read, range(len(part)), workers)):
        if isinstance(pixels, NasError):
            unreadable.append(Unreadable(split, part.clip_name(index), str(pixels)))
        else:
            kept.append(index)
            clip = how.network_input(torch.from_numpy(np.ascontiguousarray(pixels))[None])
            for name, run in runs.items():
                found[name].append(run(clip))
        if progress is not None:
            progress(index + 1, len(part))
    check_unreadable(unreadable, len(part))
    what = f"{plural(len(kept), 'clip')} of {split} of {data.name}"
    return what, {name: torch.cat(each) for name, each in found.items()}, labels[kept], unreadable


def _difference(logits: Tensor, expected: Tensor) -> float | None:
    difference = float(
        (logits.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1e-30)
    )
    return difference if np.isfinite(difference) else None


@contextmanager
def _fresh_processes() -> Iterator[Callable[[TimingRequest], TimingAnswer]]:
    """A function that answers each request in a process that has run nothing before."""
    # torch's threads spin after a run, in the way of the runtime that comes next.
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    start = partial(MeasuringProcess, "nas.deployment.timing", "running the network in every runtime", passive)
    with start() if FORKS else nullcontext() as forking:

        def ask(request: TimingRequest) -> TimingAnswer:
            with nullcontext(forking) if forking else start() as process:
                (found,) = process.ask(request, _ANSWER, START_SECONDS + 6 * request.max_seconds)
            return found

        yield ask


def _device(runtime: str, device: str, threads: int) -> str:
    return device_name(resolve_device(device if runtime in ON_GPU else "cpu"), "fp32", 1, threads)

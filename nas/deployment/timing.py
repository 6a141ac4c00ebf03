"""What the fresh process of `nas.deployment.benchmark` does: it times runtimes in turn, or measures
the memory of one.

In turn, because what slows a machine comes and goes: each runtime runs once in every turn, and the
one that begins changes, so that none always finds the caches as the same neighbour left them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from nas.deployment.runtimes import COMPILED, Run, runner
from nas.profiler.measured.device import bind, resolve_device, use_device
from nas.profiler.measured.disturbance import Watch
from nas.profiler.measured.latency import cpu_timed
from nas.profiler.measured.memory import peak_bytes
from nas.profiler.measured.process import FORKS, serve
from nas.trained.folder import TrainedModel, load_model

WARM_UP, MOST = 3, 400  # turns


@dataclass(frozen=True)
class TimingRequest:
    """What is asked for.

    Attributes:
        model: Folder of the trained network.
        graph: Its ONNX file; None where no runtime reads it.
        runtimes: Timed in turn; of one alone the memory is measured if `memory`.
        device: Of PyTorch.
        threads: Of the CPU.
        max_seconds: For the turns; one is made however long it takes.
        memory: Whether memory is asked for, and not times.
    """

    model: str
    graph: str | None
    runtimes: tuple[str, ...]
    device: str
    threads: int
    max_seconds: float
    memory: bool = False


@dataclass(frozen=True)
class TimingAnswer:
    """What was found.

    Attributes:
        samples: Milliseconds of one clip by runtime, turn by turn.
        flags: What disturbed the machine meanwhile.
        peak_bytes: Memory of the first run, weights included.
    """

    samples: Mapping[str, list[float]]
    flags: list[str]
    peak_bytes: int | None = None


def answer(request: TimingRequest) -> Iterator[TimingAnswer]:
    """Measures in this process, which must be fresh."""
    device = resolve_device(request.device)
    use_device(device)
    cores = bind(device, request.threads)
    graph = Path(request.graph) if request.graph is not None else None
    model = load_model(request.model, request.device)
    clip = one_clip(model)
    prepare = {name: partial(runner, name, model, graph, request.threads) for name in request.runtimes}
    if request.memory:
        (name,) = request.runtimes

        def prepared() -> Callable[[], object]:
            # Loaded again, so that its weights are counted.
            fresh = load_model(request.model, request.device)
            return partial(runner(name, fresh, graph, request.threads), one_clip(fresh))

        del model, clip, prepare
        yield TimingAnswer({}, [], peak_bytes(prepared, device, warm=name == COMPILED))
        return
    runs = {name: make() for name, make in prepare.items()}
    for run in [*runs.values()] * WARM_UP:
        run(clip)
    watch = Watch(device, request.threads, cores)
    samples = time_in_turn(runs, clip, request.max_seconds)
    yield TimingAnswer(samples, watch.flags())


def one_clip(model: TrainedModel) -> Tensor:
    """A clip of noise, (1, 3, T, H, W), on the CPU."""
    how = model.record.preprocessing
    return torch.randn(1, 3, how.frames, *how.size)


def time_in_turn(
    runs: Mapping[str, Run], clip: Tensor, max_seconds: float, timed: Callable[..., float] = cpu_timed
) -> dict[str, list[float]]:
    """Times every run once a turn until the time is up; another one begins each turn.

    Returns:
        Milliseconds by name, as many of each.
    """
    samples: dict[str, list[float]] = {name: [] for name in runs}
    names, end = list(runs), perf_counter() + max_seconds
    for turn in range(MOST):
        if turn and perf_counter() >= end:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(timed(partial(runs[name], clip)))
    return samples


if __name__ == "__main__":
    serve(TimingRequest, answer, fork=FORKS)

"""What the fresh process of `nas.profiler.tables.growth` does: it times layers in turn.

A layer that runs again and again by itself is faster, or slower, than between its neighbours: its
weights stay in the caches, its input is old. So layers are timed in turn, some at a time, each on a
copy of its input made just before, and a fixed reference computation opens and closes every turn.
What is kept of a layer is its shortest time over that of the reference in the same turns: a phase
in which the machine is slow divides out, and what other processes take of the cores, which only
ever adds, falls away. Medians stay disturbed for as long as there is a neighbour.

On a GPU a layer has two times: that of its kernels, timed while the host is ahead, and that of the
host to launch them. By the clock alone it would be the one or the other, depending on which layer
came before. Networks are timed from an idle device, launching included.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from nas.architecture import Architecture, Part
from nas.errors import context_lost, message_of
from nas.models.network import build, build_part, part_inputs
from nas.profiler.measured.calibration import reference_block
from nas.profiler.measured.device import Conditions, bind, use_device
from nas.profiler.measured.execution import captured
from nas.profiler.measured.latency import cache_flush, cpu_timed
from nas.profiler.measured.process import serve
from nas.profiler.target import Target

TOGETHER = 16  # layers timed in turn, about as many as a network has
WARM_UP, FEWEST, MOST = 2, 5, 60  # turns
LAYER_SECONDS, NETWORK_SECONDS = 0.08, 1.0  # for the turns, per layer or network, once there are enough of them
TOLERANCE = 0.03  # turns end when the third shortest time of all jobs is within this of the shortest
DISTURBED = 0.1  # where it is further away than this, other processes are at work, and turns go on for
PATIENCE = 3  # times as long

LAUNCHES = 5  # of which the quickest is kept
# Cycles for which a GPU is held so that the host gets ahead, per millisecond of launching: half as
# much again at 3 GHz, the fastest clock.
HOLD = 4_500_000


@dataclass(frozen=True)
class Job:
    """What is timed.

    Attributes:
        prepare: Makes the arguments, untimed.
        run: Takes them, and is timed.
        launch_ms: Of the host; where it is above 0 a GPU is held until all is launched, so that
            only kernels are timed.
    """

    prepare: Callable[[], tuple[Tensor, ...]]
    run: Callable[..., object]
    launch_ms: float = 0.0


@dataclass(frozen=True)
class TurnsRequest:
    """What is to be timed.

    Attributes:
        conditions: How; those of the first request stay.
        architectures: Their documents.
        layers: Indices of an architecture and of one of its parts.
        networks: Indices of architectures, each timed as a whole after all layers.
        seconds: What has not begun by then is left out.
        together: So many layers are timed in turn.
    """

    conditions: Conditions
    architectures: list[dict[str, Any]]
    layers: list[tuple[int, int]]
    networks: list[int]
    seconds: float
    together: int = TOGETHER


@dataclass(frozen=True)
class Timed:
    """One layer or network as timed.

    Attributes:
        index: Its position among the layers, or behind them among the networks, of the request.
        share: Its shortest time over the shortest of the reference in the same turns.
        error: How far above its shortest time the third shortest is, as a share.
        runs: Turns.
        reference_ms: The shortest time of the reference, in milliseconds.
        launch_ms: Of a layer on a GPU, the shortest time in which the host launched it; 0 for a
            graph, which a network launches once and not by layers.
    """

    index: int
    share: float
    error: float
    runs: int
    reference_ms: float
    launch_ms: float = 0.0


@dataclass(frozen=True)
class Skipped:
    """A layer or network that does not run here.

    Attributes:
        index: As that of `Timed`.
        reason: The message of its error.
    """

    index: int
    reason: str


Answer = Timed | Skipped


class Bench:
    """A pinned process that makes layers and networks and times them beside the reference."""

    def __init__(self, conditions: Conditions) -> None:
        self.device, self.dtype, self.batch = conditions.resolved, conditions.torch_dtype, conditions.batch
        bind(self.device, conditions.threads)
        self.captures = conditions.cuda_graph
        use_device(self.device)
        self.reference = self.launched(Job(tuple, torch.inference_mode()(reference_block(self.device, self.dtype))))
        if self.device.type == "cuda":
            self.flush = cache_flush(self.device)
        else:
            # glibc keeps freed memory for itself once it has seen large blocks come and go, as
            # networks have them.
            for _ in range(3):
                torch.empty(30_000_000, dtype=torch.int8).fill_(1)

    def layer(self, part: Part) -> Job:
        """One forward of a part on a fresh copy of its input."""

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, device=self.device, dtype=self.dtype)

        x, *stem = part_inputs(part, random, self.batch)
        with self.device:
            module = build_part(part)
        module.to(self.dtype).eval()
        if not self.captures:
            return Job(lambda: (x.clone(), *stem), module)
        old = x.clone()  # a graph reads where it was captured

        def prepare() -> tuple[Tensor, ...]:
            old.copy_(x)
            return ()

        return Job(prepare, captured(torch.inference_mode()(lambda: module(old, *stem)), self.device))

    def network(self, architecture: Architecture) -> Job:
        """One forward of a whole network."""
        clips, _ = Target.of(architecture).example(self.device, self.dtype, self.batch)
        model = build(architecture, device=self.device).to(self.dtype).eval()

        def prepare() -> tuple[Tensor, ...]:
            if self.device.type == "cuda":  # from an idle device whose cache holds nothing of the network
                self.flush.zero_()
                torch.cuda.synchronize(self.device)
            return () if self.captures else clips

        if self.captures:
            return Job(prepare, captured(torch.inference_mode()(lambda: model(*clips)), self.device))
        return Job(prepare, model)

    @torch.inference_mode()
    def check(self, job: Job) -> None:
        """Runs a job once, to its end."""
        self._timed([job])

    @torch.inference_mode()
    def launched(self, job: Job) -> Job:
        """The job with the time of its launching: nothing on a CPU."""
        if self.device.type != "cuda":
            return job
        times = []
        for _ in range(LAUNCHES):
            arguments = job.prepare()
            torch.cuda.synchronize(self.device)
            times.append(cpu_timed(partial(job.run, *arguments)))
        torch.cuda.synchronize(self.device)
        return replace(job, launch_ms=min(times))

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job], seconds: float) -> list[list[float]]:
        """Times the reference and the jobs in turn, as `time_turns` does."""
        for _ in range(WARM_UP):
            self._timed(jobs)
        return time_turns(lambda: self._timed([self.reference, *jobs, self.reference]), seconds)

    def _timed(self, jobs: Sequence[Job]) -> list[float]:
        """Milliseconds of each job."""
        if self.device.type == "cuda":
            return self._timed_on_gpu(jobs)
        times = []
        for job in jobs:
            arguments = job.prepare()
            times.append(cpu_timed(partial(job.run, *arguments)))
        return times

    def _timed_on_gpu(self, jobs: Sequence[Job]) -> list[float]:
        events = []
        torch.cuda.synchronize(self.device)
        for job in jobs:
            arguments = job.prepare()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            if job.launch_ms:
                torch.cuda._sleep(int(HOLD * job.launch_ms))  # type: ignore[no-untyped-call]
            begin.record()
            job.run(*arguments)
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize(self.device)
        return [float(begin.elapsed_time(end)) for begin, end in events]


def time_turns(turn: Callable[[], Sequence[float]], seconds: float) -> list[list[float]]:
    """Repeats a turn until the shortest time of every job has been met again, or the time is up.

    Args:
        turn: Returns milliseconds: of the reference, of each job, and of the reference again.
        seconds: For all turns; three times as long while other processes are at work.

    Returns:
        Milliseconds of every turn, first those of the reference (the faster of two), then those of
        each job.
    """
    turns: list[list[float]] = []
    begin = perf_counter()
    while len(turns) < MOST:
        before, *times, after = turn()
        turns.append([min(before, after), *times])
        spent = perf_counter() - begin
        if len(turns) < FEWEST:
            continue
        error = max(_error(times) for times in zip(*turns, strict=True))
        if error <= TOLERANCE or spent > seconds * (PATIENCE if error > DISTURBED else 1):
            break
    return [list(times) for times in zip(*turns, strict=True)]


def _error(times: Sequence[float]) -> float:
    """How far above the shortest time the third shortest is: 0 where the shortest is met again and
    again.
    """
    shortest, _, third = heapq.nsmallest(3, times)
    return third / shortest - 1


def timed(bench: Bench, request: TurnsRequest) -> Iterator[Answer]:
    """Times what is asked for, layers first, and yields each as soon as it is known.

    What does not run here, for want of memory or of a kernel, is skipped with its reason.

    Raises:
        RuntimeError: The device failed, so that nothing more runs in this process.
    """
    end = perf_counter() + request.seconds
    architectures = [Architecture.parse(document) for document in request.architectures]
    parts = [architectures[a].parts()[p] for a, p in request.layers]
    everything: list[Part | Architecture] = [*parts, *(architectures[a] for a in request.networks)]
    groups = [range(i, min(i + request.together, len(parts))) for i in range(0, len(parts), request.together)]
    groups += [range(i, i + 1) for i in range(len(parts), len(everything))]
    for group in groups:
        if perf_counter() > end:
            return
        jobs: dict[int, Job] = {}
        for index in group:
            try:
                each = everything[index]
                job = bench.layer(each) if isinstance(each, Part) else bench.network(each)
                bench.check(job)
                jobs[index] = bench.launched(job) if isinstance(each, Part) else job
            except (RuntimeError, ValueError) as error:
                if context_lost(error):
                    raise
                yield Skipped(index, message_of(error))
        if not jobs:
            continue
        seconds = LAYER_SECONDS if isinstance(everything[group[0]], Part) else NETWORK_SECONDS
        references, *times = bench.run(list(jobs.values()), seconds * len(jobs))
        reference = min(references)
        for index, own in zip(jobs, times, strict=True):
            launch_ms = 0.0 if bench.captures else jobs[index].launch_ms
            yield Timed(index, min(own) / reference, _error(own), len(own), reference, launch_ms)


if __name__ == "__main__":
    made = cache(Bench)  # by the first request, because it binds the process
    serve(TurnsRequest, lambda request: timed(made(request.conditions), request))

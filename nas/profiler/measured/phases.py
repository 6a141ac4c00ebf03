"""What the fresh process of `nas.measure` does: it exports a target, measures its memory, times it.

On a CPU each of the three phases has a process of its own, a fork of one that has only imported
torch: measuring memory slows down allocation, and the exporter leaves its memory behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.errors import NasError, one_line, out_of_memory
from nas.profiler.measured.calibration import ReferenceKind, reference_run
from nas.profiler.measured.device import Conditions, bind, use_device
from nas.profiler.measured.disturbance import Watch
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.execution import export, load_code, prepare
from nas.profiler.measured.gpu_state import GpuState
from nas.profiler.measured.latency import SLOWED, TOLERANCE, Latency, Paired, launch_bound, time_pairs
from nas.profiler.measured.memory import peak_bytes, workspace_bytes
from nas.profiler.measured.process import FORKS, serve
from nas.profiler.target import Target
from nas.units import number


@dataclass(frozen=True)
class PhasesRequest:
    """What is asked for.

    Attributes:
        target: What is measured, as `Target.to_dict` writes it.
        conditions: How.
        max_seconds: Time for warm-up and timed runs.
        phases: Some of `export`, `memory` and `latency`, which run in this order.
        graph: The ONNX file that `export` writes and the others run; None for torch.
    """

    target: dict[str, Any]
    conditions: Conditions
    max_seconds: float
    phases: tuple[str, ...]
    graph: str | None = None


@dataclass(frozen=True)
class Memory:
    """Memory of one run in bytes, as `Measurement` has it; all but the first on a GPU only."""

    peak_bytes: int
    reserved_bytes: int | None = None
    process_bytes: int | None = None
    workspace_bytes: int | None = None


@dataclass(frozen=True)
class Timing:
    """Times of the runs, of the reference beside them, and what they depend on, as `Measurement`
    has it.
    """

    device: str
    latency: Latency
    reference: Paired
    environment: Environment
    flags: list[str]


@dataclass(frozen=True)
class PhasesAnswer:
    """What the phases found; None for one that was not asked for."""

    memory: Memory | None = None
    timing: Timing | None = None


def measured_phases(request: PhasesRequest) -> Iterator[PhasesAnswer]:
    """Measures in this process, which must be fresh, and yields the one answer.

    Raises:
        NasError: The target does not run, or does not fit into memory.
    """
    target, conditions, phases = Target.from_dict(request.target), request.conditions, request.phases
    device, graph = conditions.resolved, Path(request.graph) if request.graph is not None else None
    use_device(device)
    target.import_code()  # before memory is looked at: code is no part of a network's memory
    # Both ask for the cores of this process, which are fewer once it is bound to some.
    found, name = Environment.here(device, conditions.threads), conditions.name
    found = replace(found, affinity=bind(device, conditions.threads))
    memory = timing = None
    try:
        with target.naming_failures("training step" if conditions.train else "forward"):
            if "export" in phases and graph is not None:
                export(target, conditions, graph)
            if "memory" in phases:
                memory = _memory(target, conditions, graph)
            if "latency" in phases:
                timing = _timing(target, conditions, graph, name, found, request.max_seconds)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise NasError(
            f"{target.kind} {target.name!r} at batch {conditions.batch} does not fit into the memory of {device} "
            f"({one_line(error)}); allowed: a smaller batch, input or network"
        ) from None
    yield PhasesAnswer(memory, timing)


def _memory(target: Target, conditions: Conditions, graph: Path | None) -> Memory:
    device = conditions.resolved
    if device.type == "cpu":
        load_code(conditions)
    warm = conditions.train is not None or conditions.compile or conditions.cuda_graph
    peak = peak_bytes(lambda: prepare(target, conditions, graph), device, warm, conditions.cuda_graph)
    if device.type != "cuda":
        return Memory(peak)
    reserved, process = torch.cuda.max_memory_reserved(device), GpuState.now(device).process_bytes
    return Memory(peak, reserved, process, workspace_bytes(device, conditions.torch_dtype))


def _timing(
    target: Target, conditions: Conditions, graph: Path | None, name: str, found: Environment, max_seconds: float
) -> Timing:
    device, threads = conditions.resolved, conditions.threads
    run = prepare(target, conditions, graph)
    run()  # compiling, capturing and allocating would use up the time for warm-up
    kind: ReferenceKind = "network" if device.type != "cuda" or launch_bound(run, device) else "kernels"
    reference = reference_run(device, conditions.torch_dtype, kind)
    watch = Watch(device, len(found.affinity or ()) or threads, found.affinity)
    pairs = time_pairs(run, reference, device, max_seconds=max_seconds)
    flags = watch.flags()
    if device.type == "cuda":
        found = replace(found, driver=watch.gpu)
    latency, paired = Latency.of([time for runs, _ in pairs for time in runs]), Paired.of(pairs, kind)
    if found.cores is not None and threads > found.cores:
        flags.append(f"{threads} threads share {found.cores} cores")
    if paired.slowed > SLOWED:
        flags.append(
            f"the machine was disturbed: the reference network took {number(paired.reference_ms)} ms in the median and "
            f"{number(paired.fastest_ms)} ms in its fastest runs"
        )
    inexact = latency.relative_error
    if inexact is None:
        flags.append(f"timed runs in {max_seconds:g} s: {latency.n}, too few to tell how well the median is known")
    elif inexact > TOLERANCE:
        flags.append(f"the median of {latency.n} runs is known to within {inexact:.1%} only, not {TOLERANCE:.0%}")
    return Timing(name, latency, paired, found, flags)


if __name__ == "__main__":
    serve(PhasesRequest, measured_phases, fork=FORKS)

"""Measured latency and peak memory of an architecture or any `nn.Module`, taken in fresh processes.

`nas.profiler.measured.process` starts them, and `phases` says what they do.

What is reported is what the clock showed: `latency_ms` summarises wall times as they were, and no
correction is hidden in it. Whether they can be trusted is said beside them. `flags` names
everything that is known to have disturbed them: other processes on the same cores, the hypervisor,
the quota of a container, clocks, heat, and a reference network that was slower than its own fastest
runs, or than it ever was on this machine. The last is the only sign of a neighbour that the system
does not show, as on a rented virtual machine: the fastest reference times are kept in the user's
cache folder (`nas/reference_ms.json`), by device, dtype and threads.

The second number is the ratio to that reference network, timed in alternation: it moves about half
as much when the machine becomes slower or faster. `Measurement.normalized_ms` turns it into the
latency at a reference time: the fastest one known, unless one is given, for example that with which
a table of latencies was begun. That is no replacement for a quiet machine: a neighbour slows down a
network of many small kernels more than the reference.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Self

from pydantic import TypeAdapter

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.measured.device import Conditions, device_name
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency, Paired
from nas.profiler.measured.phases import Memory, PhasesAnswer, PhasesRequest, Timing
from nas.profiler.measured.process import FORKS, MeasuringProcess
from nas.profiler.target import Target, load_target
from nas.resources import replacing
from nas.units import number

PAUSE = 2.0  # seconds between two attempts on a disturbed machine
SLOWER = 0.15  # than the fastest reference known: by how much a machine may be before it is flagged
START_SECONDS = 60  # for importing torch and building the network
COMPILING = 10  # times as long for what compiles or exports first


@dataclass(frozen=True)
class Measurement:
    """What was measured of one target under one set of conditions: one record, with all that is
    needed to judge it.

    Attributes:
        latency_ms: Times of one run (a forward, or a training step) of the batch, with the raw
            samples.
        peak_memory_bytes: Peak memory of one run; `nas.profiler.measured.memory` says what it
            includes. On a GPU these are the bytes that tensors occupied.
        device: What was measured on, such as `epyc-9b14-4c.torch2.13.fp32.b1.t4`.
        environment: Hardware, software and load.
        flags: Sentences that say why the numbers may be off; empty for a clean measurement.
        conditions: How it was measured; None in records of versions that did not keep it.
        reference: The reference network beside it; None in such records.
        quiet_reference_ms: Time of the reference network when this machine was fastest; None in
            such records.
        reserved_memory_bytes: On a GPU, the peak of what torch's allocator held, unused blocks
            included.
        process_memory_bytes: On a GPU, what the driver says that the process held, its context
            included; None without NVML, and in a container that numbers processes anew.
        workspace_memory_bytes: On a GPU, how much of the peak is a workspace of cuBLAS, the same
            for every network; None in records of versions that did not ask.
    """

    latency_ms: Latency
    peak_memory_bytes: int
    device: str
    environment: Environment
    flags: list[str]
    conditions: Conditions | None = None
    reference: Paired | None = None
    quiet_reference_ms: float | None = None
    reserved_memory_bytes: int | None = None
    process_memory_bytes: int | None = None
    workspace_memory_bytes: int | None = None

    def normalized_ms(self, reference_ms: float | None = None) -> float:
        """The latency on a machine where the reference takes `reference_ms`: the ratio times that.

        Args:
            reference_ms: Milliseconds of the reference of this measurement (`Paired.kind`), which
                on a GPU is not the same beside every network; those of the machine at its fastest
                unless given.

        Raises:
            NasError: The record has no reference.
        """
        wanted = reference_ms or self.quiet_reference_ms
        if self.reference is None or wanted is None:
            raise NasError(f"measurement on {self.device} has no reference network; allowed: one that has")
        return self.reference.ratio * wanted

    def to_dict(self) -> dict[str, Any]:
        """The measurement as plain mappings, lists and numbers."""
        return asdict(self) | {"environment": self.environment.to_document()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The measurement that `to_dict` wrote."""
        nested = {"latency_ms": Latency, "conditions": Conditions, "reference": Paired}
        made = {name: kind(**data[name]) for name, kind in nested.items() if data.get(name) is not None}
        found = Environment.from_document(data["environment"], f"measurement on {data['device']}")
        return cls(**{**data, **made, "environment": found})


def measure(
    target: Architecture | Target | str | os.PathLike[str],
    device: str = "auto",
    dtype: str = "fp32",
    batch: int | None = None,
    *,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    max_seconds: float = 10.0,
    autocast: bool = False,
    channels_last_3d: bool = False,
    compile: bool = False,
    train: str | None = None,
    runtime: str = "torch",
    cuda_graph: bool = False,
    patience: float = 0.0,
    strict: bool = False,
) -> Measurement:
    """Measures runs of a network with random weights, in eval and inference mode unless it trains.

    Args:
        target: An architecture, the name of a reference network, the path of a file,
            `package.module:factory`, or what `load_target` returned.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        dtype: `fp32`, `bf16` or `fp16`, of weights and input.
        batch: Clips per run; that of the inputs unless given, which is 1 for an architecture.
        inputs: What a factory's module takes, as `nas.profiler.target.Input.parse` reads it.
        threads: Threads of the run on the CPU, bound to as many cores; all cores that this process
            may use unless given.
        max_seconds: Time for warm-up and timed runs. One of each is made however long it takes, and
            another run for the memory; a process is given up after a minute plus six times this
            (ten minutes if it compiles).
        autocast: `torch.autocast` to the dtype; weights and inputs stay fp32.
        channels_last_3d: Five-dimensional weights and inputs have their channels last.
        compile: `torch.compile`.
        train: Measures a training step (forward, mean square of the outputs, backward, update) with
            this optimizer: `AdamW`, `Adam`, `SGD` or `RMSprop`.
        runtime: `torch`, or `onnx` for ONNX Runtime (the extra `onnx`).
        cuda_graph: On a GPU, captures the run once and times its replay.
        patience: Further seconds in which a disturbed measurement is taken again; the least
            disturbed one is kept.
        strict: Refuses a measurement that has flags.

    Raises:
        NasError: An argument is not allowed, the measuring process failed, or `strict` met a flag;
            with the reason.
    """
    if isinstance(target, Architecture):
        target = Target.of(target)
    elif not isinstance(target, Target):
        target = load_target(target, inputs)
    if not 0 < max_seconds < math.inf:
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    if not 0 <= patience < math.inf:
        raise NasError(f"patience {patience} is not allowed; allowed: seconds from 0")
    conditions = Conditions.here(
        device,
        dtype,
        target.batch if batch is None else batch,
        threads,
        autocast=autocast,
        channels_last_3d=channels_last_3d,
        compile=compile,
        train=train,
        runtime=runtime,
        cuda_graph=cuda_graph,
    )
    doing = f"measuring {target.kind} {target.name!r} on {conditions.device} ({dtype}, batch {conditions.batch})"
    request = PhasesRequest(target.to_dict(), conditions, max_seconds, ())
    with tempfile.TemporaryDirectory() as folder, _fresh_processes(conditions, doing) as ask:
        if runtime == "onnx":
            request = replace(request, graph=str(Path(folder) / "model.onnx"))
            ask(replace(request, phases=("export",)))
        if conditions.resolved.type == "cuda":
            latency_phases: tuple[str, ...] = ("memory", "latency")
            memory = None
        else:
            latency_phases = ("latency",)
            memory = ask(replace(request, phases=("memory",))).memory
        request = replace(request, phases=latency_phases)
        best = _measurement(memory, request, ask(request))
        end = perf_counter() + patience
        while best.flags and perf_counter() < end:
            sleep(min(PAUSE, patience))
            best = min(best, _measurement(memory, request, ask(request)), key=disturbance)
    if strict and best.flags:
        raise NasError(f"{doing} was disturbed: {'; '.join(best.flags)}; allowed: a quiet machine, or strict=False")
    return best


@contextmanager
def _fresh_processes(conditions: Conditions, doing: str) -> Iterator[Callable[[PhasesRequest], PhasesAnswer]]:
    """A function that answers each request in a process that has run nothing before."""
    # torch's threads, which run the reference, spin in the way of those of ONNX Runtime.
    variables = {"OMP_WAIT_POLICY": "PASSIVE"} if conditions.runtime == "onnx" else {}
    slow_start = conditions.compile or conditions.runtime == "onnx"
    start_seconds = START_SECONDS * (COMPILING if slow_start else 1)
    start = partial(MeasuringProcess, "nas.profiler.measured.phases", doing, variables)
    with start() if FORKS else nullcontext() as forking:

        def ask(request: PhasesRequest) -> PhasesAnswer:
            with nullcontext(forking) if forking else start() as process:
                (answer,) = process.ask(request, TypeAdapter(PhasesAnswer), start_seconds + 6 * request.max_seconds)
            return answer

        yield ask


def _measurement(memory: Memory | None, request: PhasesRequest, answer: PhasesAnswer) -> Measurement:
    """One attempt at the latency, with the memory of an earlier process or of this one."""
    memory, timing = answer.memory or memory, answer.timing
    assert memory and timing
    conditions = request.conditions
    alone = device_name(conditions.resolved, conditions.dtype, 1, conditions.threads)
    # Beside a network that is bound by its kernels another reference is timed.
    reference = alone if timing.reference.kind == "network" else f"{alone}.{timing.reference.kind}"
    quiet_ms = _fastest_known(reference, timing.reference.fastest_ms)
    return Measurement(
        latency_ms=timing.latency,
        peak_memory_bytes=memory.peak_bytes,
        device=timing.device,
        environment=timing.environment,
        flags=[*timing.flags, *_slower(timing, quiet_ms)],
        conditions=conditions,
        reference=timing.reference,
        quiet_reference_ms=quiet_ms,
        reserved_memory_bytes=memory.reserved_bytes,
        process_memory_bytes=memory.process_bytes,
        workspace_memory_bytes=memory.workspace_bytes,
    )


def _slower(timing: Timing, quiet_ms: float) -> list[str]:
    """A flag if the machine is slower than it was when the reference network took `quiet_ms`."""
    reference_ms = timing.reference.reference_ms
    if reference_ms <= (1 + SLOWER) * quiet_ms:
        return []
    return [
        f"the machine is slower than it was: the reference network took {number(reference_ms)} ms in the median, and "
        f"{number(quiet_ms)} ms when it was fastest"
    ]


def disturbance(measurement: Measurement) -> tuple[int, float]:
    """Orders measurements of one network: the fewer flags and the faster the reference, the less
    disturbed.
    """
    reference = measurement.reference
    return len(measurement.flags), math.inf if reference is None else reference.reference_ms


def _fastest_known(device: str, fastest_ms: float) -> float:
    """The fastest time of the reference network on this machine, this one included, which it keeps
    for the next.
    """
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas" / "reference_ms.json"
    # The key tells machines apart that share a home folder.
    key = f"{platform.node()}/{device}"
    try:
        known = json.loads(path.read_text())
        fastest = min(fastest_ms, float(known.get(key, math.inf)))
    except (OSError, ValueError, TypeError, AttributeError):
        known, fastest = {}, fastest_ms
    if known.get(key) != fastest:
        with contextlib.suppress(OSError):  # a folder that cannot be written to: nothing is remembered
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_text(json.dumps(known | {key: fastest}, indent=2) + "\n")
    return fastest

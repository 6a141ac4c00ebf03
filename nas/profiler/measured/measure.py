"""Measured latency and peak memory of an architecture or any `nn.Module`, taken in fresh processes.

A process that trains, searches or has built other networks carries their memory, threads and
allocator state into whatever it measures. So `measure` starts this module as a program, which reads
one JSON document from stdin and writes one to stdout. On a CPU memory and latency have a process
each, because measuring memory slows down allocation.

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
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Self

import torch

from nas.architecture import Architecture
from nas.errors import NasError, one_line, out_of_memory
from nas.profiler.measured.device import Conditions, available_cores, device_name, environment, pin, resolve_device
from nas.profiler.measured.disturbance import Watch, gpu_state
from nas.profiler.measured.execution import export, load_code, prepare
from nas.profiler.measured.latency import SLOWED, TOLERANCE, Latency, Paired, reference_run, time_pairs
from nas.profiler.measured.memory import peak_bytes
from nas.profiler.target import Target, load_target
from nas.resources import replacing

PAUSE = 2.0  # seconds between two attempts on a disturbed machine
SLOWER = 0.15  # than the fastest reference known: by how much a machine may be before it is flagged
START_SECONDS = 60  # for importing torch and building the network
COMPILING = 10  # times as long for what compiles or exports first
_COMMAND = [
    sys.executable,
    "-P",
    "-m",
    "nas.profiler.measured.measure",
]  # -P: a folder `nas` where the user works is not us


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
        environment: Hardware, software and load, as `nas.profiler.measured.device.environment`
            returns them, with `affinity` (the cores that the process was bound to, or None) and on
            a GPU `driver`, the state that NVML told.
        flags: Sentences that say why the numbers may be off; empty for a clean measurement.
        conditions: How it was measured; None in records of versions that did not keep it.
        reference: The reference network beside it; None in such records.
        quiet_reference_ms: Time of the reference network when this machine was fastest; None in
            such records.
        reserved_memory_bytes: On a GPU, the peak of what torch's allocator held, unused blocks
            included.
        process_memory_bytes: On a GPU, what the driver says that the process held, its context
            included; None without NVML.
    """

    latency_ms: Latency
    peak_memory_bytes: int
    device: str
    environment: dict[str, Any]
    flags: list[str]
    conditions: Conditions | None = None
    reference: Paired | None = None
    quiet_reference_ms: float | None = None
    reserved_memory_bytes: int | None = None
    process_memory_bytes: int | None = None

    def normalized_ms(self, reference_ms: float | None = None) -> float:
        """The latency on a machine where the reference network takes `reference_ms`: the ratio
        times that.

        Args:
            reference_ms: Milliseconds; those of the machine at its fastest unless given.

        Raises:
            NasError: The record has no reference.
        """
        wanted = reference_ms or self.quiet_reference_ms
        if self.reference is None or wanted is None:
            raise NasError(f"measurement on {self.device} has no reference network; allowed: one that has")
        return self.reference.ratio * wanted

    def to_dict(self) -> dict[str, Any]:
        """The measurement as plain mappings, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The measurement that `to_dict` wrote."""
        nested = {"latency_ms": Latency, "conditions": Conditions, "reference": Paired}
        made = {name: kind(**data[name]) for name, kind in nested.items() if data.get(name) is not None}
        return cls(**{**data, **made})


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
    resolved = resolve_device(device)
    if isinstance(target, Architecture):
        target = Target.of(target)
    elif not isinstance(target, Target):
        target = load_target(target, inputs)
    if not 0 < max_seconds < math.inf:
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    if not 0 <= patience < math.inf:
        raise NasError(f"patience {patience} is not allowed; allowed: seconds from 0")
    conditions = Conditions(
        device=str(resolved),
        dtype=dtype,
        batch=target.batch if batch is None else batch,
        threads=available_cores() if threads is None else threads,
        autocast=autocast,
        channels_last_3d=channels_last_3d,
        compile=compile,
        train=train,
        runtime=runtime,
        cuda_graph=cuda_graph,
    )
    conditions.check()
    request = {"target": target.to_dict(), "conditions": asdict(conditions), "max_seconds": max_seconds}
    what = f"measuring {_kind(target)} {target.name!r} on {resolved} ({dtype}, batch {conditions.batch})"
    answer: dict[str, Any] = {"conditions": asdict(conditions)}
    with tempfile.TemporaryDirectory() as folder:
        phases = [("memory", "latency")] if resolved.type == "cuda" else [("memory",), ("latency",)]
        if runtime == "onnx":
            # In a process of its own, because the exporter leaves its memory behind.
            request["graph"] = str(Path(folder) / "model.onnx")
            phases = [("export",), *phases]
        for names in phases:
            answer |= _in_fresh_process(request | {"phases": names}, what)
        alone = device_name(resolved, dtype, 1, conditions.threads)
        _compare_with_quiet(answer, alone)
        end = perf_counter() + patience
        while answer["flags"] and perf_counter() < end:
            sleep(min(PAUSE, patience))
            again = answer | _in_fresh_process(request | {"phases": phases[-1]}, what)
            _compare_with_quiet(again, alone)
            answer = min(answer, again, key=lambda taken: (len(taken["flags"]), taken["reference"]["reference_ms"]))
    if strict and answer["flags"]:
        raise NasError(f"{what} was disturbed: {'; '.join(answer['flags'])}; allowed: a quiet machine, or strict=False")
    return Measurement.from_dict(answer)


def measure_batches(
    target: Architecture | Target | str | os.PathLike[str], batches: Sequence[int], **options: Any
) -> list[Measurement]:
    """Measures a target at several batches, with the options of `measure`; one record each.

    Raises:
        NasError: As `measure` does.
    """
    return [measure(target, batch=batch, **options) for batch in batches]


def _compare_with_quiet(answer: dict[str, Any], device: str) -> None:
    """Adds the reference network's time on the quiet machine, and a flag if this one is slower."""
    paired = Paired(**answer["reference"])
    quiet = answer["quiet_reference_ms"] = _fastest_known(device, paired.fastest_ms)
    if paired.reference_ms > (1 + SLOWER) * quiet:
        answer["flags"].append(
            f"the machine is slower than it was: the reference network took {paired.reference_ms:.3g} ms in the "
            f"median, and {quiet:.3g} ms when it was fastest"
        )


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


def _in_fresh_process(request: dict[str, Any], what: str) -> dict[str, Any]:
    """Hands the request to a process and returns its answer; every way in which that can fail is a
    NasError.
    """
    document = json.dumps(request)
    env = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root != sysconfig.get_path("purelib"):  # in a checkout: the child finds this package where this process did
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
    conditions = request["conditions"]
    if conditions["runtime"] == "onnx":
        env["OMP_WAIT_POLICY"] = "PASSIVE"  # torch's threads, which run the reference, spin in the way of the others
    slow_start = conditions["compile"] or conditions["runtime"] == "onnx"
    limit = START_SECONDS * (COMPILING if slow_start else 1) + 6 * request["max_seconds"]
    try:
        child = subprocess.run(
            _COMMAND, input=document, env=env, capture_output=True, text=True, errors="replace", timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise NasError(
            f"{what} did not end within {limit:g} s; allowed: a smaller network, or a max_seconds above "
            f"{request['max_seconds']:g}"
        ) from None
    if child.returncode == -signal.SIGKILL:
        raise NasError(
            f"{what} was killed by the system, which happens when memory runs out; "
            f"allowed: a network, input and batch that fit into memory"
        )
    last_words = " ".join((child.stderr.strip().splitlines() or ["it said nothing"])[-1].split())
    if child.returncode:
        number = -child.returncode
        how = f"died of {signal.Signals(number).name}" if number > 0 else f"failed with exit code {child.returncode}"
        raise NasError(f"{what} {how}: {last_words}")
    try:
        answer = json.loads(child.stdout)
    except json.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise NasError(f"{what} gave no measurement but {child.stdout[:80]!r}: {last_words}")
    if "error" in answer:
        raise NasError(answer["error"])
    return answer


def _measure_here(request: dict[str, Any]) -> dict[str, Any]:
    """Measures in this process, which must be fresh; returns the entries of a Measurement that its
    phases give.
    """
    target, conditions = Target.from_dict(request["target"]), Conditions(**request["conditions"])
    phases, device = request["phases"], conditions.resolved
    graph = Path(request["graph"]) if "graph" in request else None
    target.import_code()  # before memory is looked at: code is no part of a network's memory
    env = environment(device) | {"threads": conditions.threads}
    name = conditions.name
    env["affinity"] = pin(conditions.threads)
    torch.set_num_threads(conditions.threads)
    answer: dict[str, Any] = {}
    try:
        with target.explained("training step" if conditions.train else "forward"):
            if "export" in phases and graph is not None:
                export(target, conditions, graph)
            if "memory" in phases:
                answer |= _memory_here(target, conditions, graph)
            if "latency" in phases:
                answer["device"] = name
                answer |= _latency_here(target, conditions, graph, env, request["max_seconds"])
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise NasError(
            f"{_kind(target)} {target.name!r} at batch {conditions.batch} does not fit into the memory of {device} "
            f"({one_line(error)}); allowed: a smaller batch, input or network"
        ) from None
    return answer


def _memory_here(target: Target, conditions: Conditions, graph: Path | None) -> dict[str, Any]:
    device = conditions.resolved
    if device.type == "cpu":
        load_code(conditions)
    warm = conditions.train is not None or conditions.compile or conditions.cuda_graph
    answer: dict[str, Any] = {"peak_memory_bytes": peak_bytes(lambda: prepare(target, conditions, graph), device, warm)}
    if device.type == "cuda":
        answer["reserved_memory_bytes"] = torch.cuda.max_memory_reserved(device)
        answer["process_memory_bytes"] = gpu_state(device).get("process_bytes")
    return answer


def _latency_here(
    target: Target, conditions: Conditions, graph: Path | None, env: dict[str, Any], max_seconds: float
) -> dict[str, Any]:
    device, threads = conditions.resolved, conditions.threads
    run = prepare(target, conditions, graph)
    reference = reference_run(device, conditions.torch_dtype)
    run()  # compiling, capturing and allocating would use up the time for warm-up
    watch = Watch(device, threads, env["affinity"])
    pairs = time_pairs(run, reference, device, max_seconds=max_seconds)
    flags = watch.flags()
    if device.type == "cuda":
        env = env | {"driver": watch.gpu}
    latency, paired = Latency.of([time for runs, _ in pairs for time in runs]), Paired.of(pairs)
    if threads > env["cores"]:
        flags.append(f"{threads} threads share {env['cores']} cores")
    if paired.slowed > SLOWED:
        flags.append(
            f"the machine was disturbed: the reference network took {paired.reference_ms:.3g} ms in the median and "
            f"{paired.fastest_ms:.3g} ms in its fastest runs"
        )
    inexact = latency.relative_error
    if inexact is None:
        flags.append(f"timed runs in {max_seconds:g} s: {latency.n}, too few to tell how well the median is known")
    elif inexact > TOLERANCE:
        flags.append(f"the median of {latency.n} runs is known to within {inexact:.1%} only, not {TOLERANCE:.0%}")
    return {"latency_ms": asdict(latency), "reference": asdict(paired), "environment": env, "flags": flags}


def _kind(target: Target) -> str:
    return "factory" if target.factory else "architecture"


def _main() -> None:
    # Whatever libraries print goes to stderr: stdout carries the answer alone.
    answer_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = _measure_here(json.load(sys.stdin))
    except NasError as error:
        answer = {"error": str(error)}
    with answer_file:
        json.dump(answer, answer_file)


if __name__ == "__main__":
    _main()

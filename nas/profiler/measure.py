"""Measured latency and peak memory of an architecture, taken in fresh processes.

A process that trains, searches or has built other networks carries their memory, threads and allocator state into
whatever it measures. So `measure` starts this module as a program, which reads one JSON document from stdin and
writes one to stdout. On a CPU memory and latency have a process each, because measuring memory slows down allocation.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.profiler.device import available_cores, device_name, environment, resolve_device, resolve_dtype
from nas.profiler.latency import TOLERANCE, Latency, time_forward
from nas.profiler.memory import peak_bytes

BUSY = 0.5  # share of the cores left over (of one core if none are) that others may use without a flag
STOLEN = 0.05  # cores per thread that the hypervisor may withhold before a measurement is flagged
FOREIGN_BYTES = 2 * 2**30  # more than a process takes of a GPU beside its tensors
START_SECONDS = 60  # for importing torch and building the network
_COMMAND = [sys.executable, "-P", "-m", "nas.profiler.measure"]  # -P: a folder `nas` where the user works is not us


@dataclass(frozen=True)
class Measurement:
    """What was measured of one architecture on one device.

    Attributes:
        latency_ms: Times of one forward of the batch.
        peak_memory_bytes: Peak memory of one forward; `nas.profiler.memory` says what it includes.
        device: What was measured on, such as `epyc-9b14-4c.torch2.13.fp32.b1.t4`.
        environment: Hardware, software and load, as `nas.profiler.device.environment` returns them.
        flags: Sentences that say why the numbers may be off; empty for a clean measurement.
    """

    latency_ms: Latency
    peak_memory_bytes: int
    device: str
    environment: dict[str, Any]
    flags: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The measurement as plain mappings, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The measurement that `to_dict` wrote."""
        return cls(**{**data, "latency_ms": Latency(**data["latency_ms"])})


def measure(
    architecture: Architecture | str | Path,
    device: str = "auto",
    dtype: str = "fp32",
    batch: int = 1,
    *,
    threads: int | None = None,
    max_seconds: float = 10.0,
) -> Measurement:
    """Measures a forward of an architecture at its own input size, in eval and inference mode, with random weights.

    Args:
        architecture: An architecture, the name of a reference network, or the path of a file.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        dtype: `fp32`, `bf16` or `fp16`, of weights and input.
        batch: Clips per forward.
        threads: Threads of the forward on the CPU; all cores that this process may use unless given.
        max_seconds: Time for warm-up and timed runs. One of each is made however long it takes, and another forward
            for the memory; a process is given up after a minute plus six times this.

    Raises:
        NasError: An argument is not allowed, or the measuring process failed, with its reason.
    """
    if not isinstance(architecture, Architecture):
        architecture = load(architecture)
    resolved = resolve_device(device)
    resolve_dtype(dtype)
    threads = available_cores() if threads is None else threads
    for name, count in (("batch", batch), ("threads", threads)):
        if count < 1:
            raise NasError(f"{name} {count} is not allowed; allowed: whole numbers from 1")
    if not 0 < max_seconds < math.inf:
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    request = {
        "architecture": architecture.document(),
        "device": str(resolved),
        "dtype": dtype,
        "batch": batch,
        "threads": threads,
        "max_seconds": max_seconds,
    }
    what = f"measuring architecture {architecture.name or architecture.hash!r} on {resolved} ({dtype}, batch {batch})"
    phases = [("memory", "latency")] if resolved.type == "cuda" else [("memory",), ("latency",)]
    answer: dict[str, Any] = {}
    for names in phases:
        answer |= _in_fresh_process(request | {"phases": names}, what)
    return Measurement.from_dict(answer)


def _in_fresh_process(request: dict[str, Any], what: str) -> dict[str, Any]:
    """Hands the request to a process and returns its answer; every way in which that can fail is a NasError."""
    document = json.dumps(request)
    env = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root != sysconfig.get_path("purelib"):  # in a checkout: the child finds this package where this process did
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
    limit = START_SECONDS + 6 * request["max_seconds"]
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
    """Measures in this process, which must be fresh; returns the entries of a Measurement that its phases give."""
    # Imported before memory is looked at: code is no part of a network's memory.
    from nas.models.network import build

    architecture = Architecture.parse(request["architecture"])
    device, dtype = resolve_device(request["device"]), resolve_dtype(request["dtype"])
    torch.set_num_threads(request["threads"])
    entry = architecture.input

    def prepare() -> Callable[[], torch.Tensor]:
        model = build(architecture, device=device).to(dtype).eval()
        clip = torch.randn(request["batch"], entry.channels, entry.frames, *entry.size, device=device, dtype=dtype)

        @torch.inference_mode()
        def forward() -> torch.Tensor:
            logits: torch.Tensor = model(clip)
            return logits

        return forward

    answer: dict[str, Any] = {}
    try:
        if "memory" in request["phases"]:
            answer["peak_memory_bytes"] = peak_bytes(prepare, device)
        if "latency" in request["phases"]:
            answer |= _latency_here(prepare(), device, request)
    except RuntimeError as error:
        # torch's error for a CPU allocation has no type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise NasError(
            f"architecture {architecture.name or architecture.hash!r} at batch {request['batch']} does not fit into "
            f"the memory of {device}; allowed: a smaller batch, input or network"
        ) from None
    return answer


def _latency_here(forward: Callable[[], object], device: torch.device, request: dict[str, Any]) -> dict[str, Any]:
    threads, max_seconds = request["threads"], request["max_seconds"]
    flags = _foreign_memory(device) if device.type == "cuda" else []
    env = environment(device)
    if threads > env["cores"]:
        flags.append(f"{threads} threads share {env['cores']} cores")
    use = _CpuUse()
    latency = Latency.of(time_forward(forward, device, max_seconds=max_seconds))
    flags += use.flags(threads)
    inexact = latency.relative_error
    if inexact is None:
        flags.append(f"timed runs in {max_seconds:g} s: {latency.n}, too few to tell how well the median is known")
    elif inexact > TOLERANCE:
        flags.append(f"the median of {latency.n} runs is known to within {inexact:.1%} only, not {TOLERANCE:.0%}")
    name = device_name(device, request["dtype"], request["batch"], threads)
    return {"latency_ms": asdict(latency), "device": name, "environment": env, "flags": flags}


class _CpuUse:
    """What other processes and the hypervisor took of the processor since this object was made.

    The load average would count this process and whatever ran in the minute before.
    """

    def __init__(self) -> None:
        self.began = _cpu_seconds()

    def flags(self, threads: int) -> list[str]:
        now = _cpu_seconds()
        if now is None or self.began is None:
            return ["what other processes used of the processor is unknown: there is no /proc/stat"]
        wall, busy, stolen, own = (after - before for after, before in zip(now, self.began, strict=True))
        others, stolen = (busy - own) / wall, stolen / wall
        flags = []
        if others > BUSY * max(1, (os.cpu_count() or 1) - threads):
            flags.append(f"other processes used {others:.1f} cores during the measurement")
        if stolen > STOLEN * threads:
            flags.append(f"the hypervisor withheld {stolen:.1f} cores during the measurement")
        return flags


def _cpu_seconds() -> tuple[float, float, float, float] | None:
    """(wall, all processes, stolen by the hypervisor, this process) in seconds."""
    try:
        fields = Path("/proc/stat").read_text().split()[1:9]
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal = (int(field) / ticks for field in fields)
    own = os.times()
    return perf_counter(), user + nice + system + irq + softirq, steal, own.user + own.system


def _foreign_memory(device: torch.device) -> list[str]:
    """Notes a GPU that other processes use."""
    free, total = torch.cuda.mem_get_info(device)
    held = total - free - torch.cuda.memory_reserved(device)
    return [f"other processes use the GPU: {held / 1e9:.1f} GB of it are taken"] if held > FOREIGN_BYTES else []


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

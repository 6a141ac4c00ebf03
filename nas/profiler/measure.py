"""Measured latency and peak memory of an architecture, taken in a fresh process.

A process that trains, searches or has built other networks carries their memory, threads and allocator state into
whatever it times. So `measure` starts this module as a program, which reads one JSON document from stdin and
writes one to stdout: first the memory of the first forward, then the latency of the following ones.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.profiler.device import available_cores, device_name, environment, resolve_device, resolve_dtype
from nas.profiler.latency import TOLERANCE, Latency, time_forward
from nas.profiler.memory import peak_bytes, resident_bytes

BUSY = 0.5  # share of the cores left over (of one core if none are) that others may use without a flag
STOLEN = 0.05  # cores per thread that the hypervisor may withhold before a measurement is flagged
FOREIGN_BYTES = 2 * 2**30  # more than a process without tensors takes of a GPU
START_SECONDS = 60  # for importing torch and building the network


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
        max_seconds: Time for all forwards together. At least two are run, however long they take, and the whole
            measurement is given up after a minute plus six times this.

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
    return _in_fresh_process([sys.executable, "-m", "nas.profiler.measure"], request, what)


def _in_fresh_process(command: list[str], request: dict[str, Any], what: str) -> Measurement:
    """Hands the request to a process and returns its answer; every way in which that can fail is a NasError."""
    # The child finds this package wherever this process found it.
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    limit = START_SECONDS + 6 * request["max_seconds"]
    try:
        child = subprocess.run(
            command, input=json.dumps(request), env=env, capture_output=True, text=True, errors="replace", timeout=limit
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
        if "error" in answer:
            raise NasError(answer["error"])
        return Measurement.from_dict(answer)
    except (json.JSONDecodeError, TypeError, KeyError):
        raise NasError(f"{what} gave no measurement but {child.stdout[:80]!r}: {last_words}") from None


def _measure_here(request: dict[str, Any]) -> Measurement:
    """Measures in this process, which must be fresh."""
    # Imported before the baseline is taken: code is no part of a network's memory.
    from nas.models.network import build

    architecture = Architecture.parse(request["architecture"])
    device, dtype = resolve_device(request["device"]), resolve_dtype(request["dtype"])
    batch, threads, max_seconds = request["batch"], request["threads"], request["max_seconds"]
    torch.set_num_threads(threads)
    flags = []
    if device.type == "cuda":
        flags += _foreign_memory(device)
    env = environment(device)
    if threads > env["cores"]:
        flags.append(f"{threads} threads share {env['cores']} cores")
    use = _CpuUse()

    baseline = resident_bytes()
    entry = architecture.input
    try:
        model = build(architecture, device=device).to(dtype).eval()
        clip = torch.randn(batch, entry.channels, entry.frames, *entry.size, device=device, dtype=dtype)
        with torch.inference_mode():
            begin = perf_counter()
            peak = peak_bytes(lambda: model(clip), device, baseline)
            first_ms = (perf_counter() - begin) * 1e3
            samples = time_forward(lambda: model(clip), device, max_seconds=max_seconds, first_ms=first_ms)
    except RuntimeError as error:
        # torch's error for a CPU allocation has no type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise NasError(
            f"architecture {architecture.name or architecture.hash!r} at batch {batch} does not fit into the memory of "
            f"{device}; allowed: a smaller batch, input or network"
        ) from None

    latency = Latency.of(samples)
    flags += use.flags(threads)
    inexact = latency.relative_error
    if inexact is None:
        flags.append(f"only {latency.n} timed runs in {max_seconds:g} s: too few to tell how well the median is known")
    elif inexact > TOLERANCE:
        flags.append(f"the median of {latency.n} runs is known to within {inexact:.1%} only, not {TOLERANCE:.0%}")
    return Measurement(latency, peak, device_name(device, request["dtype"], batch, threads), env, flags)


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
    """Notes a GPU that others use, before this process allocates anything there."""
    free, total = torch.cuda.mem_get_info(device)
    held = total - free
    return [f"other processes use the GPU: {held / 1e9:.1f} GB of it are taken"] if held > FOREIGN_BYTES else []


def _main() -> None:
    # Whatever libraries print goes to stderr: stdout carries the answer alone.
    answer_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = _measure_here(json.load(sys.stdin)).to_dict()
    except NasError as error:
        answer = {"error": str(error)}
    with answer_file:
        json.dump(answer, answer_file)


if __name__ == "__main__":
    _main()

"""What disturbed a measurement: other processes, the hypervisor, the container's quota, clocks, a
hot or shared GPU.

The load average would count this process and whatever ran in the minute before. So the counters of
the system are read before and after, and what the measuring process used itself is taken off.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

OTHERS = 0.05  # cores per thread that other processes may use of the cores measured on before it is flagged
BESIDE = 0.5  # share of the other cores that they may use: their memory traffic slows this one
STOLEN = 0.05  # cores per thread that the hypervisor may withhold
HELD = 0.01  # of the time, for which the driver may hold a GPU's clock down
CLOCK = 0.05  # share by which the clock may change
FOREIGN_BYTES = 2 * 2**30  # more than a process takes of a GPU beside its tensors
_CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Reading:
    """Counters at one time; empty or None where the system has none.

    Attributes:
        wall: Seconds.
        busy: Seconds that each core spent on any process, by its number.
        stolen: Seconds that the hypervisor withheld from each core.
        own: Seconds that this process used of all cores.
        throttled: How often a core was slowed down by heat, or this container stopped by its quota,
            by the reason.
        mhz: Mean clock of the cores.
    """

    wall: float
    busy: Mapping[int, float]
    stolen: Mapping[int, float]
    own: float
    throttled: Mapping[str, int]
    mhz: float | None

    @classmethod
    def now(cls) -> Reading:
        """Reads the counters of this system."""
        own = os.times()
        busy, stolen = core_seconds(_text(Path("/proc/stat")), os.sysconf("SC_CLK_TCK"))
        heat = [_number(path) for path in _CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
        clocks = [_number(path) for path in _CPU.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
        quota = dict(line.split() for line in _text(Path("/sys/fs/cgroup/cpu.stat")).splitlines())
        throttled = {"heat slowed cores down": sum(heat)}
        throttled["its quota stopped this container"] = int(quota.get("nr_throttled", 0))
        mhz = statistics.mean(clocks) / 1e3 if clocks else None
        return cls(perf_counter(), busy, stolen, own.user + own.system, throttled, mhz)


def core_seconds(stat: str, ticks: int) -> tuple[dict[int, float], dict[int, float]]:
    """Returns (busy, stolen) seconds by core from the text of /proc/stat; `ticks` make a second."""
    busy, stolen = {}, {}
    for line in stat.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _, _, irq, softirq, steal = (int(field) / ticks for field in fields[:8])
            busy[int(name[3:])] = user + nice + system + irq + softirq
            stolen[int(name[3:])] = steal
    return busy, stolen


def cpu_flags(before: Reading, after: Reading, threads: int, cores: Sequence[int] | None) -> list[str]:
    """Returns a sentence for each thing that disturbed the CPU between two readings.

    Args:
        before: When timing began.
        after: When it ended.
        threads: Threads of the measured process.
        cores: The cores that it was bound to; None for all.
    """
    flags = []
    if not before.busy or not after.busy:
        flags.append("what other processes used of the processor is unknown: there is no /proc/stat")
    else:
        wall = after.wall - before.wall
        used = {core: (after.busy[core] - before.busy.get(core, 0.0)) / wall for core in after.busy}
        mine = set(used) if cores is None else set(cores) & set(used)
        others = sum(used[core] for core in mine) - (after.own - before.own) / wall
        beside = [used[core] for core in used if core not in mine]
        stolen = sum(after.stolen[core] - before.stolen.get(core, 0.0) for core in mine) / wall
        if others > OTHERS * threads:
            flags.append(f"other processes used {others:.2f} of the {len(mine)} cores measured on")
        if sum(beside) > BESIDE * max(1, len(beside)):
            flags.append(f"other processes used {sum(beside):.2f} of the {len(beside)} cores beside those measured on")
        if stolen > STOLEN * threads:
            flags.append(f"the hypervisor withheld {stolen:.2f} cores during the measurement")
    for reason, count in after.throttled.items():
        if count > before.throttled.get(reason, count):
            flags.append(f"{reason} during the measurement, {count - before.throttled[reason]} times")
    if before.mhz and after.mhz and abs(after.mhz / before.mhz - 1) > CLOCK:
        flags.append(f"the clock of the cores went from {before.mhz:.0f} to {after.mhz:.0f} MHz")
    return flags


class Watch:
    """Looks at the machine from when it is made until `flags` is called.

    On a GPU the driver is asked through NVML where the package nvidia-ml-py is installed.
    """

    def __init__(self, device: torch.device, threads: int, cores: Sequence[int] | None) -> None:
        self.device, self.threads, self.cores = device, threads, cores
        self.gpu: dict[str, Any] = {}
        self.held = held_down(device) if device.type == "cuda" else {}
        self.before = Reading.now()

    def flags(self) -> list[str]:
        """Returns what disturbed the machine; on a GPU `gpu` holds what the driver told."""
        found = cpu_flags(self.before, Reading.now(), self.threads, self.cores)
        if self.device.type == "cuda":
            self.gpu = gpu_state(self.device)
            found += gpu_flags(self.gpu) + foreign_memory(self.device)
            found += held_flags(self.held, held_down(self.device), perf_counter() - self.before.wall)
        return found


def gpu_state(device: torch.device) -> dict[str, Any]:
    """Returns what the driver says of a GPU now; empty without NVML.

    `clock_mhz` and `max_clock_mhz` are of the multiprocessors, `slowed_by` names the reasons for
    which the driver holds the clock down, `process_bytes` is the memory that this process holds,
    its CUDA context included (None where the driver knows it under another process number, as in a
    container).
    """
    state: dict[str, Any] = {}
    try:
        import pynvml as nvml
    except ImportError:
        return state
    with contextlib.suppress(nvml.NVMLError):  # no driver, or a driver that does not know a figure
        nvml.nvmlInit()
        handle = _handle(nvml, device)
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        state["slowed_by"] = [reason for bit, reason in _REASONS.items() if reasons & bit]
        state["clock_mhz"] = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        state["max_clock_mhz"] = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
        state["temperature_c"] = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        state["power_w"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1e3
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        state["process_bytes"] = next((p.usedGpuMemory for p in running if p.pid == os.getpid()), None)
    return state


def _handle(nvml: Any, device: torch.device) -> Any:
    """NVML's handle of a GPU, or of a MIG instance."""
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def held_down(device: torch.device) -> dict[str, float]:
    """Returns for how many seconds the driver has held a GPU's clock down so far, by the reason;
    empty without NVML, or where the driver does not count.

    The reasons in `gpu_state` are those of the moment at which it is asked, when the GPU is idle
    again.
    """
    try:
        import pynvml as nvml
    except ImportError:
        return {}
    found: dict[str, float] = {}
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlInit()
        handle = _handle(nvml, device)
        for reason, policy in (
            ("the power limit", nvml.NVML_PERF_POLICY_POWER),
            ("heat", nvml.NVML_PERF_POLICY_THERMAL),
        ):
            found[reason] = nvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime / 1e9
    return found


def held_flags(before: Mapping[str, float], after: Mapping[str, float], wall: float) -> list[str]:
    """Returns a sentence for each reason that held a GPU's clock down for more than a share of the
    time between two readings of `held_down`.
    """
    held = {reason: seconds - before.get(reason, seconds) for reason, seconds in after.items()}
    return [
        f"{reason} held the GPU's clock down for {seconds:.2f} of {wall:.2f} s"
        for reason, seconds in held.items()
        if seconds > HELD * wall
    ]


def gpu_flags(state: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each reason for which the driver holds the clock of a GPU down."""
    return [
        f"{reason} holds the GPU's clock at {state.get('clock_mhz')} of {state.get('max_clock_mhz')} MHz"
        for reason in state.get("slowed_by", ())
    ]


def foreign_memory(device: torch.device) -> list[str]:
    """Notes a GPU that other processes use."""
    free, total = torch.cuda.mem_get_info(device)
    held = total - free - torch.cuda.memory_reserved(device)
    return [f"other processes use the GPU: {held / 1e9:.1f} GB of it are taken"] if held > FOREIGN_BYTES else []


# Bits of nvmlClocksThrottleReasons in nvml.h; those that say idle or that a user set the clock are
# left out.
_REASONS = {
    0x04: "the power limit",
    0x08: "a hardware slowdown",
    0x20: "heat (driver)",
    0x40: "heat (hardware)",
    0x80: "the power supply",
}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0

"""What disturbed a measurement: other processes, the hypervisor, the container's quota, clocks, a
hot or shared GPU.

The load average would count this process and whatever ran in the minute before. So the counters of
the system are read before and after, and what the measuring process used itself is taken off.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from nas.profiler.measured.gpu_state import GpuState, foreign_memory, held_down, held_flags

OTHERS = 0.05  # cores per thread that other processes may use of the cores measured on before it is flagged
BESIDE = 0.5  # share of the other cores that they may use: their memory traffic slows this one
STOLEN = 0.05  # cores per thread that the hypervisor may withhold
CLOCK = 0.05  # share by which the clock may change
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

    On a GPU the driver is asked too, as `nas.profiler.measured.gpu_state` does.
    """

    def __init__(self, device: torch.device, threads: int, cores: Sequence[int] | None) -> None:
        self.device, self.threads, self.cores = device, threads, cores
        self.gpu: GpuState | None = None
        self.held = held_down(device) if device.type == "cuda" else {}
        self.before = Reading.now()

    def flags(self) -> list[str]:
        """Returns what disturbed the machine; on a GPU `gpu` holds what the driver told."""
        found = cpu_flags(self.before, Reading.now(), self.threads, self.cores)
        if self.device.type == "cuda":
            self.gpu = GpuState.now(self.device)
            found += self.gpu.flags() + foreign_memory(self.device)
            found += held_flags(self.held, held_down(self.device), perf_counter() - self.before.wall)
        return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0

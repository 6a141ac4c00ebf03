"""What NVIDIA's driver says of a GPU, through NVML where the package nvidia-ml-py is installed."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

HELD = 0.01  # of the time, for which the driver may hold a GPU's clock down before it is flagged
FOREIGN_BYTES = 2 * 2**30  # more than a process takes of a GPU beside its tensors

# Bits of nvmlClocksThrottleReasons in nvml.h; those that say idle or that a user set the clock are
# left out.
_REASONS = {
    0x04: "the power limit",
    0x08: "a hardware slowdown",
    0x20: "heat (driver)",
    0x40: "heat (hardware)",
    0x80: "the power supply",
}


@dataclass(frozen=True)
class GpuState:
    """What the driver says of a GPU at one time; None where it does not say.

    Attributes:
        slowed_by: The reasons for which the driver holds the clock down.
        clock_mhz: Clock of the multiprocessors.
        max_clock_mhz: The highest that they can have.
        temperature_c: Degrees Celsius.
        power_w: Watts.
        process_bytes: Memory that this process holds, its CUDA context included; None where the
            driver knows the process under another number, as in a container.
    """

    slowed_by: tuple[str, ...] = ()
    clock_mhz: int | None = None
    max_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    process_bytes: int | None = None

    @classmethod
    def now(cls, device: torch.device) -> Self:
        """Asks the driver; of what it does not know, and without NVML, nothing is said."""
        state = cls()
        try:
            import pynvml as nvml
        except ImportError:
            return state
        with contextlib.suppress(nvml.NVMLError):  # no driver, or a driver that does not know a figure
            nvml.nvmlInit()
            handle = _handle(nvml, device)
            reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
            state = replace(state, slowed_by=tuple(reason for bit, reason in _REASONS.items() if reasons & bit))
            state = replace(state, clock_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
            state = replace(state, max_clock_mhz=nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))
            celsius = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            state = replace(state, temperature_c=celsius)
            state = replace(state, power_w=nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
            running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            own = next((process.usedGpuMemory for process in running if process.pid == os.getpid()), None)
            state = replace(state, process_bytes=own)
        return state

    def flags(self) -> list[str]:
        """Returns a sentence for each reason for which the driver holds the clock down."""
        return [
            f"{reason} holds the GPU's clock at {self.clock_mhz} of {self.max_clock_mhz} MHz"
            for reason in self.slowed_by
        ]


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

    The reasons in a `GpuState` are those of the moment at which the driver is asked, when the GPU
    is idle again.
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


def near_cores(device: torch.device) -> set[int]:
    """Returns the cores of the socket that a GPU is attached to, from which launching is quickest;
    empty where nobody says.
    """
    try:
        import pynvml as nvml
    except ImportError:
        return set()
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlInit()
        words = nvml.nvmlDeviceGetCpuAffinity(_handle(nvml, device), math.ceil((os.cpu_count() or 1) / 64))
        return {64 * i + bit for i, word in enumerate(words) for bit in range(64) if word >> bit & 1}
    return set()


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


def foreign_memory(device: torch.device) -> list[str]:
    """Notes a GPU that other processes use."""
    free, total = torch.cuda.mem_get_info(device)
    held = total - free - torch.cuda.memory_reserved(device)
    return [f"other processes use the GPU: {held / 1e9:.1f} GB of it are taken"] if held > FOREIGN_BYTES else []

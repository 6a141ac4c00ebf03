from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from nas.profiler.measured import disturbance
from nas.profiler.measured.disturbance import (
    Reading,
    Watch,
    core_seconds,
    cpu_flags,
    gpu_flags,
    gpu_state,
    held_down,
    held_flags,
)

STAT = """cpu  600 40 100 9000 50 0 20 30 0 0
cpu0 400 20 60 4000 50 5 15 10 0 0
cpu1 200 20 40 5000 0 0 5 20 0 0
intr 5 0 0
ctxt 7
"""


def reading(
    wall: float, busy: list[float], own: float, stolen: float = 0.0, heat: int = 0, mhz: float | None = None
) -> Reading:
    return Reading(
        wall,
        dict(enumerate(busy)),
        {0: stolen} | dict.fromkeys(range(1, len(busy)), 0.0),
        own,
        {"heat slowed cores down": heat},
        mhz,
    )


def test_core_seconds() -> None:
    # Of 100 ticks a second: user, nice, system, irq and softirq; neither idle nor waiting for a
    # disk.
    assert core_seconds(STAT, 100) == ({0: 5.0, 1: 2.65}, {0: 0.1, 1: 0.2})
    assert core_seconds("", 100) == ({}, {})


@pytest.mark.parametrize(
    ("cores", "threads", "busy", "own", "flags"),
    [
        # In 10 s two threads may lose 2 * 0.05 * 10 = 1 s of their cores.
        ([0, 1], 2, [10.0, 10.0], 19.1, []),
        ([0, 1], 2, [10.0, 10.0], 18.8, ["other processes used 0.12 of the 2 cores measured on"]),
        ([0, 1], 2, [10.0, 10.0], 10.0, ["other processes used 1.00 of the 2 cores measured on"]),
        # Half of the cores beside may be busy: 10 of 20 s.
        ([0, 1], 2, [10.0, 10.0, 5.0, 4.9], 20.0, []),
        (
            [0, 1],
            2,
            [10.0, 10.0, 9.0, 3.0],
            20.0,
            ["other processes used 1.20 of the 2 cores beside those measured on"],
        ),
        # Bound to nothing, all cores are its own.
        (None, 2, [6.0, 6.0, 6.0, 6.0], 20.0, ["other processes used 0.40 of the 4 cores measured on"]),
    ],
)
def test_flags_of_neighbours(
    cores: list[int] | None, threads: int, busy: list[float], own: float, flags: list[str]
) -> None:
    before = reading(100.0, [50.0] * len(busy), own=3.0)
    after = reading(110.0, [50.0 + used for used in busy], own=3.0 + own)
    assert cpu_flags(before, after, threads, cores) == flags


def test_flags_of_the_hypervisor_heat_and_clocks() -> None:
    before = reading(0.0, [0.0, 0.0], 0.0, heat=4, mhz=3000.0)
    after = reading(10.0, [5.0, 5.0], 10.0, stolen=2.0, heat=7, mhz=2400.0)
    assert cpu_flags(before, after, 2, [0, 1]) == [
        "the hypervisor withheld 0.20 cores during the measurement",
        "heat slowed cores down during the measurement, 3 times",
        "the clock of the cores went from 3000 to 2400 MHz",
    ]
    calm = reading(10.0, [5.0, 5.0], 10.0, stolen=1.0, heat=4, mhz=2900.0)
    assert cpu_flags(before, calm, 2, [0, 1]) == []


def test_what_cannot_be_known_is_said() -> None:
    nothing = Reading(0.0, {}, {}, 0.0, {}, None)
    assert cpu_flags(nothing, nothing, 2, None) == [
        "what other processes used of the processor is unknown: there is no /proc/stat"
    ]


def test_a_reading_of_this_system() -> None:
    now = Reading.now()
    assert now.own > 0
    assert all(seconds >= 0 for seconds in now.busy.values())
    assert isinstance(Watch(torch.device("cpu"), 1, None).flags(), list)


def test_reasons_of_a_gpu_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for pynvml: bits 0x04 (power limit), 0x40 (heat) and 0x01 (idle, which is no
    reason).
    """
    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x45,
        nvmlDeviceGetClockInfo=lambda handle, kind: 1200,
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: 1980,
        nvmlDeviceGetTemperature=lambda handle, kind: 88,
        nvmlDeviceGetPowerUsage=lambda handle: 699500,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=-1, usedGpuMemory=5)],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    state = gpu_state(torch.device("cuda:0"))
    assert state == {
        "slowed_by": ["the power limit", "heat (hardware)"],
        "clock_mhz": 1200,
        "max_clock_mhz": 1980,
        "temperature_c": 88,
        "power_w": 699.5,
        "process_bytes": None,
    }
    assert gpu_flags(state) == [
        "the power limit holds the GPU's clock at 1200 of 1980 MHz",
        "heat (hardware) holds the GPU's clock at 1200 of 1980 MHz",
    ]


def test_throttling_is_told_by_counters_that_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 2 s the power limit held the clock for .5 s and heat for 2 ms, which is within 1 %."""
    seconds = {0: iter([7.0, 7.5]), 1: iter([3.0, 3.002])}
    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_PERF_POLICY_POWER=0,
        NVML_PERF_POLICY_THERMAL=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetViolationStatus=lambda handle, policy: SimpleNamespace(violationTime=next(seconds[policy]) * 1e9),
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    before, after = held_down(torch.device("cuda:0")), held_down(torch.device("cuda:0"))
    assert held_flags(before, after, 2.0) == ["the power limit held the GPU's clock down for 0.50 of 2.00 s"]
    assert held_flags({}, after, 2.0) == []  # nothing was counted before


def test_without_nvml_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_state(torch.device("cuda:0")) == {}
    assert gpu_flags({}) == []
    assert held_down(torch.device("cuda:0")) == {}


def test_foreign_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * gib)
    assert disturbance.foreign_memory(torch.device("cuda:0")) == []
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    assert disturbance.foreign_memory(torch.device("cuda:0")) == [
        "other processes use the GPU: 10.7 GB of it are taken"
    ]

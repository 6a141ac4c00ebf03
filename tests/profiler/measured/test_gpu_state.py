"""What the driver says of a GPU, from stand-ins of NVML."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from nas.profiler.measured.gpu_state import GpuState, foreign_memory, held_down, held_flags, near_cores


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
    state = GpuState.now(torch.device("cuda:0"))
    assert state == GpuState(("the power limit", "heat (hardware)"), 1200, 1980, 88, 699.5, None)
    assert state.flags() == [
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


def test_cores_of_the_socket_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 72 cores two words: bits 1 and 63 of the first, 0 and 7 of the second."""
    asked = []

    def affinity(handle: str, words: int) -> list[int]:
        asked.append((handle, words))
        return [2**63 + 2, 2**7 + 1]

    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCpuAffinity=affinity,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    monkeypatch.setattr("os.cpu_count", lambda: 72)
    assert near_cores(torch.device("cuda:0")) == {1, 63, 64, 71}
    assert asked == [("GPU-1234", 2)]


def test_a_part_of_a_gpu_is_found_by_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(uuid: str) -> str:
        if not uuid.startswith("MIG-"):
            raise RuntimeError("not found")
        return uuid

    def held(handle: str, policy: int) -> SimpleNamespace:
        assert handle == "MIG-1234"
        return SimpleNamespace(violationTime=2e9)

    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_PERF_POLICY_POWER=0,
        NVML_PERF_POLICY_THERMAL=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetViolationStatus=held,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    assert held_down(torch.device("cuda:0")) == {"the power limit": 2.0, "heat": 2.0}


def test_without_nvml_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuState.now(torch.device("cuda:0")) == GpuState()
    assert GpuState().flags() == []
    assert held_down(torch.device("cuda:0")) == {}
    assert near_cores(torch.device("cuda:0")) == set()


def test_foreign_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * gib)
    assert foreign_memory(torch.device("cuda:0")) == []
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    assert foreign_memory(torch.device("cuda:0")) == ["other processes use the GPU: 10.7 GB of it are taken"]

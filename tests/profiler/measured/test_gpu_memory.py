"""Peak memory on a GPU, by counters of one that is not there."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.profiler.measured import phases
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.execution import captured
from nas.profiler.measured.gpu_state import GpuState
from nas.profiler.measured.memory import peak_bytes, workspace_bytes
from nas.profiler.target import Target

GPU = torch.device("cuda:1")


class Allocator:
    """Hands out bytes, and remembers the most since it was asked to forget."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: self.forget())
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.most)

    def forget(self) -> None:
        self.most = self.now

    def take(self, count: int) -> None:
        self.now += count
        self.most = max(self.most, self.now)

    def run(self, activations: int) -> None:
        self.take(activations)
        self.take(-activations)


@pytest.mark.parametrize("graph", [False, True])
def test_a_captured_run_takes_what_its_capture_took(graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of 100 bytes and activations of 50; building takes 1000 in passing, as weights in
    float32 that become bfloat16. A replay takes nothing.
    """
    allocator, stream = Allocator(monkeypatch), SimpleNamespace(wait_stream=lambda other: None)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda device: stream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))

    def prepare() -> Callable[[], object]:
        allocator.take(100)
        allocator.run(1000)
        run = partial(allocator.run, 50)
        return captured(run, GPU) if graph else run

    assert peak_bytes(prepare, GPU, warm=graph, captured=graph) == 150


@pytest.fixture
def workspaces(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    """Of 32 MiB for each stream that multiplies; a tensor takes 512 bytes while it lives."""
    allocator, taken, zeros = Allocator(monkeypatch), set[object](), torch.zeros

    def tensor(*shape: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        made = zeros(*shape, dtype=dtype)
        allocator.take(512)
        weakref.finalize(made, allocator.take, -512)
        return made

    def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if stream not in taken:
            taken.add(stream)
            allocator.take(2**25)
        return tensor(16, 16, device=GPU, dtype=a.dtype)

    stream: object = "default"

    def on(other: object) -> Any:
        nonlocal stream
        stream = other
        return nullcontext()

    monkeypatch.setattr(torch, "zeros", tensor)
    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocator.now)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2 * allocator.most)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    monkeypatch.setattr(torch.cuda, "stream", on)
    return allocator


def test_a_workspace_is_what_a_new_stream_keeps_of_a_product(workspaces: Allocator) -> None:
    workspaces.take(1000)
    torch.mm(torch.ones(16, 16), torch.ones(16, 16))  # as a network has done on the default stream
    assert [workspace_bytes(GPU, torch.bfloat16) for _ in range(2)] == [2**25, 2**25]


def test_the_record_tells_the_workspace_beside_the_peak_that_it_does_not_change(
    workspaces: Allocator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, bool]] = []

    def peak(prepare: object, device: torch.device, warm: bool, captured: bool = False) -> int:
        asked.append((warm, captured))
        workspaces.run(10**9)
        return workspaces.most

    monkeypatch.setattr(phases, "peak_bytes", peak)
    monkeypatch.setattr("nas.profiler.measured.device.resolve_device", lambda name: GPU)
    monkeypatch.setattr(GpuState, "now", lambda device: GpuState(process_bytes=None))  # as in a container
    found = phases._memory(Target(None, "unused", ()), Conditions("cuda:1", "bf16", 1, 1), None)
    assert found == phases.Memory(10**9, 2 * 10**9, None, 2**25)
    phases._memory(Target(None, "unused", ()), Conditions("cuda:1", "bf16", 1, 1, cuda_graph=True), None)
    assert asked == [(False, False), (True, True)]  # of a graph it is the capture that counts

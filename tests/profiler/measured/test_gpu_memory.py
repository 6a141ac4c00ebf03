"""Peak memory on a GPU, by counters of one that is not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nas.profiler.measured.memory import peak_bytes

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


@pytest.mark.parametrize(("captured", "expected"), [(False, 150), (True, 150)])
def test_a_captured_run_takes_what_its_capture_took(
    captured: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of 100 bytes and activations of 50; building takes 1000 in passing, unless captured.
    A replay takes nothing.
    """
    allocator = Allocator(monkeypatch)

    def prepare() -> Callable[[], object]:
        allocator.take(100)
        if captured:
            allocator.run(50)
            return lambda: None
        allocator.run(1000)
        return lambda: allocator.run(50)

    assert peak_bytes(prepare, GPU, warm=captured, captured=captured) == expected

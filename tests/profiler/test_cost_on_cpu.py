"""The meta device stands for real tensors: a forward on the CPU costs the same."""

from __future__ import annotations

import pytest
import torch

from nas.models.network import build
from nas.profiler.cost import cost, trace
from nas.space import SearchSpace


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [("hybrid", 6, (72, 56)), ("conv", 5, (40, 56)), ("vit", 4, (64, 48)), ("tiny", 5, (40, 36))],
)
def test_a_forward_on_the_cpu_multiplies_and_keeps_what_the_cost_says(
    name: str, frames: int, size: tuple[int, int]
) -> None:
    """Layouts on the meta device could differ, and with them the copies that autograd keeps."""
    space = SearchSpace.load(name)
    for seed in range(4):
        architecture = space.sample(seed).resized(frames, size)
        record, figures = trace(build(architecture), torch.randn(1, 3, frames, *size)), cost(architecture)
        assert (record.macs, record.params) == (figures.macs, figures.params)
        assert record.activation_bytes == figures.activation_bytes

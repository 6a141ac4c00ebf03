"""Tensors without numbers stand for real ones: a real pass multiplies, keeps and holds the same."""

from __future__ import annotations

import pytest
import torch
from real_passes import real_pass
from torch.utils.flop_counter import FlopCounterMode

from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("hybrid", 6, (72, 56)),
        ("conv", 5, (40, 56)),
        ("vit", 4, (64, 48)),
        ("swin", 4, (64, 48)),
        ("tiny", 5, (40, 36)),
    ],
)
def test_a_pass_on_the_cpu_multiplies_keeps_and_holds_what_the_cost_says(
    name: str, frames: int, size: tuple[int, int]
) -> None:
    space = SearchSpace.load(name)
    for seed in range(3):
        architecture = space.sample(seed).resized(frames, size)
        module, clip = build(architecture), torch.randn(1, 3, frames, *size)
        figures = cost(architecture)
        inference, _ = real_pass(module, clip, training=False)
        step, kept = real_pass(module, clip, training=True)
        assert figures.activation_bytes == kept
        assert figures.inference_bytes == inference
        assert figures.step_bytes == step
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            build(architecture, device="meta")(clip.to("meta"))
        assert counter.get_total_flops() == 2 * figures.macs

"""The mixed search space: its candidates build, are priced and train."""

from __future__ import annotations

import os
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F

from nas.architecture import Architecture
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.space import Hole, Label, SearchSpace

SEARCHED = (
    "t2d",
    "tps",
    "factorized",
    "channel_attention",
    "sparse_tube",
    "d2plus1d",
    "joint_filter",
)  # what the layers of hybrid choose between


SAMPLES = int(os.environ.get("NAS_TEST_SAMPLES", "30"))  # some 400 kinds of layers


def test_random_candidates_build_and_are_priced() -> None:
    """Pricing builds every part on the meta device, equal parts once; every tenth candidate is
    built whole as well.
    """
    space = SearchSpace.load("hybrid")
    for seed in range(SAMPLES):
        architecture = space.sample(seed)
        figures = cost(architecture)
        assert figures.macs > 0 and figures.activation_bytes > 0
        if seed % 10 == 0:
            network = build(architecture, device="meta")
            assert sum(p.numel() for p in network.parameters()) == figures.params


def candidates() -> list[Architecture]:
    """Candidates of the least widths that together have every operator in every stage, each with a
    pair that those before it lack.
    """
    space, rng = SearchSpace.load("hybrid").with_classes(5), np.random.default_rng(0)

    def choose(hole: Hole) -> Label:
        return hole.values[0 if hole.name.endswith("width") else int(rng.integers(len(hole.values)))]

    missing = {(stage, op) for stage in range(4) for op in SEARCHED}
    chosen: list[Architecture] = []
    for _ in count():
        _, architecture = space.complete(choose)
        pairs = {(s, layer.op) for s, stage in enumerate(architecture.stages) for layer in stage.layers}
        if pairs & missing:
            chosen.append(architecture)
            missing -= pairs
        if not missing:
            return chosen
    raise AssertionError


def test_candidates_with_every_operator_in_every_stage_train() -> None:
    """One step of two clips of 4x32x32: every parameter gets a finite gradient."""
    torch.manual_seed(0)
    for architecture in candidates():
        network = build(architecture.resized(4, 32))
        loss = F.cross_entropy(network(torch.randn(2, 3, 4, 32, 32)), torch.tensor([0, 1]))
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (architecture.hash, name)

"""The spaces that ship with the package."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from space_documents import SHIPPED

from nas.space import SearchSpace

# Of the names and values of all holes, in order, and of the size. Hybrid and conv have grown since:
# a run has its own copy of its space.
HOLES = {
    "swin": "ab1182190f463f74",
    "vit": "240963c9c6d90bd7",
    "tiny": "5a817f3081e1a7e7",
}


@pytest.mark.parametrize("name", HOLES)
def test_a_run_of_the_first_version_finds_the_holes_that_its_trials_are_stored_with(name: str) -> None:
    s = SearchSpace.load(name)
    listed: list[Any] = [[hole.name, list(hole.values)] for hole in s.holes]
    text = json.dumps([*listed, str(s.size)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == HOLES[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_combination_of_a_shipped_space_can_be_built(name: str) -> None:
    s, rng = SearchSpace.load(name), np.random.default_rng(0)
    known = {hole.name: hole.values for hole in s.holes}
    assert len(known) == len(s.holes)
    hashes = set()
    for _ in range(1000):
        # `complete`, and not `sample`, which would draw again
        params, architecture = s.complete(lambda hole: hole.values[int(rng.integers(len(hole.values)))])
        assert params.keys() <= known.keys()
        hashes.add(architecture.hash)
    assert len(hashes) > 990


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("hybrid", {"t2d", "tps", "factorized", "channel_attention", "sparse_tube", "d2plus1d", "joint_filter"}),
        ("tiny", {"t2d", "tps", "factorized", "sparse_tube", "d2plus1d", "joint_filter"}),
        ("conv", {"d2plus1d", "x3d", "e3d", "joint_filter", "r2plus1d", "full3d"}),
    ],
)
def test_every_layer_of_these_chooses_among_these_operators(name: str, operators: set[str]) -> None:
    choices = [hole for hole in SearchSpace.load(name).holes if hole.name.endswith(".op") and ".layers." in hole.name]
    assert choices
    assert all(set(hole.values) == operators for hole in choices)


@pytest.mark.parametrize("name", ["hybrid", "tiny", "conv"])
def test_the_cheapest_and_the_largest_corner_resize_to_a_proxy_input(name: str) -> None:
    s = SearchSpace.load(name)
    for _, architecture in (s.complete(lambda hole: hole.values[0]), s.complete(lambda hole: hole.values[-1])):
        assert architecture.resized(frames=4, size=32).input.frames == 4

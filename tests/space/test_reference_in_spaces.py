"""Published networks are points of the space of their family; the candidates of these spaces are
priced and train.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.architecture import Architecture, load
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.resources import resource_names
from nas.space import SearchSpace

REFERENCES = {
    "vit": (
        *("t2d_b16", "t2d_b16_32f", "tubevit_b", "tubevit_l", "tubevit_h", "tubevit_b_64f"),
        *("vivit_b_m1", "vivit_b_m2", "vivit_b_m3", "vivit_b_m4", "timesformer_b"),
    ),
    "conv": (
        *("vov3d_m", "vov3d_l", "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "e3d_s", "e3d_m", "e3d_l"),
        *("r3d_18", "r2plus1d_18", "joint_r3d18_2_6", "joint_r3d18_3_6"),
    ),
    "swin": ("pst_t", "pst_b", "davit_t", "davit_t2d_t"),
}
INPUTS = {"vit": (32, (224, 224), 400), "conv": (16, (224, 224), 400), "swin": (32, (224, 224), 400)}
SPACES = {name: SearchSpace.load(name) for name in REFERENCES}


def brought_to(name: str, space: str) -> Architecture:
    """A reference network at the input and with the classes of a space."""
    return load(name).resized(*INPUTS[space])


def test_every_reference_network_has_a_space() -> None:
    assert sorted(name for names in REFERENCES.values() for name in names) == resource_names("search_spaces/reference")


@pytest.mark.parametrize("space", REFERENCES)
def test_candidates_have_the_input_that_the_references_are_brought_to(space: str) -> None:
    for seed in range(20):
        candidate = SPACES[space].sample(seed)
        assert (candidate.input.frames, candidate.input.size, candidate.num_classes) == INPUTS[space]


@pytest.mark.parametrize(("space", "name"), [(space, name) for space, names in REFERENCES.items() for name in names])
def test_a_reference_network_is_a_point_of_its_space(space: str, name: str) -> None:
    """At the space's input its windows and tubes are those published, and with exact widths it
    decodes as it was.
    """
    published, reference = load(name), brought_to(name, space)
    assert (reference.stem, reference.stages, reference.head) == (published.stem, published.stages, published.head)
    params = SPACES[space].params_of(reference)
    assert SPACES[space].decode(params).canonical() == reference.canonical()
    encoded = SPACES[space].encode(params)
    assert encoded.shape == SPACES[space].encode(SPACES[space].sample_params(np.random.default_rng(0))).shape
    assert np.isfinite(encoded).all() and encoded.any()


@pytest.mark.parametrize("space", REFERENCES)
def test_different_references_of_a_space_have_different_vectors(space: str) -> None:
    points = [brought_to(name, space) for name in REFERENCES[space]]
    vectors = {SPACES[space].encode(SPACES[space].params_of(point)).tobytes() for point in points}
    assert len(vectors) == len({point.canonical() for point in points})


@pytest.mark.parametrize("space", REFERENCES)
def test_every_combination_can_be_built(space: str) -> None:
    """`complete`, and not `sample`, which would draw again."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        SPACES[space].complete(lambda hole: hole.values[int(rng.integers(len(hole.values)))])


@pytest.mark.parametrize("space", REFERENCES)
def test_a_reference_network_mutates(space: str) -> None:
    rng = np.random.default_rng(0)
    for name in REFERENCES[space]:
        params = SPACES[space].params_of(brought_to(name, space))
        changed = SPACES[space].decode(SPACES[space].mutate(params, rng))
        assert changed.canonical() != brought_to(name, space).canonical()


@pytest.mark.parametrize(("space", "count"), [("vit", 50), ("conv", 15), ("swin", 20)])
def test_candidates_are_priced(space: str, count: int) -> None:
    """As many as take a few seconds: each has up to 50 layers that no other one has."""
    for seed in range(count):
        figures = cost(SPACES[space].sample(seed))
        assert figures.macs > 0 and figures.params > 0 and figures.activation_bytes > 0


@pytest.mark.parametrize(
    ("space", "frames", "size", "document"),
    [
        *(("vit", 4, 32, name) for name in ("patch", "class_token", "factorized_encoder", "tube", "tube_large")),
        *(("swin", 4, 32, name) for name in ("w96", "w128")),
        ("conv", 4, 32, None),
    ],
)
def test_a_candidate_of_every_document_trains(space: str, frames: int, size: int, document: str | None) -> None:
    """One step of two clips: every parameter gets a finite gradient. Holes of numbers are at their
    smallest.
    """
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    _, candidate = SPACES[space].complete(
        lambda hole: (
            document
            if hole.name == "name"
            else min(hole.values)  # type: ignore[type-var]
            if hole.numeric
            else hole.values[int(rng.integers(len(hole.values)))]
        )
    )
    network = build(candidate.resized(frames, size, 5))
    loss = F.cross_entropy(network(torch.randn(2, 3, frames, size, size)), torch.tensor([0, 1]))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name

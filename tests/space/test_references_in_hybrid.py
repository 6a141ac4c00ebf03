"""The published networks that the limits of a search in hybrid are about are points of it, but for
what a stage fixes.
"""

from __future__ import annotations

import pytest

from nas.architecture import Architecture, load
from nas.profiler.computed.cost import cost
from nas.space import Hole, Label, SearchSpace

HYBRID = SearchSpace.load("hybrid")


def nearest(reference: Architecture) -> Architecture:
    """The point of hybrid that has the reference's values wherever it may, and else the first."""

    def choose(hole: Hole) -> Label:
        at: object = reference
        for key in hole.name.split("."):
            if key == "repeat" and isinstance(at, tuple):
                at = len(at)
            elif isinstance(at, tuple):
                at = at[int(key)]
            elif key != getattr(at, "op", None):  # below a choice the path carries the label of the option
                at = getattr(at, key, None)
        label = "x".join(map(str, at)) if isinstance(at, tuple) else at
        return label if label in hole.values else hole.values[0]  # type: ignore[return-value]

    return HYBRID.complete(choose)[1]


def brought(name: str) -> Architecture:
    return load(name).resized(32, (224, 224), 400)


@pytest.mark.parametrize("name", ["davit_t2d_t", "pst_t", "vov3d_l"])
def test_a_published_network_is_inside_with_every_operator_width_and_depth(name: str) -> None:
    reference = brought(name)
    point = nearest(reference)
    for found, wanted in zip(point.stages, reference.stages, strict=True):
        assert found.width == wanted.width
        assert [layer.op for layer in found.layers] == [layer.op for layer in wanted.layers]
    maps = [[str(part.output) for part in each.parts() if part.path.endswith(".0")] for each in (point, reference)]
    assert maps[0] == maps[1]  # of the first layer of every stage


def test_davit_t2d_t_is_inside_but_for_its_windows_at_14x14() -> None:
    reference, point = brought("davit_t2d_t"), nearest(brought("davit_t2d_t"))
    assert point.stem == reference.stem
    assert point.stages[:2] == reference.stages[:2]
    assert [layer.model_dump() | {"window": None} for layer in point.stages[2].layers if layer.op == "t2d"] == [
        layer.model_dump() | {"window": None} for layer in reference.stages[2].layers if layer.op == "t2d"
    ]
    assert cost(point).macs == pytest.approx(cost(reference).macs, rel=0.03)


@pytest.mark.parametrize(("name", "within"), [("pst_t", 0.01), ("vov3d_l", 0.5)])
def test_the_nearest_points_cost_what_the_networks_cost(name: str, within: float) -> None:
    """VoV3D strides inside of its blocks, so the first of each stage is dearer."""
    assert cost(nearest(brought(name))).macs == pytest.approx(cost(brought(name)).macs, rel=within)


def test_a_limit_of_100_gflops_halves_the_space() -> None:
    macs = [cost(HYBRID.sample(seed)).macs for seed in range(100)]
    assert 1 / 3 < sum(each <= 100e9 for each in macs) / len(macs) < 2 / 3

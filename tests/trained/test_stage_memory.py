"""Memory of a step in each stage of a recipe."""

from __future__ import annotations

import pytest
import torch
from real_passes import real_pass

from nas.architecture import Architecture, load
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.trained.stage_memory import stage_memory
from nas.training.recipe import WHOLE, Stage

TEMPORAL, SPATIAL = Stage(size=0.5, fixed=("spatial",)), Stage(frames=0.5, fixed=("temporal",))
NETWORK = {
    "input": {"frames": 4, "size": 16},
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
    "stages": [{"width": 8, "layers": [{"op": "joint_filter"}, {"op": "joint_filter"}]}],
    "head": {"op": "mean"},
}


@pytest.mark.parametrize(
    ("stage", "clip", "fixed"),
    [
        (WHOLE, (4, 16), "nothing"),
        (TEMPORAL, (4, 8), "spatial_atoms"),
        (SPATIAL, (2, 16), "temporal_atoms"),
        (Stage(fixed=("spatial",)), (4, 16), "spatial_atoms"),
    ],
)
def test_a_step_of_a_stage_holds_what_a_real_one_does(stage: Stage, clip: tuple[int, int], fixed: str) -> None:
    """Beside weights and two moments of all of them; in micro-batches, the gradients so far."""
    network = Architecture.parse(NETWORK)
    module = build(network)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not name.endswith(fixed))
    frames, size = clip
    real_pass(module, torch.randn(3, 3, frames, size, size), training=False)  # the first of a process sets up more
    peak, _ = real_pass(module, torch.randn(3, 3, frames, size, size), training=True)
    weights = cost(network).parameter_bytes
    assert stage_memory(network, stage, 3, 3) == peak + 3 * weights
    assert stage_memory(network, stage, 6, 3) == peak + 4 * weights


def test_what_a_further_clip_takes_falls_as_its_pixels_do() -> None:
    """To a quarter at half the size and to half of it at half the frames, in the network of the
    paper; what does not depend on the clips, weights above all, falls hardly.
    """
    network = load("joint_r3d18_3_6")
    whole, temporal, spatial = (
        (stage_memory(network, stage, 24, 24) - stage_memory(network, stage, 16, 16)) / 8
        for stage in (WHOLE, TEMPORAL, SPATIAL)
    )
    assert whole / temporal == pytest.approx(4, rel=0.02)
    assert whole / spatial == pytest.approx(2, rel=0.02)

"""Published networks as documents: parameters and multiply-adds of the papers.

What a document cannot say yet is added by hand, and named.
"""

from __future__ import annotations

from typing import Any

import pytest

from nas.architecture import Architecture
from nas.profiler.cost import Cost, cost

CLASSIFIER = 400


def figures_of(frames: int, stem: dict[str, Any], stages: list[dict[str, Any]], norm: str) -> Cost:
    data = {"input": {"frames": frames}, "stem": stem, "stages": stages, "head": {"op": "mean", "norm": norm}}
    return cost(Architecture.parse(data))


def test_vov3d_l() -> None:
    """6,297,168 parameters and 9,306,094,848 convolution multiply-adds at 16x224x224, the linear layer not included."""
    downsample = {"op": "in_layer", "stride": [1, 2, 2]}
    stages = [
        {"width": width, "downsample": downsample, "layers": [{"op": "d2plus1d"}] * depth}
        for width, depth in ((24, 1), (48, 2), (96, 5), (192, 3))
    ]
    stem = {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2], "temporal_kernel": 5}
    figures = figures_of(16, stem, stages, "none")
    # Its head: conv 192 -> 384 with BN on 16x7x7, mean, conv 384 -> 2048, linear. Ours: linear alone.
    convolutions = figures.macs - 192 * CLASSIFIER
    assert convolutions + 192 * 384 * 16 * 7 * 7 + 384 * 2048 == 9_306_094_848
    backbone = figures.params - (192 + 1) * CLASSIFIER
    assert backbone + 192 * 384 + 2 * 384 + 384 * 2048 + (2048 + 1) * CLASSIFIER == 6_297_168


def test_pst_t() -> None:
    """28,223,622 parameters without the classifier; about 72 GMACs at 32x224x224."""
    stages: list[dict[str, Any]] = []
    for i, depth in enumerate((2, 2, 6, 2)):
        even = {"op": "tps", "heads": 3 * 2**i, "shift": "channel"}
        odd = {"op": "tps", "heads": 3 * 2**i, "shift": "patch", "cyclic": True}
        downsample = {"op": "conv", "stride": [1, 2, 2]} if i else None
        stages.append({"width": 96 * 2**i, "downsample": downsample, "layers": [even, odd] * (depth // 2)})
    stem = {"op": "patch", "size": [2, 4, 4], "position": "none", "norm": True}
    figures = figures_of(32, stem, stages, "before")
    backbone = figures.params - (768 + 1) * CLASSIFIER
    # Swin merges patches by a LayerNorm of 4C and a linear layer without bias; ours has a LayerNorm of C and a bias.
    assert backbone + sum(2 * 4 * c - 2 * c - 2 * c for c in (96, 192, 384)) == 28_223_622
    assert figures.macs == pytest.approx(72e9, rel=0.01)


def vit_b(variant: str, frames: int, tubelet: int, position: str) -> Cost:
    layer = {"op": "factorized", "variant": variant, "heads": 12, "activation": "gelu_tanh"}
    stem = {"op": "patch", "size": [tubelet, 16, 16], "position": position}
    return figures_of(frames, stem, [{"width": 768, "layers": [layer] * 12}], "before")


def test_timesformer() -> None:
    """121.57M parameters, 195.83 GMACs at 8x224x224; its class token and the position of that are not in ours."""
    figures = vit_b("divided", frames=8, tubelet=1, position="factorized")
    assert round((figures.params + 2 * 768) / 1e6, 2) == 121.57
    assert figures.macs == pytest.approx(195.83e9, rel=0.002)


@pytest.mark.parametrize(
    ("variant", "params", "gmacs"),
    [("joint", 88.9, 455.2), ("self_attention", 117.3, 372.3), ("dot_product", 88.9, 277.1)],
)
def test_vivit_models_1_3_and_4(variant: str, params: float, gmacs: float) -> None:
    """Parameters to the digit printed (truncated), multiply-adds within 1 %: the paper counts a little more."""
    figures = vit_b(variant, frames=32, tubelet=2, position="joint")
    assert int(figures.params / 1e5) / 10 == params
    assert figures.macs == pytest.approx(gmacs * 1e9, rel=0.01)

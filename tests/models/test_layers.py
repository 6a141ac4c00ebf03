"""Operators: convolutions carry stride and width, and all cost what their formulas say.

What each computes is in tests/models/layers; that all train, autocast, compile, export and save in
test_robustness.py.
"""

from typing import Any

import pytest
import torch
from torch import nn

from nas.architecture import LAYERS, Architecture
from nas.models.mlp import ACTIVATIONS
from nas.models.network import build
from nas.profiler.computed.cost import cost

STRIDED = {kind.op_name() for kind in LAYERS.types() if kind.strides_allowed}
TUBES = [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}, {"kernel": [3, 1, 1], "stride": [3, 2, 2], "offset": [0, 1, 1]}]
CONVOLUTIONS: list[dict[str, Any]] = [
    {"op": "d2plus1d", "modules": 3, "kernel": 5},
    {"op": "joint_filter"},
    {"op": "joint_filter", "execution": "factored", "temporal_atoms": 2},
    {"op": "full3d", "temporal_kernel": 5},
    {"op": "r2plus1d"},
    {"op": "x3d"},
]


def document(
    layer: dict[str, Any], frames: int = 5, size: tuple[int, int] = (20, 28), width: int = 32
) -> dict[str, Any]:
    heads = {} if layer["op"] in STRIDED else {"heads": 2}
    return {
        "input": {"frames": frames, "size": list(size)},
        "num_classes": 3,
        "stem": {"op": "conv"},
        "stages": [{"width": 32, "layers": [{**heads, **layer}]}],
    }


def strided_document(layer: dict[str, Any], stride: tuple[int, int, int], width: int = 48) -> dict[str, Any]:
    """A 5x5x7 map of width 32, then the layer with this stride and a new width as
    `stages.1.layers.0`.
    """
    data = document({"op": "full3d"})
    data["stages"].append(
        {"width": width, "downsample": {"op": "in_layer", "stride": list(stride)}, "layers": [layer, layer]}
    )
    return data


def strided_layer(layer: dict[str, Any], stride: tuple[int, int, int], width: int = 48) -> nn.Module:
    torch.manual_seed(0)
    network = build(Architecture.parse(strided_document(layer, stride, width))).double()
    return network.parts["stages_1_layers_0"]


def spread(block: nn.Module) -> None:
    """Draws every parameter anew, so that no zero or one of the initialisation hides a term."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)


def test_every_convolution_is_listed() -> None:
    assert {layer["op"] for layer in CONVOLUTIONS} == STRIDED


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: "-".join(map(str, layer.values())))
def test_convolutions_carry_stride_and_width(layer: dict[str, Any], stride: tuple[int, int, int]) -> None:
    """Sizes are rounded up: 5x5x7 becomes 3x3x4 at stride 2."""
    block = strided_layer(layer, stride)
    spread(block)
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64, requires_grad=True)
    y = block(x)
    assert y.shape == (2, *(-(-n // s) for n, s in zip((5, 5, 7), stride, strict=True)), 48)
    assert y.is_contiguous()
    y.square().sum().backward()
    assert x.grad is not None and all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    clip = torch.empty(2, 3, 5, 20, 28, device="meta")
    assert build(Architecture.parse(strided_document(layer, stride)), device="meta")(clip).shape == (2, 3)


def test_activations_at_one() -> None:
    """Phi(1); tanh(sqrt(2 / pi) 1.044715) halved plus a half; sigmoid(1.702)."""
    values = {"gelu": 0.841345, "gelu_tanh": 0.841192, "quick_gelu": 0.845796}
    assert {name: round(make()(torch.tensor(1.0)).item(), 6) for name, make in ACTIVATIONS.items()} == values


D, N, T, H, W = 32, 5 * 5 * 7, 5, 5, 7
# LayerNorms, qkv, projection and an MLP of ratio 4, of which only the weights multiply.
BLOCK, BLOCK_PARAMS = 12 * D * D * N, 12 * D * D + 13 * D
ATTENTION, NORM = 4 * D * D + 4 * D, 2 * D  # parameters of qkv with projection, and of a norm
SPACE, PLANES = 2 * N * D * H * W, 2 * N * D * (T * H + T * W)
COMPOSE = 3 * 6 * 3 + 3 * 6 * 9  # per channel pair: temporal atoms first, then spatial ones
FILTER_PARAMS = 3 * 6 * D * D + 3 * 3 + 6 * 9
# In windows of (2, 3, 4) the 5x5x7 map is padded to 5x6x8 for the XY plane, 6x6x7 for TH and 6x5x8
# for TW.
XY, TH, TW = 5 * 6 * 8, 6 * 6 * 7, 6 * 5 * 8
W3 = 5 * 6 * 9  # the map padded to windows of 3x3

CLOSED_FORMS: list[tuple[dict[str, Any], int, int]] = [
    # layer, multiply-adds, parameters
    ({"op": "t2d"}, BLOCK + 4 * D * D * N + SPACE + PLANES, BLOCK_PARAMS + ATTENTION + D),
    (
        {"op": "t2d", "variant": "separate"},
        BLOCK + 8 * D * D * N + SPACE + PLANES,
        BLOCK_PARAMS + 2 * ATTENTION + D,
    ),
    ({"op": "t2d", "variant": "fused"}, BLOCK + SPACE + PLANES, BLOCK_PARAMS + D),
    ({"op": "t2d", "variant": "2d"}, BLOCK + SPACE, BLOCK_PARAMS),
    ({"op": "t2d", "variant": "2d+1d"}, BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T, BLOCK_PARAMS + ATTENTION + D),
    ({"op": "t2d", "variant": "3d"}, BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        # Padded before qkv in the image branch, after it in the temporal planes.
        {"op": "t2d", "window": [2, 3, 4]},
        3 * D * D * XY + 13 * D * D * N + 2 * D * (XY * 3 * 4 + TH * 2 * 3 + TW * 2 * 4),
        BLOCK_PARAMS + ATTENTION + D,
    ),
    (
        {"op": "factorized", "variant": "divided"},
        BLOCK + 5 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM + D * D + D,
    ),
    (
        {"op": "factorized", "variant": "self_attention"},
        BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    ({"op": "factorized", "variant": "dot_product"}, BLOCK + N * D * (H * W + T), BLOCK_PARAMS),
    ({"op": "factorized", "variant": "joint"}, BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        {"op": "factorized", "variant": "self_attention", "window": 3},
        3 * D * D * W3 + 13 * D * D * N + 2 * D * (W3 * 9 + N * T),
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    # A Swin block, at no multiply-adds for the shift; its table has (2T-1)(2wh-1)(2ww-1) rows for
    # each of 2 heads.
    ({"op": "tps", "window": [5, 7]}, BLOCK + SPACE, BLOCK_PARAMS + 9 * 9 * 13 * 2),
    ({"op": "tps", "window": 3}, 3 * D * D * W3 + 9 * D * D * N + 2 * D * W3 * 9, BLOCK_PARAMS + 9 * 5 * 5 * 2),
    ({"op": "factorized", "variant": "space"}, BLOCK + SPACE, BLOCK_PARAMS),
    # Two groups of 16 channels: matrices of 16x16 over all tokens.
    ({"op": "channel_attention"}, BLOCK + 2 * N * D * 16, BLOCK_PARAMS),
    (
        # Position encodings before attention and MLP: a depthwise 3x3 convolution with bias on each
        # of three planes.
        {"op": "channel_attention", "cpe": "3d"},
        BLOCK + 2 * N * D * 16 + 2 * 3 * 9 * D * N,
        BLOCK_PARAMS + 2 * 3 * 10 * D,
    ),
    ({"op": "t2d", "variant": "2d", "cpe": "2d"}, BLOCK + SPACE + 2 * 9 * D * N, BLOCK_PARAMS + 2 * 10 * D),
    (
        # Inner width int(2.25 32) = 72: 1x1x1, 3x3x3 on each channel, SE of 8, 1x1x1.
        {"op": "x3d"},
        N * (D * 72 + 27 * 72 + 72 * D) + 2 * 72 * 8,
        2 * D * 72 + 27 * 72 + (2 * 72 * 8 + 72 + 8) + 2 * (72 + 72 + D),
    ),
    (
        # Between space and time 27 32 32 / (9 32 + 3 32) = 72 channels with a BN.
        {"op": "r2plus1d"},
        2 * N * (9 * D * 72 + 3 * 72 * D),
        2 * (9 * D * 72 + 3 * 72 * D + 2 * 72 + NORM),
    ),
    ({"op": "full3d"}, 2 * 27 * D * D * N, 2 * 27 * D * D + 2 * NORM),
    ({"op": "joint_filter"}, 2 * (27 * D * D * N + D * D * COMPOSE), 2 * (FILTER_PARAMS + NORM)),
    (
        {"op": "joint_filter", "execution": "factored"},
        2 * N * (D * 3 * 3 + D * 18 * 9 + D * D * 18),
        2 * (FILTER_PARAMS + NORM),
    ),
    (
        # One module of E = 64: 1x1x1, 1x3x3, 3x1x1, SE of 8, 1x1x1; then 32 + 32 channels
        # aggregated.
        {"op": "d2plus1d", "modules": 1},
        N * (D * 64 + 64 * 12 + 64 * 32 + 64 * D) + 2 * 64 * 8,
        3 * 64 * 32 + 64 * 12 + (2 * 64 * 8 + 64 + 8) + 2 * (64 + 64 + 32 + 32),
    ),
    (
        # 18 tube tokens: their convolutions, q and projection of all cells, k and v of the tokens,
        # QK and AV, the MLP.
        {"op": "sparse_tube", "tubes": TUBES},
        D * D * (12 * 8 + 6 * 3) + 10 * D * D * N + 2 * D * D * 18 + 2 * N * 18 * D,
        BLOCK_PARAMS + (8 + 3) * D * D + 2 * D,
    ),
]


@pytest.mark.parametrize(
    ("layer", "macs", "params"),
    CLOSED_FORMS,
    ids=["-".join(str(v) for v in layer.values() if v is not TUBES) for layer, _, _ in CLOSED_FORMS],
)
def test_cost_equals_the_closed_form(layer: dict[str, Any], macs: int, params: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(document(layer))).layers}
    assert (rows["stages.0.layers.0"].macs, rows["stages.0.layers.0"].params) == (macs, params)


# Stride 2 from 5x5x7 to 3x3x4 and width 32 to 48, with a pointwise convolution in the shortcut.
N2, E = 3 * 3 * 4, 48
SHORT = D * E * N2


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        ({"op": "full3d"}, 27 * (D + E) * E * N2 + SHORT),
        # 27 32 48 / (9 32 + 3 48) = 96 channels between space at 5x3x4 and time at 3x3x4.
        ({"op": "r2plus1d"}, 96 * (9 * D * 5 * 3 * 4 + 9 * E * N2 + 2 * 3 * E * N2) + SHORT),
        # Inner width 108 with an SE of 8: expansion at 5x5x7, all else at 3x3x4.
        ({"op": "x3d"}, 108 * (D * N + 27 * N2 + E * N2 + 2 * 8) + SHORT),
        ({"op": "joint_filter"}, (D + E) * E * (27 * N2 + COMPOSE) + SHORT),
        (
            # Time first: temporal atoms at 3x5x7, spatial atoms at 3x3x4.
            {"op": "joint_filter", "execution": "factored"},
            9 * (D * 3 * 5 * 7 + E * N2) + 18 * (9 + E) * (D + E) * N2 + SHORT,
        ),
        (
            # Inner width 96: expansion at 5x5x7, space at 5x3x4, time at 3x3x4, SE of 8; the input
            # is not aggregated.
            {"op": "d2plus1d", "modules": 1},
            96 * (D * N + 9 * 5 * 3 * 4 + 3 * N2 + 2 * 8 + E * N2) + E * E * N2 + SHORT,
        ),
    ],
    ids=["full3d", "r2plus1d", "x3d", "composed", "factored", "d2plus1d"],
)
def test_multiply_adds_of_a_strided_layer(layer: dict[str, Any], macs: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(strided_document(layer, (2, 2, 2)))).layers}
    assert rows["stages.1.layers.0"].macs == macs

"""Operators: convolutions carry stride and width, and all cost what their formulas say.

What each computes is in tests/models/layers; that all train, autocast, compile, export and save in
test_robustness.py.
"""

from typing import Any

import pytest
import torch
from cases import Case, gathered, layer_cases
from torch import nn

from nas.architecture import LAYERS, Architecture, Full3D, LayerConfig
from nas.models.mlp import ACTIVATIONS
from nas.models.network import build
from nas.profiler.computed.cost import cost

CONVOLUTIONS = [
    case.config
    for case in layer_cases()
    if isinstance(case.config, LayerConfig) and case.config.strides_allowed and case.stride == (1, 1, 1)
]


def document(layer: LayerConfig) -> dict[str, Any]:
    """The layer on a 5x5x7 map of width 32."""
    return {
        "input": {"frames": 5, "size": [20, 28]},
        "num_classes": 3,
        "stem": {"op": "conv"},
        "stages": [{"width": 32, "layers": [layer]}],
    }


def named(value: Any) -> str:
    return str(Case(value)) if isinstance(value, LayerConfig) else ""


def strided_document(layer: LayerConfig, stride: tuple[int, int, int], width: int = 48) -> dict[str, Any]:
    """A 5x5x7 map of width 32, then the layer with this stride and a new width as
    `stages.1.layers.0`.
    """
    data = document(Full3D())
    data["stages"].append(
        {"width": width, "downsample": {"op": "in_layer", "stride": list(stride)}, "layers": [layer, layer]}
    )
    return data


def strided_layer(layer: LayerConfig, stride: tuple[int, int, int], width: int = 48) -> nn.Module:
    torch.manual_seed(0)
    network = build(Architecture.parse(strided_document(layer, stride, width))).double()
    return network.parts["stages_1_layers_0"]


def spread(block: nn.Module) -> None:
    """Draws every parameter anew, so that no zero or one of the initialisation hides a term."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: str(Case(layer)))
def test_convolutions_carry_stride_and_width(layer: LayerConfig, stride: tuple[int, int, int]) -> None:
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


@pytest.mark.parametrize(("layer", "macs", "params"), gathered("CLOSED_FORMS"), ids=named)
def test_cost_equals_the_closed_form(layer: LayerConfig, macs: int, params: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(document(layer))).layers}
    assert (rows["stages.0.layers.0"].macs, rows["stages.0.layers.0"].params) == (macs, params)


@pytest.mark.parametrize(("layer", "macs"), gathered("STRIDED_MACS"), ids=named)
def test_multiply_adds_of_a_strided_layer(layer: LayerConfig, macs: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(strided_document(layer, (2, 2, 2)))).layers}
    assert rows["stages.1.layers.0"].macs == macs


def test_every_operator_of_the_package_states_its_cost() -> None:
    assert {layer.op for layer, _, _ in gathered("CLOSED_FORMS")} == set(LAYERS.names())
    strided = {kind.op_name() for kind in LAYERS.types() if kind.strides_allowed}
    assert {layer.op for layer, _ in gathered("STRIDED_MACS")} == strided

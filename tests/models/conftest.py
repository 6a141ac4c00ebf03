"""Layers on a small odd map in double precision, and attention written out to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.architecture import LayerConfig, Part, Shape
from nas.models.network import build_part

MAP = Shape(frames=5, height=6, width=9, channels=32)


@pytest.fixture
def make_layer() -> Callable[..., Any]:
    """Builds a layer in float64 on a 5x6x9 map of 32 channels: `make_layer(config, shape, width=,
    stride=)`.
    """

    def make(
        config: LayerConfig, shape: Shape = MAP, width: int | None = None, stride: tuple[int, int, int] = (1, 1, 1)
    ) -> Any:
        output = shape.strided(stride, width or shape.channels)
        config.check(output, "layer")
        torch.manual_seed(0)
        return build_part(Part("layer", config, shape, output, stride)).double()

    return make


@pytest.fixture
def x() -> Tensor:
    """Two clips of the map that `make_layer` builds for."""
    return torch.randn(2, *MAP.extent, MAP.channels, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def attention_over() -> Callable[[Tensor, str, int], Tensor]:
    """Multi-head attention of (B, T, H, W, 3C) among the cells that differ in some axes only: any
    of "thw".
    """

    def attention(qkv_BTHWC: Tensor, axes: str, heads: int) -> Tensor:
        q, k, v = (torch.unflatten(y, -1, (heads, -1)) for y in qkv_BTHWC.chunk(3, -1))
        key = "".join(a.upper() if a in axes else a for a in "thw")
        logits = torch.einsum(f"bthwnd,b{key}nd->bthwn{axes.upper()}", q, k) * q.shape[-1] ** -0.5
        weights = logits.flatten(5).softmax(-1).view_as(logits)
        return torch.einsum(f"bthwn{axes.upper()},b{key}nd->bthwnd", weights, v).flatten(-2)

    return attention

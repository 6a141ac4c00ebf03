"""E3D's block against its parts in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, STRIDED, Case, D, E, N
from torch import Tensor, nn

from nas.architecture import E3D, LayerConfig

Make = Callable[..., Any]
CASES = (Case(E3D()), Case(E3D(kernel=5, temporal_kernel=1)), Case(E3D(), **STRIDED), Case(E3D(), stride=(1, 2, 2)))
# Inner width 2 x 32 = 64: 1x1x1, 3x3x3 on each channel, 1x1x1.
CLOSED_FORMS = ((E3D(), N * (D * 64 + 27 * 64 + 64 * D), 2 * D * 64 + 27 * 64 + 2 * (64 + 64 + D)),)
# Inner width 96: expansion at 5x5x7, all else at 3x3x4, and nothing in the shortcut.
STRIDED_MACS = ((E3D(), 96 * (D * N + 27 * N2 + E * N2)),)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((E3D(), []),)


def normed(x: Tensor, norm: Any) -> Tensor:
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


def in_fours(maps: Tensor) -> Tensor:
    """Sums over 2x2 cells; at the far edges of an odd number of cells over two, or the corner."""
    height, width = maps.shape[3:]
    whole = F.pad(maps, (0, width % 2, 0, height % 2))
    return whole[..., ::2, ::2] + whole[..., 1::2, ::2] + whole[..., ::2, 1::2] + whole[..., 1::2, 1::2]


@pytest.mark.parametrize(
    ("width", "stride", "inner"), [(32, (1, 1, 1), 64), (32, (1, 2, 2), 64), (48, (1, 2, 2), 96), (48, (1, 1, 1), 96)]
)
def test_the_block(make_layer: Make, x: Tensor, width: int, stride: tuple[int, int, int], inner: int) -> None:
    layer = make_layer(E3D(), width=width, stride=stride)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    maps = x.permute(0, 4, 1, 2, 3)
    y = F.relu(normed(F.conv3d(maps, layer.expand.weight), layer.norm1))
    y = F.conv3d(y, layer.depthwise.weight, stride=stride, padding=1, groups=inner)
    y = normed(F.conv3d(F.relu(normed(y, layer.norm2)), layer.project.weight), layer.norm3)
    if width == 32:
        short = maps
        if stride != (1, 1, 1):
            short = in_fours(maps) / in_fours(torch.ones_like(maps))
        y = y + short
    assert torch.allclose(layer(x), F.relu(y).permute(0, 2, 3, 4, 1), atol=1e-9)


def test_it_starts_as_its_shortcut_where_it_has_one(make_layer: Make, x: Tensor) -> None:
    assert torch.equal(make_layer(E3D())(x), F.relu(x))
    assert make_layer(E3D(), width=48)(x).abs().sum() > 0  # else no gradient would pass

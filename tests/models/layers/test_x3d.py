"""X3D's block against its parts in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, SHORT, STRIDED, Case, D, E, N
from torch import Tensor, nn

from nas.architecture import X3D, LayerConfig

Make = Callable[..., Any]
CASES = (Case(X3D()), Case(X3D(excite=False, kernel=5)), Case(X3D(), **STRIDED))
CLOSED_FORMS = (
    (
        # Inner width int(2.25 32) = 72: 1x1x1, 3x3x3 on each channel, SE of 8, 1x1x1.
        X3D(),
        N * (D * 72 + 27 * 72 + 72 * D) + 2 * 72 * 8,
        2 * D * 72 + 27 * 72 + (2 * 72 * 8 + 72 + 8) + 2 * (72 + 72 + D),
    ),
)
# Inner width 108 with an SE of 8: expansion at 5x5x7, all else at 3x3x4.
STRIDED_MACS = ((X3D(), 108 * (D * N + 27 * N2 + E * N2 + 2 * 8) + SHORT),)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((X3D(), []), (X3D(excite=False), []))


def normed(x: Tensor, norm: Any) -> Tensor:
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


@pytest.mark.parametrize("excite", [True, False])
@pytest.mark.parametrize(("width", "stride"), [(32, (1, 1, 1)), (48, (1, 2, 2))])
def test_the_block(make_layer: Make, x: Tensor, excite: bool, width: int, stride: tuple[int, int, int]) -> None:
    layer = make_layer(X3D(excite=excite), width=width, stride=stride)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    maps = x.permute(0, 4, 1, 2, 3)
    inner = 72 if width == 32 else 108  # int(2.25 width)
    y = F.relu(normed(F.conv3d(maps, layer.expand.weight), layer.norm1))
    y = normed(F.conv3d(y, layer.depthwise.weight, stride=stride, padding=1, groups=inner), layer.norm2)
    if excite:
        mean = y.mean((2, 3, 4), keepdim=True)
        squeezed = F.relu(F.conv3d(mean, layer.excite.reduce.weight, layer.excite.reduce.bias))
        y = y * F.conv3d(squeezed, layer.excite.expand.weight, layer.excite.expand.bias).sigmoid()
    y = normed(F.conv3d(y * y.sigmoid(), layer.project.weight), layer.norm3)
    short = maps
    if stride != (1, 1, 1):
        short = normed(F.conv3d(maps, layer.shortcut[0].weight, stride=stride), layer.shortcut[1])
    assert torch.allclose(layer(x), F.relu(short + y).permute(0, 2, 3, 4, 1), atol=1e-9)


def test_it_starts_as_its_shortcut(make_layer: Make, x: Tensor) -> None:
    assert torch.equal(make_layer(X3D())(x), F.relu(x))

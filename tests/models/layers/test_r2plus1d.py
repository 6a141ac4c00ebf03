"""R(2+1)D's block against its parts in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, NORM, SHORT, STRIDED, Case, D, E, N
from torch import Tensor

from nas.architecture import LayerConfig, R2Plus1D

Make = Callable[..., Any]
CASES = (Case(R2Plus1D(temporal_kernel=5)), Case(R2Plus1D(), **STRIDED))
CLOSED_FORMS = (
    (
        # Between space and time 27 32 32 / (9 32 + 3 32) = 72 channels with a BN.
        R2Plus1D(),
        2 * N * (9 * D * 72 + 3 * 72 * D),
        2 * (9 * D * 72 + 3 * 72 * D + 2 * 72 + NORM),
    ),
)
# 27 32 48 / (9 32 + 3 48) = 96 channels between space at 5x3x4 and time at 3x3x4.
STRIDED_MACS = ((R2Plus1D(), 96 * (9 * D * 5 * 3 * 4 + 9 * E * N2 + 2 * 3 * E * N2) + SHORT),)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((R2Plus1D(), []),)


def normed(x: Tensor, norm: Any) -> Tensor:
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


@pytest.mark.parametrize(("width", "stride", "inner"), [(32, (1, 1, 1), 72), (48, (2, 2, 2), 96)])
def test_the_block(make_layer: Make, x: Tensor, width: int, stride: tuple[int, int, int], inner: int) -> None:
    """Inner width 27 I O // (9 I + 3 O) of the first convolution, in both: 72 of 32 -> 32, 96 of 32
    -> 48.
    """
    layer = make_layer(R2Plus1D(), width=width, stride=stride)
    maps = y = x.permute(0, 4, 1, 2, 3)
    for conv, norm, (t, s, _) in ((layer.conv1, layer.norm1, stride), (layer.conv2, layer.norm2, (1, 1, 1))):
        assert conv.space.weight.shape[0] == inner
        y = F.conv3d(y, conv.space.weight, stride=(1, s, s), padding=(0, 1, 1))
        y = F.conv3d(F.relu(normed(y, conv.norm)), conv.time.weight, stride=(t, 1, 1), padding=(1, 0, 0))
        y = normed(y, norm)
        y = F.relu(y) if conv is layer.conv1 else y
    short = maps
    if stride != (1, 1, 1):
        short = normed(F.conv3d(maps, layer.shortcut[0].weight, stride=stride), layer.shortcut[1])
    assert torch.allclose(layer(x), F.relu(short + y).permute(0, 2, 3, 4, 1), atol=1e-9)

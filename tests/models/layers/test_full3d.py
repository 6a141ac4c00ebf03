"""Full 3D: the basic residual block of R3D, against nn.Conv3d on (B, C, T, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, NORM, SHORT, STRIDED, Case, D, E, N
from torch import Tensor, nn

from nas.architecture import Full3D, LayerConfig

Make = Callable[..., Any]
CASES = (Case(Full3D(temporal_kernel=5)), Case(Full3D(), **STRIDED))
CLOSED_FORMS = ((Full3D(), 2 * 27 * D * D * N, 2 * 27 * D * D + 2 * NORM),)
STRIDED_MACS = ((Full3D(), 27 * (D + E) * E * N2 + SHORT),)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((Full3D(), []),)


@pytest.mark.parametrize(
    ("kernel", "width", "stride"),
    [((3, 3, 3), 32, (1, 1, 1)), ((3, 3, 3), 48, (2, 2, 2)), ((5, 3, 3), 48, (1, 1, 1)), ((1, 5, 5), 32, (1, 2, 2))],
)
def test_the_basic_block(
    make_layer: Make, x: Tensor, kernel: tuple[int, int, int], width: int, stride: tuple[int, int, int]
) -> None:
    """conv, BN, ReLU, conv, BN, + shortcut, ReLU; the shortcut is conv 1x1x1 and BN where width or
    size change.
    """
    block = make_layer(Full3D(kernel=kernel[1], temporal_kernel=kernel[0]), width=width, stride=stride)
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv1 = nn.Conv3d(32, width, kernel, stride, padding, bias=False).double()
    conv2 = nn.Conv3d(width, width, kernel, 1, padding, bias=False).double()
    short = nn.Conv3d(32, width, 1, stride, bias=False).double()
    conv1.weight, conv2.weight = block.conv1.weight, block.conv2.weight
    norm = nn.BatchNorm3d(width, affine=False).double()  # gamma 1 and beta 0 at the start
    c = x.permute(0, 4, 1, 2, 3)
    y = norm(conv2(F.relu(norm(conv1(c)))))
    if width == 32 and stride == (1, 1, 1):
        y = F.relu(y + c)
    else:
        short.weight = block.shortcut[0].weight
        y = F.relu(y + norm(short(c)))
    assert torch.allclose(block(x), y.permute(0, 2, 3, 4, 1), atol=1e-12)

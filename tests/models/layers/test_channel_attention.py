"""Channel attention against loops over groups and channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from cases import BLOCK, BLOCK_PARAMS, Case, D, N
from torch import Tensor

from nas.architecture import ChannelAttention

Make = Callable[..., Any]
SCALES: tuple[Any, ...] = (("head_dim", "none"), ("head_dim", "2d"), ("tokens", "none"), ("tokens", "3d"))
CASES = tuple(Case(ChannelAttention(heads=2, scale=scale, cpe=cpe)) for scale, cpe in SCALES)
CLOSED_FORMS = (
    # Two groups of 16 channels: matrices of 16x16 over all tokens.
    (ChannelAttention(heads=2), BLOCK + 2 * N * D * 16, BLOCK_PARAMS),
    (
        # Position encodings before attention and MLP: a depthwise 3x3 convolution with bias on each
        # of three planes.
        ChannelAttention(heads=2, cpe="3d"),
        BLOCK + 2 * N * D * 16 + 2 * 3 * 9 * D * N,
        BLOCK_PARAMS + 2 * 3 * 10 * D,
    ),
)
COPIES = ((ChannelAttention(heads=2), [1, 1, 1, 1]),)  # q, k, v by channels for the batched product, its output back


@pytest.mark.parametrize("scale", ["head_dim", "tokens"])
def test_the_two_scalings(make_layer: Make, x: Tensor, scale: Literal["head_dim", "tokens"]) -> None:
    """Image: A = softmax((k d^-0.5)^T v), out = (A q^T)^T. Video: A = softmax((q N^-0.5)^T k), out
    = (A v^T)^T.
    """
    layer = make_layer(ChannelAttention(heads=4, scale=scale))
    tokens, d = 5 * 6 * 9, 8
    qkv = F.linear(x, layer.qkv.weight, layer.qkv.bias).reshape(2, tokens, 3, 4, d)
    expected = torch.empty(2, tokens, 4, d, dtype=torch.float64)
    for b in range(2):
        for group in range(4):
            q, k, v = (qkv[b, :, i, group] for i in range(3))  # (N, d)
            if scale == "head_dim":
                matrix = torch.softmax((k * d**-0.5).T @ v, dim=-1)
                expected[b, :, group] = (matrix @ q.T).T
            else:
                matrix = torch.softmax((q * tokens**-0.5).T @ k, dim=-1)
                expected[b, :, group] = (matrix @ v.T).T
    expected = layer.proj(expected.reshape(2, 5, 6, 9, 32))
    assert torch.allclose(layer.attention(x), expected, atol=1e-10)


def test_position_encoding_sums_three_planes(make_layer: Make, x: Tensor) -> None:
    layer = make_layer(ChannelAttention(heads=4, cpe="3d"))
    maps = x.permute(0, 4, 1, 2, 3)
    expected = maps
    for conv, padding in zip(layer.cpe1.planes, ((0, 1, 1), (1, 0, 1), (1, 1, 0)), strict=True):
        expected = expected + F.conv3d(maps, conv.weight, conv.bias, padding=padding, groups=32)
    assert torch.allclose(layer.cpe1(x), expected.permute(0, 2, 3, 4, 1), atol=1e-10)


def test_the_block(make_layer: Make, x: Tensor) -> None:
    """x = CPE(x); x += attention(LN x); x = CPE(x); x += MLP(LN x)."""
    layer = make_layer(ChannelAttention(heads=2, cpe="2d"))
    y = layer.cpe1(x)
    y = layer.cpe2(y + layer.attention(layer.norm1(y)))
    assert torch.allclose(layer(x), y + layer.mlp(layer.norm2(y)), atol=1e-12)

"""Attention of many sequences, in as many calls as a GPU's kernels need."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nas.models.attention import attend_in_parts, sequences_per_call


@pytest.mark.parametrize(
    ("heads", "length", "head_dim", "most"),
    [
        # The grid of the kernels.
        (2, 16, 32, 65_535),
        # 12 heads of 98 tokens: 2^31 / (12 x 128 x 32) = 43,690.67.
        (12, 98, 24, 43_690),
        # 129 tokens are rounded up to 256, 48 numbers stay: 2^31 / (16 x 256 x 48) = 10,922.67.
        (16, 129, 48, 10_922),
        # One sequence is taken, however long.
        (8, 10**8, 64, 1),
    ],
)
def test_sequences_per_call(heads: int, length: int, head_dim: int, most: int) -> None:
    assert sequences_per_call(heads, length, head_dim) == most


@pytest.mark.parametrize("biases", [0, 1, 7])
def test_parts_are_the_whole(biases: int) -> None:
    """Seven sequences in calls of three, three and one."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, 2, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    bias = torch.randn(biases, 2, 5, 5, generator=generator, dtype=torch.float64) if biases else None
    torch.testing.assert_close(
        attend_in_parts(q, k, v, bias, most=3), F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    )

"""Attention of many sequences, in as many calls as a GPU's kernels need."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import TPS, Part, Shape
from nas.models import attention
from nas.models.attention import attend, attend_in_parts, sequences_per_call, window_attention
from nas.models.network import build_part


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


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("bias", [None, _random(2, 5, 5)])
def test_parts_are_the_whole(bias: Tensor | None) -> None:
    """Seven sequences in calls of three, three and one."""
    q, k, v = (_random(7, 2, 5, 4) * n for n in (1, 2, 3))
    torch.testing.assert_close(
        attend_in_parts(q, k, v, bias, most=3), F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor | None]]:
    """Queries and bias of every call of the fused kernel, as if on a GPU."""
    found: list[tuple[Tensor, Tensor | None]] = []
    kernel = F.scaled_dot_product_attention

    def noted(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        found.append((q, options["attn_mask"]))
        return kernel(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    monkeypatch.setattr(attention, "_on_gpu", lambda x: True)
    return found


def test_more_sequences_than_a_grid_has_are_split(calls: list[Any]) -> None:
    """100,352 of swin's first stage: 65,535 and the other 34,817."""
    x = torch.zeros(100_352, 2, 4)
    assert attend(x, x, x, heads=2).shape == (100_352, 2, 4)
    assert [len(q) for q, _ in calls] == [65_535, 34_817]


def test_more_heads_than_a_grid_has_are_split(calls: list[Any]) -> None:
    """32 frames of 784 windows in four heads, each with a bias: 65,535 and the other 34,817."""
    heads = 32 * 784 * 4
    q, k, v = (_random(1, 2, heads) * n for n in (1, 2, 3))
    bias = _random(heads, 2, 2)
    found = attend(q, k, v, heads, bias)
    assert [q.shape[1] for q, _ in calls] == [bias.shape[1] for _, bias in calls] == [65_535, 34_817]
    weights = q[0].T[:, :, None] * k[0].T[:, None]  # of heads of one number, (heads, 2, 2)
    expected = ((weights + bias).softmax(dim=-1) * v[0].T[:, None]).sum(dim=-1)
    torch.testing.assert_close(found[0].T, expected)


def test_one_key_is_answered_by_its_value(calls: list[Any]) -> None:
    qkv = _random(2, 3, 4, 5, 3, 8).requires_grad_()
    found = window_attention(qkv, 2, (1, 1, 1))
    assert torch.equal(found, qkv[..., 2, :]) and not calls
    found.sum().backward()
    assert qkv.grad is not None and qkv.grad.sum(dim=(0, 1, 2, 3, 5)).tolist() == [0, 0, 2 * 3 * 4 * 5 * 8]
    window_attention(qkv, 2, (1, 1, 2))
    assert len(calls) == 1


def test_heads_of_twelve_numbers_with_a_bias_are_filled_up_to_sixteen(calls: list[Any]) -> None:
    q, k, v = (_random(3, 5, 24).bfloat16() * n for n in (1, 2, 3))
    bias = _random(2, 5, 5).bfloat16()
    found = attend(q, k, v, 2, bias)
    assert [tuple(q.shape) for q, _ in calls] == [(3, 2, 5, 16)]
    q1, k1, v1 = (x.double().unflatten(-1, (2, 12)).transpose(1, 2) for x in (q, k, v))
    expected = F.scaled_dot_product_attention(q1, k1, v1, attn_mask=bias.double()[None])
    torch.testing.assert_close(found.double(), expected.transpose(1, 2).flatten(2), atol=0.05, rtol=0.02)
    attend(q.float(), k.float(), v.float(), 2, bias.float())  # in 32 bits twelve will do
    assert calls[-2][0].shape[-1] == 12


@pytest.mark.parametrize(
    ("options", "biases"),
    [({}, 4), ({"cyclic": True}, 4 * 6), ({"shift": "none"}, 1), ({"shift": "none", "cyclic": True}, 6)],
)
def test_a_bias_is_written_out_for_no_clip(options: dict[str, Any], biases: int, calls: list[Any]) -> None:
    """Four frames of 6x9 patches have six windows of 3x3 each: three clips take one bias."""
    shape = Shape(4, 6, 9, 32)
    part = Part("layer", TPS(heads=2, window=(3, 3), **options), shape, shape)
    build_part(part)(torch.randn(3, 4, 6, 9, 32))
    ((q, bias),) = calls
    assert q.numel() == 3 * 4 * 6 * 9 * 32 and q.shape[1] == 2 * biases
    assert tuple(bias.shape) == (1, 2 * biases, 9, 9)

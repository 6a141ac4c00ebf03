"""Factorized attention: divided (TimeSformer), self_attention, dot_product and joint (ViViT models
3, 4 and 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import ATTENTION, BLOCK, BLOCK_PARAMS, CLIP_TOKEN, FRAME_TOKENS, NORM, SPACE, TOKENS, W3, Case, D, H, N, T, W
from torch import Tensor

from nas.architecture import T2D, Factorized, LayerConfig

Make = Callable[..., Any]
Attention = Callable[[Tensor, str, int], Tensor]
WINDOWED: tuple[Any, ...] = ("divided", "self_attention", "dot_product", "space")
CASES = (
    *(Case(Factorized(heads=2, variant=variant)) for variant in (*WINDOWED, "joint")),
    *(Case(Factorized(heads=2, variant=variant, window=(3, 3))) for variant in WINDOWED),
    Case(Factorized(heads=2, variant="divided"), CLIP_TOKEN),
    Case(Factorized(heads=2, variant="joint"), CLIP_TOKEN),
    Case(Factorized(heads=2, variant="space"), FRAME_TOKENS),
    Case(Factorized(heads=2, variant="joint", stem_gate=True), TOKENS),
)
CLOSED_FORMS = (
    (
        Factorized(heads=2, variant="divided"),
        BLOCK + 5 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM + D * D + D,
    ),
    (
        Factorized(heads=2, variant="self_attention"),
        BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    (Factorized(heads=2, variant="dot_product"), BLOCK + N * D * (H * W + T), BLOCK_PARAMS),
    (Factorized(heads=2, variant="joint"), BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        Factorized(heads=2, variant="self_attention", window=(3, 3)),
        3 * D * D * W3 + 13 * D * D * N + 2 * D * (W3 * 9 + N * T),
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    (Factorized(heads=2, variant="space"), BLOCK + SPACE, BLOCK_PARAMS),
)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = (
    (Factorized(heads=2, variant="joint"), []),
    (Factorized(heads=2, variant="space"), []),
    (Factorized(heads=2, variant="space", window=(3, 4)), [3, 1]),
    (Factorized(heads=2, variant="divided"), [3, 1]),  # sequences over time are gathered and put back
    (Factorized(heads=2, variant="self_attention"), [3, 1]),
    (Factorized(heads=2, variant="dot_product"), [1.5, 1]),  # half of the heads over time; both halves side by side
)
EXPORTED = (Case(Factorized(heads=2, variant="dot_product", window=(3, 3))),)


def branch_of(branch: Any, x: Tensor, axes: str, attention_over: Attention) -> Tensor:
    out: Tensor = branch.proj(attention_over(branch.qkv(branch.norm(x)), axes, 2))
    return out


def test_divided_attends_over_time_then_space(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    """x += temporal_fc(attention over time); x += attention over space; x += MLP: three norms."""
    block = make_layer(Factorized(heads=2, variant="divided"))
    (time, temporal_fc), space = block.attention
    torch.nn.init.normal_(temporal_fc.weight)
    torch.nn.init.normal_(temporal_fc.bias)
    y = x + temporal_fc(branch_of(time, x, "t", attention_over))
    y = y + branch_of(space, y, "hw", attention_over)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_divided_starts_as_the_spatial_block(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    block = make_layer(Factorized(heads=2, variant="divided"))
    y = x + branch_of(block.attention[1], x, "hw", attention_over)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_self_attention_attends_over_space_then_time(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    block = make_layer(Factorized(heads=2, variant="self_attention"))
    y = x + branch_of(block.attention[0], x, "hw", attention_over)
    y = y + branch_of(block.attention[1], y, "t", attention_over)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_dot_product_splits_the_heads(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    """The first half of the heads attends over time, the second over space; one output projection
    joins them.
    """
    block = make_layer(Factorized(heads=4, variant="dot_product"))
    branch = block.attention[0]
    q, k, v = branch.qkv(branch.norm(x)).chunk(3, -1)
    time = attention_over(torch.cat([y[..., :16] for y in (q, k, v)], -1), "t", 2)
    space = attention_over(torch.cat([y[..., 16:] for y in (q, k, v)], -1), "hw", 2)
    y = x + branch.proj(torch.cat((time, space), -1))
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_dot_product_has_the_parameters_of_joint(make_layer: Make) -> None:
    sizes = [
        {name: p.shape for name, p in make_layer(Factorized(heads=2, variant=v)).named_parameters()}
        for v in ("dot_product", "joint")
    ]
    assert sizes[0] == sizes[1]


def test_joint_is_t2d_in_3d(make_layer: Make, x: Tensor) -> None:
    joint, t2d = make_layer(Factorized(heads=2, variant="joint")), make_layer(T2D(heads=2, variant="3d"))
    for ours, other in {"attention.0.norm": "norm1", "attention.0.qkv": "qkv", "attention.0.proj": "proj"}.items():
        t2d.get_submodule(other).load_state_dict(joint.get_submodule(ours).state_dict())
    t2d.norm2.load_state_dict(joint.norm.state_dict())
    t2d.mlp.load_state_dict(joint.mlp.state_dict())
    t2d.norm1.eps = t2d.norm2.eps = 1e-6  # ViViT's; T2D's is 1e-5
    assert torch.allclose(t2d(x), joint(x), atol=1e-12)


@pytest.mark.parametrize("variant", ["divided", "self_attention", "dot_product"])
def test_windows_cut_space_and_leave_time_whole(make_layer: Make, x: Tensor, variant: Any) -> None:
    """On a map that is a multiple of the window, every window is a map of its own."""
    whole, windowed = (make_layer(Factorized(heads=2, variant=variant, window=w)) for w in ((3, 3), (6, 9)))
    cells = make_layer(Factorized(heads=2, variant=variant, window=(3, 3)))
    cells.load_state_dict(whole.state_dict())
    windowed.load_state_dict(whole.state_dict())
    y = whole(x)
    for h in range(0, 6, 3):
        for w in range(0, 9, 3):
            cut = (slice(None), slice(None), slice(h, h + 3), slice(w, w + 3))
            assert torch.allclose(cells(x[cut]), y[cut], atol=1e-12)
    assert not torch.allclose(windowed(x), y)
    unwindowed = make_layer(Factorized(heads=2, variant=variant))
    unwindowed.load_state_dict(whole.state_dict())
    assert torch.allclose(windowed(x), unwindowed(x), atol=1e-12)


def test_windows_pad_before_the_projection(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    block = make_layer(Factorized(heads=2, variant="self_attention", window=(6, 6)))
    space = block.attention[0]
    torch.nn.init.normal_(space.qkv.bias)
    qkv = space.qkv(F.pad(space.norm(x), (0, 0, 0, 3)))  # 6x9 to 6x12: the bias is what the padding holds
    halves = [attention_over(qkv[:, :, :, i : i + 6], "hw", 2) for i in (0, 6)]
    y = x + space.proj(torch.cat(halves, 3)[:, :, :, :9])
    y = y + branch_of(block.attention[1], y, "t", attention_over)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)

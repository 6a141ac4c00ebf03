"""T2D: attention in the XY plane, then in the TH and TW planes of its output, weighed by alpha."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from cases import ATTENTION, BLOCK, BLOCK_PARAMS, PLANES, SPACE, Case, D, N
from torch import Tensor

from nas.architecture import T2D, LayerConfig, Shape

Make = Callable[..., Any]
Attention = Callable[[Tensor, str, int], Tensor]
VARIANTS = get_args(T2D.model_fields["variant"].annotation)
WITH_ALPHA = ("shared", "separate", "fused", "2d+1d")
CASES = (
    *(Case(T2D(heads=2, variant=variant, window=window)) for window in (None, (2, 3, 4)) for variant in VARIANTS),
    Case(T2D(heads=2, cpe="2d", activation="quick_gelu", mlp_ratio=2.5)),
    Case(T2D(heads=2, cpe="3d")),
)
# In windows of (2, 3, 4) the 5x5x7 map is padded to 5x6x8 for the XY plane, 6x6x7 for TH and 6x5x8
# for TW.
XY, TH, TW = 5 * 6 * 8, 6 * 6 * 7, 6 * 5 * 8
CLOSED_FORMS = (
    (T2D(heads=2), BLOCK + 4 * D * D * N + SPACE + PLANES, BLOCK_PARAMS + ATTENTION + D),
    (T2D(heads=2, variant="separate"), BLOCK + 8 * D * D * N + SPACE + PLANES, BLOCK_PARAMS + 2 * ATTENTION + D),
    (T2D(heads=2, variant="fused"), BLOCK + SPACE + PLANES, BLOCK_PARAMS + D),
    (T2D(heads=2, variant="2d"), BLOCK + SPACE, BLOCK_PARAMS),
    (
        T2D(heads=2, variant="2d+1d"),
        BLOCK + 4 * D * D * N + SPACE + 2 * N * D * 5,
        BLOCK_PARAMS + ATTENTION + D,
    ),
    (T2D(heads=2, variant="3d"), BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        # Padded before qkv in the image branch, after it in the temporal planes.
        T2D(heads=2, window=(2, 3, 4)),
        3 * D * D * XY + 13 * D * D * N + 2 * D * (XY * 3 * 4 + TH * 2 * 3 + TW * 2 * 4),
        BLOCK_PARAMS + ATTENTION + D,
    ),
    # Position encodings before attention and MLP: a depthwise 3x3 convolution with bias.
    (T2D(heads=2, variant="2d", cpe="2d"), BLOCK + SPACE + 2 * 9 * D * N, BLOCK_PARAMS + 2 * 10 * D),
)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = (
    (T2D(heads=2, variant="2d"), []),  # a frame is one window, and lies in memory as such
    (T2D(heads=2, variant="2d", cpe="3d"), []),
    (T2D(heads=2, variant="3d"), []),
    # Each temporal plane gathers its q, k, v (3). Attention gives its output in the order of the
    # plane; their sum (shared), or each (separate), is put back in order for the projection (1),
    # and in fused added to one in order.
    (T2D(heads=2, variant="shared"), [3, 3, 1]),
    (T2D(heads=2, variant="separate"), [3, 1, 3, 1]),
    (T2D(heads=2, variant="fused"), [3, 3]),
    (T2D(heads=2, variant="2d+1d"), [3, 1]),
    (T2D(heads=2, window=(2, 3, 4)), [3, 1, 3, 1, 3, 1]),  # windows are cut and put together on all planes
)
EXPORTED = (Case(T2D(heads=2, variant="fused", window=(2, 3, 4))),)


def with_mlp(block: Any, x: Tensor, attention: Tensor) -> Tensor:
    """The residual connections of a pre-norm block around its attention and its MLP."""
    x = x + attention
    out: Tensor = x + block.mlp(block.norm2(x))
    return out


@pytest.mark.parametrize("variant", WITH_ALPHA)
def test_alpha_starts_at_1e_4_per_channel(make_layer: Make, variant: Any) -> None:
    alpha = make_layer(T2D(heads=2, variant=variant)).float().alpha
    assert torch.equal(alpha, torch.full((32,), 1e-4))


@pytest.mark.parametrize("variant", [*WITH_ALPHA, "2d"])
def test_at_alpha_zero_it_is_the_image_block_on_every_frame(make_layer: Make, x: Tensor, variant: Any) -> None:
    block = make_layer(T2D(heads=2, variant=variant))
    if variant != "2d":
        torch.nn.init.zeros_(block.alpha)
    for t in range(5):
        frame = x[:, t].flatten(1, 2)  # (B, tokens, C)
        q, k, v = (y.unflatten(-1, (2, 16)).transpose(1, 2) for y in block.qkv(block.norm1(frame)).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) * 16**-0.5).softmax(-1)
        expected = with_mlp(block, frame, block.proj((weights @ v).transpose(1, 2).flatten(2)))
        assert torch.allclose(block(x)[:, t].flatten(1, 2), expected, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(make_layer: Make, x: Tensor, attention_over: Attention, variant: Any) -> None:
    """What each variant computes; the temporal branch reads the XY output without a norm or a
    residual between.
    """
    block = make_layer(T2D(heads=2, variant=variant))
    if variant in WITH_ALPHA:
        torch.nn.init.normal_(block.alpha)
    qkv = block.qkv(block.norm1(x))
    xy = attention_over(qkv, "hw", 2)
    y = block.proj(xy)
    match variant:
        case "shared":
            z = block.qkv_t[0](y)
            y = y + block.alpha * block.proj_t[0](attention_over(z, "th", 2) + attention_over(z, "tw", 2))
        case "separate":
            th = block.proj_t[0](attention_over(block.qkv_t[0](y), "th", 2))
            tw = block.proj_t[1](attention_over(block.qkv_t[1](y), "tw", 2))
            y = y + block.alpha * (th + tw)
        case "fused":
            y = block.proj(xy + block.alpha * (attention_over(qkv, "th", 2) + attention_over(qkv, "tw", 2)))
        case "2d+1d":
            y = y + block.alpha * block.proj_t[0](attention_over(block.qkv_t[0](y), "t", 2))
        case "3d":
            y = block.proj(attention_over(qkv, "thw", 2))
    assert torch.allclose(block(x), with_mlp(block, x, y), atol=1e-12)


def test_transposing_the_map_swaps_the_temporal_planes(make_layer: Make, x: Tensor) -> None:
    """TH and TW share their weights, so that transposed input gives the transposed output."""
    block = make_layer(T2D(heads=2))
    transposed = make_layer(T2D(heads=2), Shape(5, 9, 6, 32))
    transposed.load_state_dict(block.state_dict())
    torch.nn.init.normal_(block.alpha)
    transposed.alpha.data = block.alpha.data
    assert torch.allclose(transposed(x.transpose(2, 3)), block(x).transpose(2, 3), atol=1e-12)

    block = make_layer(T2D(heads=2, variant="separate"))
    swapped = make_layer(T2D(heads=2, variant="separate"), Shape(5, 9, 6, 32))
    swapped.load_state_dict(block.state_dict())
    for branch in (swapped.qkv_t, swapped.proj_t):
        first, second = branch[0].state_dict(), {k: v.clone() for k, v in branch[1].state_dict().items()}
        branch[1].load_state_dict(first)
        branch[0].load_state_dict(second)
    assert torch.allclose(swapped(x.transpose(2, 3)), block(x).transpose(2, 3), atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_window_of_the_whole_map_is_the_global_form(make_layer: Make, x: Tensor, variant: Any) -> None:
    whole, windowed = (make_layer(T2D(heads=2, variant=variant, window=w)) for w in (None, (5, 6, 9)))
    windowed.load_state_dict(whole.state_dict())
    assert torch.allclose(windowed(x), whole(x), atol=1e-12)


def test_windows_pad_with_zeros_that_are_attended_to(make_layer: Make, x: Tensor, attention_over: Attention) -> None:
    """XY pads before qkv, so that padding has the keys of the bias; the temporal planes pad what is
    projected.
    """
    block = make_layer(T2D(heads=2, window=(2, 4, 4)))
    torch.nn.init.normal_(block.alpha)
    torch.nn.init.normal_(block.qkv.bias)  # starts at zero, where the order would not show

    def in_windows(qkv: Tensor, axes: str, size: tuple[int, int, int]) -> Tensor:
        out = torch.empty(*qkv.shape[:4], 32, dtype=qkv.dtype)
        for t in range(0, qkv.shape[1], size[0]):
            for h in range(0, qkv.shape[2], size[1]):
                for w in range(0, qkv.shape[3], size[2]):
                    cut = slice(None), slice(t, t + size[0]), slice(h, h + size[1]), slice(w, w + size[2])
                    out[cut] = attention_over(qkv[cut], axes, 2)
        return out[:, :5, :6, :9]

    xy = block.qkv(F.pad(block.norm1(x), (0, 0, 0, 3, 0, 2)))  # 6x9 to 8x12
    y = block.proj(in_windows(xy, "hw", (1, 4, 4)))
    z = block.qkv_t[0](y)
    th = in_windows(F.pad(z, (0, 0, 0, 0, 0, 2, 0, 1)), "th", (2, 4, 1))  # 5x6 to 6x8
    tw = in_windows(F.pad(z, (0, 0, 0, 3, 0, 0, 0, 1)), "tw", (2, 1, 4))  # 5x9 to 6x12
    y = y + block.alpha * block.proj_t[0](th + tw)
    assert torch.allclose(block(x), with_mlp(block, x, y), atol=1e-12)


def test_quick_gelu(make_layer: Make) -> None:
    activation = make_layer(T2D(heads=2, activation="quick_gelu")).mlp[1]
    assert activation(torch.tensor(2.0)) == pytest.approx(2 / (1 + torch.e ** (-1.702 * 2)))

"""Factorized space-time attention: TimeSformer's divided, ViViT's models 3 and 4, and joint attention (model 1).

Multiply-adds per layer at MLP ratio 4, with N = T H W tokens of width d: divided 17 d^2 N + 2 N d (HW + T);
self_attention 16 d^2 N + 2 N d (HW + T); dot_product 12 d^2 N + N d (HW + T); joint 12 d^2 N + 2 N^2 d.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.architecture import Factorized, Shape
from nas.models.common import Triple, linear, mlp, pad_to_windows, window_attention

__all__ = ["FactorizedBlock"]


class Attention(nn.Module):
    """Pre-norm self-attention in windows of the map, residual connection not included."""

    def __init__(self, width: int, heads: int, window: Triple) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        _, t, h, w, _ = x_BTHWC.shape
        qkv = self.qkv(pad_to_windows(self.norm(x_BTHWC), self.window))
        y: Tensor = self.proj(window_attention(qkv, self.heads, self.window)[:, :t, :h, :w])
        return y


class SplitHeadAttention(Attention):
    """ViViT model 4: the first half of the heads attends over time, the second over space, with one projection."""

    def __init__(self, width: int, heads: int, window: Triple, frames: int) -> None:
        super().__init__(width, heads, window)
        self.time: Triple = (frames, 1, 1)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        _, t, h, w, _ = x_BTHWC.shape
        qkv = torch.unflatten(self.qkv(pad_to_windows(self.norm(x_BTHWC), self.window)), -1, (3, 2, -1))
        over_time, over_space = (
            window_attention(qkv[..., half, :].flatten(-2), self.heads // 2, window)
            for half, window in enumerate((self.time, self.window))
        )
        y: Tensor = self.proj(torch.cat((over_time, over_space), dim=-1)[:, :t, :h, :w])
        return y


class FactorizedBlock(nn.Module):
    """Transformer block with attention split between time and space.

    Variants:
        divided: over time, through a zero-initialised linear layer, then over space (TimeSformer, no class token).
        self_attention: over space, then over time, each with its own projections (ViViT model 3).
        dot_product: half of the heads over time, half over space (ViViT model 4).
        joint: over all tokens (ViViT model 1); the only one that works without a grid.
    """

    def __init__(self, config: Factorized, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width, heads, frames = shape_out.channels, config.heads, shape_out.frames
        space = (1, *(config.window or shape_out.extent[1:]))
        time = (frames, 1, 1)
        match config.variant:
            case "divided":
                out = linear(width, width)
                nn.init.zeros_(out.weight)
                branches = [nn.Sequential(Attention(width, heads, time), out), Attention(width, heads, space)]
            case "self_attention":
                branches = [Attention(width, heads, space), Attention(width, heads, time)]
            case "dot_product":
                branches = [SplitHeadAttention(width, heads, space, frames)]
            case "joint":
                branches = [Attention(width, heads, shape_out.extent)]
        self.attention = nn.ModuleList(branches)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = x_BTHWC
        for branch in self.attention:
            x = x + branch(x)
        out: Tensor = x + self.mlp(self.norm(x))
        return out

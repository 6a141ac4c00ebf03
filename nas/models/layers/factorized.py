"""Factorized space-time attention: TimeSformer's divided, ViViT's models 1 (joint), 3 and 4, and
space alone.

Multiply-adds per layer at MLP ratio 4, with N = T H W tokens of width d: divided 17 d^2 N + 2 N d
(HW + T); self_attention 16 d^2 N + 2 N d (HW + T); dot_product 12 d^2 N + N d (HW + T); joint 12
d^2 N + 2 N^2 d; space 12 d^2 N + 2 N d HW.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.factorized import Factorized
from nas.architecture.shape import Shape
from nas.models.attention import pad_to_windows, window_attention
from nas.models.image_weights import CheckpointKind, Slot, module_slots
from nas.models.mlp import linear, mlp
from nas.models.registry import implements


class Attention(nn.Module):
    """Pre-norm self-attention in windows of the map, or of the whole map; residual connection not
    included.
    """

    def __init__(self, width: int, heads: int, window: Triple | None, eps: float) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width, eps=eps)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        _, t, h, w, _ = x_BTHWC.shape
        window = self.window or (t, h, w)
        qkv = torch.unflatten(self.qkv(pad_to_windows(self.norm(x_BTHWC), window)), -1, (3, -1))
        y: Tensor = self.proj(window_attention(qkv, self.heads, window)[:, :t, :h, :w])
        return y


class SplitHeadAttention(nn.Module):
    """ViViT model 4: the first half of the heads attends over time, the second over space, with one
    projection.
    """

    def __init__(self, width: int, heads: int, window: Triple, frames: int, eps: float) -> None:
        super().__init__()
        self.heads, self.windows = heads, ((frames, 1, 1), window)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        _, t, h, w, _ = x_BTHWC.shape
        qkv = torch.unflatten(self.qkv(pad_to_windows(self.norm(x_BTHWC), self.windows[1])), -1, (3, 2, -1))
        over_time, over_space = (
            window_attention(qkv[..., half, :], self.heads // 2, window) for half, window in enumerate(self.windows)
        )
        y: Tensor = self.proj(torch.cat((over_time, over_space), dim=-1)[:, :t, :h, :w])
        return y


@implements(Factorized)
class FactorizedBlock(nn.Module):
    """Transformer block with attention split between time and space.

    Variants:
        divided: over time, through a zero-initialised linear layer, then over space (TimeSformer).
            A class token takes part in space only: each frame sees a copy, and the mean of what the
            frames make of it goes on.
        self_attention: over space, then over time, each with its own projections (ViViT model 3).
        dot_product: half of the heads over time, half over space (ViViT model 4).
        joint: over all tokens (ViViT model 1); the only one that works without a grid.
        space: in each frame alone (the spatial encoder of ViViT model 2).

    With `stem_gate` the block adds tanh(gate) times the tokens of a tube stem, without the
    embedding of their centres, gate starting at zero (the scaling-up of TubeViT: large image
    networks take up tubes without losing what they know).
    """

    def __init__(self, config: Factorized, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width, heads, eps = shape_out.channels, config.heads, config.norm_eps
        self.extent = shape_out.extent
        self.split_class_token = config.variant == "divided" and shape_out.class_tokens == "clip"
        frames, height, breadth = self.extent
        space = (1, *(config.window or (height, breadth)))
        if shape_out.class_tokens != "none":
            space = (1, 1, 1 + height * breadth)
        time = (frames, 1, 1)
        branches: list[nn.Module]
        match config.variant:
            case "divided":
                out = linear(width, width)
                nn.init.zeros_(out.weight)
                branches = [
                    nn.Sequential(Attention(width, heads, time, eps), out),
                    Attention(width, heads, space, eps),
                ]
            case "self_attention":
                branches = [Attention(width, heads, space, eps), Attention(width, heads, time, eps)]
            case "dot_product":
                branches = [SplitHeadAttention(width, heads, space, frames, eps)]
            case "joint":
                branches = [Attention(width, heads, None, eps)]
            case "space":
                branches = [Attention(width, heads, space, eps)]
        self.attention = nn.ModuleList(branches)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)
        if config.stem_gate:
            self.gate = nn.Parameter(torch.zeros(()))

    @classmethod
    def image_slots(cls, config: Factorized, shape: Shape, kind: CheckpointKind) -> Iterator[Slot]:
        """All but the gate; see `nas.models.image_weights`.

        divided: norm and attention over time are copies of those over space, behind a linear layer
        of zeros, as in TimeSformer's released recipe. self_attention: the output of attention over
        time is zero.
        """
        space = "attention.1" if config.variant == "divided" else "attention.0"
        if config.variant == "divided":
            for part, source in (("norm", "norm1"), ("qkv", "qkv"), ("proj", "proj")):
                yield from module_slots(f"attention.0.0.{part}", source, copy=True)
            yield from module_slots("attention.0.1", None)
        elif config.variant == "self_attention":
            yield from module_slots("attention.1.proj", None)
        yield from module_slots(f"{space}.norm", "norm1")
        for name in ("qkv", "proj"):
            yield from module_slots(f"{space}.{name}", name)
        yield from module_slots("norm", "norm2")
        for name in ("mlp.0", "mlp.2"):
            yield from module_slots(name, name)

    def divided_with_class_token(self, x_B11NC: Tensor) -> Tensor:
        """TimeSformer's two attentions on one class token and T H W others, residual connections
        included.
        """
        time, space = self.attention
        token = x_B11NC[..., :1, :]
        grid = torch.unflatten(x_B11NC[:, 0, 0, 1:], 1, self.extent)
        grid = grid + time(grid)
        frames = torch.cat((token.expand(-1, self.extent[0], -1, -1, -1), grid.flatten(2, 3).unsqueeze(2)), dim=3)
        change = space(frames)
        token = token + change[..., :1, :].mean(1, keepdim=True)
        rest = (grid.flatten(2, 3) + change[:, :, 0, 1:]).flatten(1, 2)
        return torch.cat((token, rest[:, None, None]), dim=3)

    def forward(self, x_BTHWC: Tensor, tokens_B11NC: Tensor | None = None) -> Tensor:
        x = x_BTHWC
        if self.split_class_token:
            x = self.divided_with_class_token(x)
        else:
            for branch in self.attention:
                x = x + branch(x)
        out: Tensor = x + self.mlp(self.norm(x))
        if tokens_B11NC is not None:
            out = out + torch.tanh(self.gate) * tokens_B11NC
        return out

"""Channel attention (DaViT, ECCV 2022): attention between the channels of a group, over all tokens
of the map.

With q, k, v of N tokens and C / g channels per group, the image network computes
A = softmax((d^-0.5 k)^T v), out = (A q^T)^T, d = C / g; the video network A = softmax((N^-0.5 q)^T
k), out = (A v^T)^T. Multiply-adds per layer at MLP ratio 4: 12 C^2 N + 2 N C^2 / g.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.channel_attention import ChannelAttention
from nas.architecture.shape import Shape
from nas.models.convolution import PositionEncoding
from nas.models.image_weights import CheckpointKind, Slot, module_slots, position_encoding_slots
from nas.models.mlp import linear, mlp
from nas.models.registry import implements


@implements(ChannelAttention)
class ChannelAttentionBlock(nn.Module):
    """Pre-norm transformer block whose attention matrix is channels by channels of a group."""

    def __init__(self, config: ChannelAttention, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width = shape_out.channels
        self.groups, self.by_tokens = config.heads, config.scale == "tokens"
        self.cpe1 = PositionEncoding(width, config.cpe)
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)
        self.cpe2 = PositionEncoding(width, config.cpe)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)

    @classmethod
    def image_slots(cls, config: ChannelAttention, shape: Shape, kind: CheckpointKind) -> Iterator[Slot]:
        """All parameters; see `nas.models.image_weights`."""
        yield from module_slots("norm1", "norm1")
        yield from module_slots("qkv", "channel_qkv", partial(video_qkv, config=config, output=shape))
        yield from module_slots("proj", "channel_proj")
        for name in ("norm2", "mlp.0", "mlp.2"):
            yield from module_slots(name, name)
        yield from position_encoding_slots(config.cpe, kind.family)

    def attention(self, x_BTHWC: Tensor) -> Tensor:
        """The attention branch, residual connection not included."""
        qkv = torch.unflatten(self.qkv(x_BTHWC).flatten(1, 3), -1, (3, self.groups, -1))
        q, k, v = qkv.permute(2, 0, 3, 4, 1)  # each (B, groups, channels, N)
        # Written out: fused kernels are made for long sequences of short vectors, and here it is
        # the other way round.
        if self.by_tokens:
            y = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
        else:
            y = torch.softmax(k @ v.mT * q.shape[-2] ** -0.5, dim=-1) @ q
        out: Tensor = self.proj(y.permute(0, 3, 1, 2).reshape(x_BTHWC.shape))
        return out

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = self.cpe1(x_BTHWC)
        x = self.cpe2(x + self.attention(self.norm1(x)))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def video_qkv(x: Tensor, shape: torch.Size, config: ChannelAttention, output: Shape) -> Tensor:
    """Queries, keys and values of channel attention for T times as many tokens, all frames alike.

    The products are sums over tokens, so one factor is divided by T. The video network's formula
    (`scale: tokens`) is the image network's with other names, softmax(k v) q in place of softmax(q
    k) v, at another scale.
    """
    if len(x) % 3:
        return x
    q, k, v = x.chunk(3)
    if config.scale == "head_dim":
        return torch.cat((q, k / output.frames, v))
    scale = math.sqrt(output.tokens * config.heads / output.channels) / output.frames
    return torch.cat((k * scale, v, q))

"""Triple 2D decomposition (T2D, ICLR 2023 submission).

    y   = Wo MHSA_XY(Wqkv x)
    z   = Wqkv_t y
    out = y + alpha * Wo_t (MHSA_TH(z) + MHSA_TW(z))

With alpha = 0 the block is the per-frame image block. Multiply-adds per layer at MLP ratio 4, with
N = T H W tokens of width d: shared 16 d^2 N + 2 N d (HW + TH + TW); separate 20 d^2 N; fused 12 d^2
N with the same attention products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.t2d import T2D
from nas.architecture.shape import Shape
from nas.models.attention import pad_to_windows, window_attention
from nas.models.convolution import PositionEncoding
from nas.models.image_weights import CheckpointKind, Slot, module_slots, position_encoding_slots
from nas.models.mlp import linear, mlp
from nas.models.registry import implements


@implements(T2D)
class T2DBlock(nn.Module):
    """Pre-norm transformer block with attention on three planes.

    Variants:
        shared: the temporal planes share their projections (the paper's default).
        separate: each temporal plane has its own.
        fused: all planes read one qkv and share the output projection: Wo (XY + alpha (TH + TW)).
        2d, 2d+1d, 3d: the baselines: XY only; XY then T with alpha; joint attention.
    """

    def __init__(self, config: T2D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width = shape_out.channels
        t, h, w = config.window or shape_out.extent
        self.heads, self.variant = config.heads, config.variant
        planes: dict[str, tuple[Triple, ...]] = {
            "2d": (),
            "3d": (),
            "2d+1d": ((t, 1, 1),),
            "shared": ((t, h, 1), (t, 1, w)),
            "separate": ((t, h, 1), (t, 1, w)),
            "fused": ((t, h, 1), (t, 1, w)),
        }
        self.space: Triple = (t, h, w) if config.variant == "3d" else (1, h, w)
        self.planes = planes[config.variant]
        self.cpe1 = PositionEncoding(width, config.cpe)
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)
        branches = {"shared": 1, "2d+1d": 1, "separate": 2}.get(config.variant, 0)
        self.qkv_t = nn.ModuleList(linear(width, 3 * width) for _ in range(branches))
        self.proj_t = nn.ModuleList(linear(width, width) for _ in range(branches))
        if self.planes:
            self.alpha = nn.Parameter(torch.full((width,), 1e-4))
        self.cpe2 = PositionEncoding(width, config.cpe)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)

    @classmethod
    def image_slots(cls, config: T2D, shape: Shape, kind: CheckpointKind) -> Iterator[Slot]:
        """All but the temporal planes and alpha, which is next to zero; see
        `nas.models.image_weights`.
        """
        for name in ("norm1", "qkv", "proj", "norm2", "mlp.0", "mlp.2"):
            yield from module_slots(name, name)
        yield from position_encoding_slots(config.cpe, kind.family)

    def attention(self, x_BTHWC: Tensor) -> Tensor:
        """The attention branch, residual connection not included."""
        _, t, h, w, _ = x_BTHWC.shape
        # The image branch pads before qkv, the temporal planes pad what is projected already.
        qkv = torch.unflatten(self.qkv(pad_to_windows(x_BTHWC, self.space)), -1, (3, -1))
        y: Tensor = window_attention(qkv, self.heads, self.space)[:, :t, :h, :w]
        if self.variant == "fused":
            qkv = qkv[:, :t, :h, :w]
            y = y + self.alpha * sum(window_attention(qkv, self.heads, plane) for plane in self.planes)
        y = self.proj(y)
        if not self.proj_t:
            return y
        if self.variant == "separate":
            temporal = sum(
                proj(window_attention(torch.unflatten(qkv_t(y), -1, (3, -1)), self.heads, plane))
                for qkv_t, proj, plane in zip(self.qkv_t, self.proj_t, self.planes, strict=True)
            )
        else:
            z = torch.unflatten(self.qkv_t[0](y), -1, (3, -1))
            temporal = self.proj_t[0](sum(window_attention(z, self.heads, plane) for plane in self.planes))
        y = y + self.alpha * temporal
        return y

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = self.cpe1(x_BTHWC)
        x = self.cpe2(x + self.attention(self.norm1(x)))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

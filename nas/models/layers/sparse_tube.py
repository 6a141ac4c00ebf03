"""Sparse tubes as a layer: every grid cell attends to the tube tokens of the map.

A generalisation of TubeViT's tokenizer (CVPR 2023) to feature maps: queries are all N cells; keys
and values come from a few strided 3D convolutions of the map, with the fixed embedding of the
tubes' centres added to the keys. Cost is linear in N for a given number of tube tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.sparse_tube import SparseTube
from nas.architecture.shape import Shape
from nas.models.attention import attend
from nas.models.convolution import tube_conv
from nas.models.derived import Derived
from nas.models.mlp import linear, mlp
from nas.models.registry import implements
from nas.models.tokens import tube_embedding


@implements(SparseTube)
class SparseTubeBlock(Derived):
    """Pre-norm transformer block whose keys and values are the tube tokens of its input."""

    embedding: Tensor

    def __init__(self, config: SparseTube, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width = shape_out.channels
        self.heads = config.heads
        self.config, self.shape = config, shape_out
        self.offsets = [tube.offset for tube in config.tubes]
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.tubes = nn.ModuleList(tube_conv(width, width, tube.kernel, tube.stride) for tube in config.tubes)
        self.q, self.k, self.v = linear(width, width), linear(width, width), linear(width, width)
        self.proj = linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)
        self.register_derived()

    def derived(self) -> dict[str, Tensor | None]:
        return {"embedding": tube_embedding(self.config.tubes, self.shape, self.shape.channels)}

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = self.norm1(x_BTHWC)
        tokens = torch.cat(
            [
                tube(x[:, offset[0] :, offset[1] :, offset[2] :]).flatten(1, 3)
                for tube, offset in zip(self.tubes, self.offsets, strict=True)
            ],
            dim=1,
        )
        y = attend(self.q(x.flatten(1, 3)), self.k(tokens + self.embedding), self.v(tokens), self.heads)
        x = x_BTHWC + self.proj(y).view_as(x_BTHWC)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

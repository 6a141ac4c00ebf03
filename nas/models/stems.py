"""Stems: from a clip (B, T, H, W, 3) to the first feature map (B, T', H', W', C)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import ConvStem, PatchStem, Shape, StemTube, TubeStem
from nas.models.common import BatchNorm, Conv, tube_conv
from nas.models.positions import centre_embedding, tube_centres


class Conv3DStem(nn.Module):
    """Convolution, optional depthwise convolution over time, normalisation, and ReLU after batch normalisation."""

    def __init__(self, config: ConvStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        width = shape_out.channels
        self.conv = Conv(shape_in.channels, width, config.kernel, config.stride)
        self.time = (
            Conv(width, width, (config.temporal_kernel, 1, 1), groups=width)
            if config.temporal_kernel > 1
            else nn.Identity()
        )
        self.norm = (
            nn.Sequential(BatchNorm(width), nn.ReLU()) if config.norm == "batch" else nn.LayerNorm(width, eps=1e-5)
        )

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.norm(self.time(self.conv(x_BTHWC)))
        return y


class PatchEmbed(nn.Module):
    """Patches projected linearly, plus learned position embeddings, plus an optional LayerNorm."""

    def __init__(self, config: PatchStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        t, h, w = shape_out.extent
        width = shape_out.channels
        self.proj = tube_conv(shape_in.channels, width, config.size, config.size)
        shapes = {"none": (), "joint": ((t, h, w),), "factorized": ((1, h, w), (t, 1, 1))}[config.position]
        self.positions = nn.ParameterList(torch.empty(1, *shape, width) for shape in shapes)
        for position in self.positions:
            nn.init.trunc_normal_(position, std=0.02)
        self.norm = nn.LayerNorm(width, eps=1e-5) if config.norm else nn.Identity()

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.proj(x_BTHWC)
        for position in self.positions:
            y = y + position
        y = self.norm(y)
        return y


class TubeConv(nn.Module):
    """One tube: a convolution without padding, its neighbouring outputs folded into channels where asked."""

    def __init__(self, tube: StemTube, shape_in: Shape, width: int) -> None:
        super().__init__()
        self.offset, self.factors = tube.offset, tube.space_to_depth
        self.extent = tube.extent(shape_in)
        stride = [s // f for s, f in zip(tube.stride, self.factors, strict=True)]
        self.conv = tube_conv(shape_in.channels, width // math.prod(self.factors), tube.kernel, stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        ot, oh, ow = self.offset
        y = self.conv(x_BTHWC[:, ot:, oh:, ow:])
        (t, h, w), (ft, fh, fw) = self.extent, self.factors
        # A last output may lack the neighbours that are folded into it: they are zero.
        missing = [n * f - size for n, f, size in zip(self.extent, self.factors, y.shape[1:4], strict=True)]
        y = F.pad(y, (0, 0, 0, max(0, missing[2]), 0, max(0, missing[1]), 0, max(0, missing[0])))
        y = y[:, : t * ft, : h * fh, : w * fw].reshape(-1, t, ft, h, fh, w, fw, y.shape[-1])
        return y.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)


class TubeEmbed(nn.Module):
    """Tokens of all tubes, concatenated, plus the fixed embedding of their centres: (B, 1, 1, N, C)."""

    embedding: Tensor

    def __init__(self, config: TubeStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        width = shape_out.channels
        self.tubes = nn.ModuleList(TubeConv(tube, shape_in, width) for tube in config.tubes)
        embedding = torch.cat([centre_embedding(tube_centres(tube, shape_in), width) for tube in config.tubes])
        self.register_buffer("embedding", embedding, persistent=False)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        tokens = torch.cat([tube(x_BTHWC) for tube in self.tubes], dim=1) + self.embedding
        return tokens[:, None, None]


STEMS = {ConvStem: Conv3DStem, PatchStem: PatchEmbed, TubeStem: TubeEmbed}

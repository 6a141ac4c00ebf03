"""Depthwise (2+1)D convolutions, aggregated once per block (VoV3D, arXiv 2012.00317)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.d2plus1d import D2Plus1D
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.models.convolution import BatchNorm, Conv, SqueezeExcite, shortcut
from nas.models.registry import implements


class D2Plus1DModule(nn.Module):
    """Expansion, depthwise convolution in space, then in time, SE where asked, Swish, projection to
    half the width.
    """

    def __init__(self, in_channels: int, inner: int, stride: Triple, excite: bool, config: D2Plus1D) -> None:
        super().__init__()
        k, kt = config.kernel, config.temporal_kernel
        self.expand, self.norm1 = Conv(in_channels, inner), BatchNorm(inner)
        self.space = Conv(inner, inner, (1, k, k), (1, *stride[1:]), groups=inner)
        self.time = Conv(inner, inner, (kt, 1, 1), (stride[0], 1, 1), groups=inner)
        self.norm2 = BatchNorm(inner)
        self.excite = SqueezeExcite(inner) if excite else nn.Identity()
        self.project, self.norm3 = Conv(inner, inner // 2), BatchNorm(inner // 2)
        self.residual = in_channels == inner // 2 and stride == UNIT_STRIDE

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.expand(x_BTHWC)))
        y = self.norm2(self.time(self.space(y)))
        y = self.norm3(self.project(F.silu(self.excite(y))))
        return F.relu(x_BTHWC + y if self.residual else y)


@implements(D2Plus1D)
class TOSABlock(nn.Module):
    """Modules in sequence, their outputs (and the input, at stride 1) concatenated and projected,
    plus the shortcut.

    The last normalisation starts at zero, so that the block starts as its shortcut.
    """

    def __init__(self, config: D2Plus1D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        inner = config.inner_width(c_out)
        self.tosa = nn.ModuleList(
            D2Plus1DModule(
                in_channels=inner // 2 if i else c_in,
                inner=inner,
                stride=UNIT_STRIDE if i else stride,
                excite=i % 2 == 0,
                config=config,
            )
            for i in range(config.modules)
        )
        self.join_input = stride == UNIT_STRIDE
        self.aggregate = Conv(config.modules * inner // 2 + (c_in if self.join_input else 0), c_out)
        self.norm = BatchNorm(c_out)
        nn.init.zeros_(self.norm.weight)
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        features = [x_BTHWC] if self.join_input else []
        y = x_BTHWC
        for module in self.tosa:
            y = module(y)
            features.append(y)
        return F.relu(self.shortcut(x_BTHWC) + self.norm(self.aggregate(torch.cat(features, dim=-1))))

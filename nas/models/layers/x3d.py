"""Inverted residual block with a depthwise 3D convolution (X3D, CVPR 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.x3d import X3D
from nas.architecture.shape import Shape
from nas.models.convolution import BatchNorm, Conv, SqueezeExcite, shortcut
from nas.models.registry import implements


@implements(X3D)
class X3DBlock(nn.Module):
    """Expansion, BN, ReLU; depthwise convolution, BN, SE, Swish; projection, BN; plus the shortcut,
    ReLU.

    The inner width is int(expansion * width). The last normalisation starts at zero, so that the
    block starts as its shortcut.
    """

    def __init__(self, config: X3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        inner = max(1, int(config.expansion * c_out))
        kernel = (config.temporal_kernel, config.kernel, config.kernel)
        self.expand, self.norm1 = Conv(c_in, inner), BatchNorm(inner)
        self.depthwise, self.norm2 = Conv(inner, inner, kernel, stride, groups=inner), BatchNorm(inner)
        self.excite = SqueezeExcite(inner) if config.excite else nn.Identity()
        self.project, self.norm3 = Conv(inner, c_out), BatchNorm(c_out)
        nn.init.zeros_(self.norm3.weight)
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.expand(x_BTHWC)))
        y = F.silu(self.excite(self.norm2(self.depthwise(y))))
        return F.relu(self.shortcut(x_BTHWC) + self.norm3(self.project(y)))

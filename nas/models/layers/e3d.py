"""Inverted residual block with a depthwise 3D convolution and a shortcut without weights (E3D, ICLR
2023).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.e3d import E3D
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.models.convolution import BatchNorm, Conv
from nas.models.registry import implements


@implements(E3D)
class E3DBlock(nn.Module):
    """Expansion, BN, ReLU; depthwise convolution, BN, ReLU; projection, BN; plus the shortcut,
    ReLU.

    Where the width stays the shortcut is the input, averaged over the cells of a stride; where it
    changes there is none. The last normalisation of a block with a shortcut starts at zero, so that
    the block starts as that; the original starts it at one.
    """

    def __init__(self, config: E3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        inner = config.inner_width(c_out)
        kernel = (config.temporal_kernel, config.kernel, config.kernel)
        self.stride, self.has_shortcut = stride, c_in == c_out
        self.expand, self.norm1 = Conv(c_in, inner), BatchNorm(inner)
        self.depthwise, self.norm2 = Conv(inner, inner, kernel, stride, groups=inner), BatchNorm(inner)
        self.project, self.norm3 = Conv(inner, c_out), BatchNorm(c_out)
        if self.has_shortcut:
            nn.init.zeros_(self.norm3.weight)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.expand(x_BTHWC)))
        y = F.relu(self.norm2(self.depthwise(y)))
        y = self.norm3(self.project(y))
        return F.relu(y + self._shortcut(x_BTHWC) if self.has_shortcut else y)

    def _shortcut(self, x_BTHWC: Tensor) -> Tensor:
        if self.stride == UNIT_STRIDE:
            return x_BTHWC
        # The last cell of an odd number is averaged by itself, as the convolution counts them.
        x = F.avg_pool3d(x_BTHWC.permute(0, 4, 1, 2, 3), self.stride, ceil_mode=True)
        return x.permute(0, 2, 3, 4, 1)

"""Residual block of (2+1)D convolutions (R(2+1)D, CVPR 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.r2plus1d import R2Plus1D
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.models.convolution import BatchNorm, Conv, ResidualBlock
from nas.models.registry import implements


class R2Plus1DConv(nn.Module):
    """conv 1 x k x k to the inner width, BN, ReLU, conv kt x 1 x 1."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: Triple, config: R2Plus1D) -> None:
        super().__init__()
        k, kt = config.kernel, config.temporal_kernel
        self.space, self.norm = Conv(in_channels, inner, (1, k, k), (1, *stride[1:])), BatchNorm(inner)
        self.time = Conv(inner, out_channels, (kt, 1, 1), (stride[0], 1, 1))

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.time(F.relu(self.norm(self.space(x_BTHWC))))
        return y


@implements(R2Plus1D)
class R2Plus1DBlock(ResidualBlock):
    """Basic residual block of two (2+1)D convolutions.

    Their inner width M = kt k^2 I O / (k^2 I + kt O) gives the first as many parameters as the
    convolution I -> O that it stands for; the second has the same M, as the published 31.5 M
    parameters want it.
    """

    def __init__(self, config: R2Plus1D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        c_in, c_out = shape_in.channels, shape_out.channels
        k, kt = config.kernel, config.temporal_kernel
        inner = (kt * k * k * c_in * c_out) // (k * k * c_in + kt * c_out)
        first = R2Plus1DConv(c_in, inner, c_out, stride, config)
        super().__init__(first, R2Plus1DConv(c_out, inner, c_out, UNIT_STRIDE, config), c_in, c_out, stride)

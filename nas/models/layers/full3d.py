"""Residual block of two ordinary 3D convolutions (R3D)."""

from __future__ import annotations

from nas.architecture.fields import Triple
from nas.architecture.layers.full3d import Full3D
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.models.convolution import Conv, ResidualBlock
from nas.models.registry import implements


@implements(Full3D)
class Full3DBlock(ResidualBlock):
    """Basic residual block whose convolutions span (temporal_kernel, kernel, kernel)."""

    def __init__(self, config: Full3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        kernel = (config.temporal_kernel, config.kernel, config.kernel)
        c_in, c_out = shape_in.channels, shape_out.channels
        first, second = Conv(c_in, c_out, kernel, stride), Conv(c_out, c_out, kernel, UNIT_STRIDE)
        super().__init__(first, second, c_in, c_out, stride)

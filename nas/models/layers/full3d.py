"""Residual block of two ordinary 3D convolutions (R3D)."""

from __future__ import annotations

from nas.architecture import Full3D, Shape
from nas.models.common import UNIT, Conv, ResidualBlock, Triple

__all__ = ["Full3DBlock"]


class Full3DBlock(ResidualBlock):
    """Basic residual block whose convolutions span (temporal_kernel, kernel, kernel)."""

    def __init__(self, config: Full3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        kernel = (config.temporal_kernel, config.kernel, config.kernel)
        c_in, c_out = shape_in.channels, shape_out.channels
        super().__init__(Conv(c_in, c_out, kernel, stride), Conv(c_out, c_out, kernel, UNIT), c_in, c_out, stride)

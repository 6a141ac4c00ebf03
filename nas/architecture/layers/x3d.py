"""Depthwise 3D convolution (X3D, CVPR 2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Odd
from nas.architecture.layers.base import LayerConfig


class X3D(LayerConfig):
    """Inverted residual block with a depthwise 3D convolution (X3D)."""

    strides_allowed: ClassVar[bool] = True
    ratio: ClassVar[str | None] = "expansion"

    op: Literal["x3d"] = "x3d"
    expansion: PositiveFloat = Field(default=2.25, description="inner width over the layer's width")
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    excite: bool = Field(default=True, description="squeeze and excitation; X3D has it in every second block")

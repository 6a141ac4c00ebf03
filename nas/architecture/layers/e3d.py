"""Depthwise 3D convolution without projections in its shortcuts (E3D, ICLR 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Odd
from nas.architecture.layers.base import LayerConfig


class E3D(LayerConfig):
    """Inverted residual block with a depthwise 3D convolution, no weights in its shortcut (E3D)."""

    strides_allowed: ClassVar[bool] = True
    ratio: ClassVar[str | None] = "expansion"

    op: Literal["e3d"] = "e3d"
    expansion: PositiveFloat = Field(default=2.0, description="inner width over the layer's width")
    kernel: Odd = 3
    temporal_kernel: Odd = 3

    def inner_width(self, width: int) -> int:
        """Of the depthwise convolution, for an output width."""
        return max(1, round(self.expansion * width))

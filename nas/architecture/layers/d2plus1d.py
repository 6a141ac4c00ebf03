"""Depthwise (2+1)D convolutions (VoV3D, arXiv 2012.00317)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Odd, PositiveInt
from nas.architecture.layers.base import LayerConfig


class D2Plus1D(LayerConfig):
    """T-OSA block of depthwise (2+1)D convolutions (VoV3D)."""

    strides_allowed: ClassVar[bool] = True
    ratio: ClassVar[str | None] = "expansion"

    op: Literal["d2plus1d"] = "d2plus1d"
    modules: PositiveInt = Field(default=5, description="D(2+1)D modules whose outputs are aggregated")
    expansion: PositiveFloat = Field(default=2.0, description="inner width E over the layer's width")
    kernel: Odd = 3
    temporal_kernel: Odd = 3

    def inner_width(self, width: int) -> int:
        """E of the paper for an output width: even, because a module hands on E / 2 channels."""
        return max(2, round(width * self.expansion / 2) * 2)

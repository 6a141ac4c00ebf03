"""(2+1)D convolutions (R(2+1)D, CVPR 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

from nas.architecture.fields import Odd
from nas.architecture.layers.base import LayerConfig


class R2Plus1D(LayerConfig):
    """Residual block of two 3D convolutions, each split into one over space and one over time
    (R(2+1)D).
    """

    strides_allowed: ClassVar[bool] = True

    op: Literal["r2plus1d"] = "r2plus1d"
    kernel: Odd = 3
    temporal_kernel: Odd = 3

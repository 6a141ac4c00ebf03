"""Ordinary 3D convolutions (R3D)."""

from __future__ import annotations

from typing import ClassVar, Literal

from nas.architecture.fields import Odd
from nas.architecture.layers.base import LayerConfig


class Full3D(LayerConfig):
    """Residual block of two ordinary 3D convolutions (R3D)."""

    strides_allowed: ClassVar[bool] = True

    op: Literal["full3d"] = "full3d"
    kernel: Odd = 3
    temporal_kernel: Odd = 3

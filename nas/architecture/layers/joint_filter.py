"""Spatiotemporal joint filter decomposition (NeurIPS 2021)."""

from __future__ import annotations

from typing import ClassVar, Literal

from nas.architecture.fields import Odd, PositiveInt
from nas.architecture.layers.base import LayerConfig
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape


class JointFilter(LayerConfig):
    """Residual block of two 3D convolutions, each decomposed into temporal atoms, spatial atoms and
    coefficients.
    """

    strides_allowed: ClassVar[bool] = True

    op: Literal["joint_filter"] = "joint_filter"
    temporal_atoms: PositiveInt = 3
    spatial_atoms: PositiveInt = 6
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    execution: Literal["composed", "factored"] = "composed"

    def check(self, shape: Shape, path: str) -> None:
        for name, atoms, most in (
            ("temporal_atoms", self.temporal_atoms, self.temporal_kernel),
            ("spatial_atoms", self.spatial_atoms, self.kernel**2),
        ):
            if atoms > most:
                raise ArchitectureError(
                    f"{path}.{name}", f"{atoms} is more than its kernel has places; allowed: 1 to {most}"
                )

"""Sparse tubes as a layer (after TubeViT, CVPR 2023)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field

from nas.architecture.fields import Tube
from nas.architecture.layers.base import AttentionConfig
from nas.architecture.shape import Shape

_TUBES = (Tube(kernel=(2, 2, 2), stride=(2, 2, 2)), Tube(kernel=(4, 1, 1), stride=(4, 2, 2)))


class SparseTube(AttentionConfig):
    """Attention of every grid cell to the tube tokens of the map."""

    op: Literal["sparse_tube"] = "sparse_tube"
    tubes: tuple[Tube, ...] = Field(min_length=1)

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        for i, tube in enumerate(self.tubes):
            tube.check(shape, f"{path}.tubes.{i}")

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"tubes": tuple(tube.fitted(shape) for tube in self.tubes)})

    @classmethod
    def suited(cls, shape: Shape, **fields: Any) -> Self:
        """With cubes of 2x2x2 cells, and long tubes of single cells in time."""
        return super().suited(shape, **{"tubes": _TUBES, **fields})

"""A stem of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Triple, halved
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import ClassTokens, Shape
from nas.architecture.stems.base import StemConfig


class PatchStem(StemConfig):
    """Non-overlapping patches (tubelets), a linear projection and a learned position embedding."""

    op: Literal["patch"] = "patch"
    size: Triple = (1, 16, 16)
    position: Literal["none", "joint", "factorized", "spatial"] = Field(
        default="factorized",
        description="learned: one per token, one per place plus one per frame, one per place, or none",
    )
    class_tokens: ClassTokens = Field(default="none", description="none, one per clip, or one per frame")
    norm: bool = False
    norm_eps: PositiveFloat = 1e-5

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        for name, n, p in zip(("frames", "height", "width"), shape.extent, self.size, strict=True):
            if n % p:
                raise ArchitectureError(
                    f"{path}.size",
                    f"{list(self.size)} does not divide the input's {name} {n}; allowed: divisors of {n}",
                )
        return replace(shape.strided(self.size, width), class_tokens=self.class_tokens)

    def fitted(self, shape: Shape) -> Self:
        size = tuple(min(p, n) for p, n in zip(self.size, shape.extent, strict=True))
        return self.model_copy(update={"size": size})

    @property
    def cell(self) -> Triple:
        return self.size

    def halved(self, axes: Sequence[int]) -> Self:
        return self.model_copy(update={"size": halved(self.size, axes)})

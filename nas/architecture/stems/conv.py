"""A stem of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field

from nas.architecture.fields import Odd, PositiveInt, Triple, halved, narrower
from nas.architecture.shape import Shape
from nas.architecture.stems.base import StemConfig


class ConvStem(StemConfig):
    """Convolution, optional convolution over time, and BN with ReLU or LayerNorm.

    The convolution over time is depthwise, or, with an `inner_width` W, preceded by BN and ReLU and
    dense: W to width.
    """

    any_extent: ClassVar[bool] = True

    op: Literal["conv"] = "conv"
    kernel: tuple[Odd, Odd, Odd] = (3, 7, 7)
    stride: Triple = (1, 4, 4)
    temporal_kernel: Odd = Field(default=1, description="convolution over time that follows; 1 for none")
    inner_width: PositiveInt | None = Field(
        default=None, description="channels between the two convolutions; none for a depthwise second one"
    )
    norm: Literal["batch", "layer"] = "batch"

    def narrowed(self, share: float) -> Self:
        """With the channels between its convolutions scaled."""
        if self.inner_width is None:
            return self
        return self.model_copy(update={"inner_width": narrower(self.inner_width, share)})

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        return shape.strided(self.stride, width)

    @property
    def cell(self) -> Triple:
        return self.stride

    def halved(self, axes: Sequence[int]) -> Self:
        return self.model_copy(update={"stride": halved(self.stride, axes)})

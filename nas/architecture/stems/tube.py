"""A stem of sparse tubes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field

from nas.architecture.fields import Triple, Tube, halved
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape
from nas.architecture.stems.base import StemConfig


class StemTube(Tube):
    """A tube of the stem; `space_to_depth` trades channels of the convolution for a finer stride.

    The convolution makes width / prod(space_to_depth) channels at a stride divided by the factors,
    and neighbouring outputs are concatenated on channels: token count and width are unchanged.
    """

    space_to_depth: Triple = (1, 1, 1)

    def halved(self, axes: Sequence[int]) -> Self:
        """This tube with half of its kernel, stride and offset along some axes."""
        offset = tuple(o // 2 if axis in axes else o for axis, o in enumerate(self.offset))
        changes = {"kernel": halved(self.kernel, axes), "stride": halved(self.stride, axes), "offset": offset}
        return self.model_copy(update=changes)


PAPER_TUBES = (
    StemTube(kernel=(8, 8, 8), stride=(16, 32, 32), space_to_depth=(2, 1, 1)),
    StemTube(kernel=(16, 4, 4), stride=(6, 32, 32), offset=(4, 8, 8), space_to_depth=(1, 2, 2)),
    StemTube(kernel=(4, 12, 12), stride=(16, 32, 32), offset=(0, 16, 16)),
    StemTube(kernel=(1, 16, 16), stride=(32, 16, 16)),
)


class TubeStem(StemConfig):
    """Sparse video tubes (TubeViT, CVPR 2023): the tokens of a few strided 3D convolutions,
    concatenated.

    An image, a clip of one frame, goes through the tubes without extent in time alone.
    """

    op: Literal["tube"] = "tube"
    tubes: tuple[StemTube, ...] = Field(default=PAPER_TUBES, min_length=1)
    interpolated: bool = Field(default=False, description="one learned 8x8x8 kernel, resized to that of every tube")

    def image_tubes(self) -> tuple[int, ...]:
        """Places in `tubes` of those that an image goes through: of one frame, from the first."""
        return tuple(i for i, tube in enumerate(self.tubes) if tube.kernel[0] == 1 and tube.offset[0] == 0)

    @property
    def takes_images(self) -> bool:
        return bool(self.image_tubes())

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        if self.interpolated and any(math.prod(tube.space_to_depth) > 1 for tube in self.tubes):
            raise ArchitectureError(
                f"{path}.interpolated", "true shares one kernel of one width; allowed: tubes without space_to_depth"
            )
        for i, tube in enumerate(self.tubes):
            where = f"{path}.tubes.{i}"
            tube.check(shape, where)
            factor = math.prod(tube.space_to_depth)
            if width % factor:
                raise ArchitectureError(
                    f"{where}.space_to_depth",
                    f"{list(tube.space_to_depth)} does not divide width {width}; allowed: factors whose product does",
                )
            if any(s % f for s, f in zip(tube.stride, tube.space_to_depth, strict=True)):
                raise ArchitectureError(
                    f"{where}.space_to_depth",
                    f"{list(tube.space_to_depth)} does not divide stride {list(tube.stride)}; allowed: its divisors",
                )
        return Shape(1, 1, sum(tube.tokens(shape) for tube in self.tubes), width, grid=False)

    def fitted(self, shape: Shape) -> Self:
        chosen = (shape.frames == 1 and self.image_tubes()) or range(len(self.tubes))
        return self.model_copy(update={"tubes": tuple(self.tubes[i].fitted(shape) for i in chosen)})

    @property
    def cell(self) -> Triple:
        """Of the tubes whose tokens stand closest."""
        time, height, width = (min(tube.stride[axis] for tube in self.tubes) for axis in range(3))
        return time, height, width

    def halved(self, axes: Sequence[int]) -> Self:
        return self.model_copy(update={"tubes": tuple(tube.halved(axes) for tube in self.tubes)})

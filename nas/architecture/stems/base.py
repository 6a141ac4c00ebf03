"""What a stem's type says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from nas.architecture.fields import Operator, Triple
from nas.architecture.shape import Shape


class StemConfig(Operator):
    """Base of the stems.

    An architecture asks `output` first, before anything is built; `fitted` when it is resized to
    another input, before `output`; `cell` and `halved` when a published network is brought to small
    clips, and a stem that has neither stays as it is. The module is then called as `Module(config,
    shape_in, shape_out)` and maps (B, T, H, W, 3), a view of (B, 3, T, H, W), to (B, T', H', W',
    C).

    Attributes:
        any_extent: Whether it is a convolution, which takes clips of any frames and size.
    """

    any_extent: ClassVar[bool] = False

    @property
    def takes_images(self) -> bool:
        """Whether it also takes clips of one frame, whatever frames it was built for."""
        return False

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        """The map that it makes of a clip.

        Args:
            shape: The input.
            width: Channels of the first stage.
            path: Where it stands in the file, for messages.

        Raises:
            ArchitectureError: It cannot read this input.
        """
        raise NotImplementedError

    def fitted(self, shape: Shape) -> Self:
        """This stem for another input, with what is larger than the input clipped."""
        return self

    @property
    def cell(self) -> Triple:
        """Frames and pixels from one token to the next, in time, height and width."""
        return (1, 1, 1)

    def halved(self, axes: Sequence[int]) -> Self:
        """This stem with cells of half the extent, rounded down and at least 1, along some axes: 0
        is time, 1 height and 2 width.
        """
        return self

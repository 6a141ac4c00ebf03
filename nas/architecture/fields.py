"""Types of the fields of a file, and the base of everything that has fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape
from nas.errors import brief

LARGEST = 1_000_000  # of a size in a file: products of a few still are numbers that torch can hold
# A text, a truth value or a fraction is no number of frames, in a file and in a call.
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; allowed: odd numbers, because the map keeps its size")
    return value


def _pair(value: Any) -> Any:
    if isinstance(value, int):
        return value, value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{brief(value)} is not allowed; allowed: one number, or two for height and width")
    return value


Odd = Annotated[PositiveInt, AfterValidator(_odd)]
Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Offset = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]
Dropout = Annotated[float, Field(ge=0, lt=1)]


def narrower(channels: int, share: float, unit: int = 4) -> int:
    """A number of channels times `share`, in whole units and at least one."""
    return max(unit, round(channels * share / unit) * unit)


def halved(sizes: Triple, axes: Sequence[int]) -> Triple:
    """Sizes of which those along some axes are halved, rounded down and at least 1."""
    time, height, width = (max(1, size // 2) if axis in axes else size for axis, size in enumerate(sizes))
    return time, height, width


class Config(BaseModel):
    """Base of every part of the file: frozen and hashable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Operator(Config):
    """Base of what a file tells apart by `op`: stems, layers, downsamplings and heads.

    A type of its own gives the name in the file as a literal with that default,
    `op: Literal["t2d"] = "t2d"`; its other fields are its options, with their defaults and a
    description where the name does not say all.
    """

    op: str

    @classmethod
    def op_name(cls) -> str:
        """The name in the file."""
        return str(cls.model_fields["op"].default)

    def narrowed(self, share: float) -> Self:
        """This operator for a network whose stages are `share` as wide: an operator that counts
        heads or channels of its own overrides this.
        """
        return self


class Tube(Config):
    """One tube of a tokenizer: a convolution without padding that starts at `offset`.

    Sizes are (frames, height, width) in units of the map that it reads: pixels in the stem, grid
    cells in a layer.
    """

    kernel: Triple
    stride: Triple
    offset: Offset = (0, 0, 0)

    def extent(self, shape: Shape) -> tuple[int, int, int]:
        """Number of tokens along (frames, height, width); zero where the tube does not fit."""
        sizes = zip(shape.extent, self.kernel, self.stride, self.offset, strict=True)
        frames, height, width = (max(0, (n - o - k) // s + 1) for n, k, s, o in sizes)
        return frames, height, width

    def tokens(self, shape: Shape) -> int:
        return math.prod(self.extent(shape))

    def fitted(self, shape: Shape) -> Self:
        """This tube with kernel and offset clipped to the map, so that it gives some token."""
        kernel = tuple(min(k, n) for k, n in zip(self.kernel, shape.extent, strict=True))
        offset = tuple(min(o, n - k) for o, n, k in zip(self.offset, shape.extent, kernel, strict=True))
        return self.model_copy(update={"kernel": kernel, "offset": offset})

    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the tube does not fit into a map of this shape."""
        if self.tokens(shape) == 0:
            raise ArchitectureError(
                f"{path}.kernel",
                f"{list(self.kernel)} at offset {list(self.offset)} is larger than the map {shape}; "
                f"allowed: kernel + offset up to {list(shape.extent)}",
            )


def check_window(window: Sequence[int], sizes: Sequence[int], path: str) -> None:
    """Raises ArchitectureError when a window of the layer at `path` is larger than its map."""
    if any(w > n for w, n in zip(window, sizes, strict=True)):
        raise ArchitectureError(
            f"{path}.window", f"{list(window)} is larger than the map; allowed: up to {list(sizes)} here"
        )


def clipped(window: Sequence[int] | None, sizes: Sequence[int]) -> tuple[int, ...] | None:
    """A window no larger than its map; no window stays none."""
    return tuple(min(w, n) for w, n in zip(window, sizes, strict=True)) if window else None

"""Shapes of feature maps, and the arithmetic of strides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ClassTokens = Literal["none", "clip", "frame"]
UNIT_STRIDE = (1, 1, 1)


@dataclass(frozen=True)
class Shape:
    """Shape of a feature map without its batch: (frames, height, width, channels).

    Attributes:
        grid: False for the N tokens of a tube tokenizer, which have no neighbours: (1, 1, N,
            channels).
        class_tokens: `clip` for one class token before all others, so that the map is stored as
            (1, 1, 1 + frames height width, channels); `frame` for one before those of each frame,
            stored as (frames, 1, 1 + height width, channels).
    """

    frames: int
    height: int
    width: int
    channels: int
    grid: bool = True
    class_tokens: ClassTokens = "none"

    @property
    def extent(self) -> tuple[int, int, int]:
        return self.frames, self.height, self.width

    @property
    def stored(self) -> tuple[int, int, int]:
        """The axes between batch and channels of the tensor that holds the map."""
        match self.class_tokens:
            case "clip":
                return 1, 1, 1 + math.prod(self.extent)
            case "frame":
                return self.frames, 1, 1 + self.height * self.width
        return self.extent

    @property
    def tokens(self) -> int:
        return math.prod(self.stored)

    @property
    def plain(self) -> bool:
        """Whether every token has a place on a grid of frames, rows and columns."""
        return self.grid and self.class_tokens == "none"

    def strided(self, stride: tuple[int, int, int], channels: int) -> Shape:
        """The shape after an operator of this stride that would keep the size at stride 1."""
        t, h, w = stride
        return Shape(
            -(-self.frames // t), -(-self.height // h), -(-self.width // w), channels, self.grid, self.class_tokens
        )

    def __str__(self) -> str:
        return "x".join(map(str, (*self.extent, self.channels))) + {"clip": " + 1", "frame": " + 1 per frame"}.get(
            self.class_tokens, ""
        )

"""Triple 2D decomposition (T2D, ICLR 2023 submission)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Triple, check_window, clipped
from nas.architecture.layers.base import POSITION_ENCODING, AttentionConfig, suited_window
from nas.architecture.shape import Shape


class T2D(AttentionConfig):
    """Triple 2D decomposition: attention on the XY plane, then on the TH and TW planes of its
    output.
    """

    op: Literal["t2d"] = "t2d"
    variant: Literal["shared", "separate", "fused", "2d", "2d+1d", "3d"] = "shared"
    window: Triple | None = Field(default=None, description="(frames, height, width); none for whole planes")
    cpe: Literal["none", "2d", "3d"] = POSITION_ENCODING
    norm_eps: PositiveFloat = 1e-5

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if self.window:
            check_window(self.window, shape.extent, path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": clipped(self.window, shape.extent)})

    @classmethod
    def suited(cls, shape: Shape, **fields: Any) -> Self:
        """With windows in large planes."""
        return super().suited(shape, **{**suited_window(shape, (8, 7, 7)), **fields})

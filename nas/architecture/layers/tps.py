"""Temporal patch shift (TPS, ECCV 2022)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Pair, check_window, clipped
from nas.architecture.layers.base import AttentionConfig
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape


class TPS(AttentionConfig):
    """Temporal patch shift: a Swin block whose patches or channels are shifted in time before
    attention.
    """

    op: Literal["tps"] = "tps"
    window: Pair = (7, 7)
    cyclic: bool = Field(default=False, description="shift the windows by half a window, as Swin's odd blocks")
    shift: Literal["patch", "channel", "none"] = "patch"
    pattern: Literal["3x3", "2x2", "2x2_long"] = "3x3"
    bias_index: Literal["shifted", "released"] = "shifted"
    norm_eps: PositiveFloat = 1e-5

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        check_window(self.window, shape.extent[1:], path)
        if self.shift == "channel" and shape.channels // self.heads < 8:
            raise ArchitectureError(
                f"{path}.heads",
                f"{self.heads} leaves {shape.channels // self.heads} channels per head, of which a channel shift moves "
                f"an eighth each way; allowed: at least 8 per head, so up to {shape.channels // 8} heads",
            )

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": clipped(self.window, shape.extent[1:])})

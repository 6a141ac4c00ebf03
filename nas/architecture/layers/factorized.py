"""Factorized space-time attention (TimeSformer, ViViT)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from nas.architecture.fields import Pair, check_window, clipped
from nas.architecture.layers.base import AttentionConfig, suited_window
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape


class Factorized(AttentionConfig):
    """Factorized attention: TimeSformer's divided, ViViT's model 3 and model 4, joint (model 1),
    and space alone.
    """

    tokens_allowed: ClassVar[bool] = True
    class_tokens_allowed: ClassVar[bool] = True

    op: Literal["factorized"] = "factorized"
    variant: Literal["divided", "self_attention", "dot_product", "joint", "space"] = "divided"
    window: Pair | None = Field(default=None, description="(height, width) of the spatial attention; none for all")
    stem_gate: bool = Field(
        default=False,
        description="adds tanh(gate) times the raw tokens of the tube stem, with a gate that starts at zero",
    )

    @property
    def adds_stem_tokens(self) -> bool:
        return self.stem_gate

    def narrowed(self, share: float) -> Self:
        """With an even number of heads where half of them attend over time."""
        layer = super().narrowed(share)
        odd = self.variant == "dot_product" and layer.heads % 2
        return layer.model_copy(update={"heads": layer.heads + 1}) if odd else layer

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        allowed = {"clip": ("divided", "joint"), "frame": ("space",)}.get(shape.class_tokens)
        if allowed and self.variant not in allowed:
            raise ArchitectureError(
                f"{path}.variant",
                f"{self.variant!r} has no place for one class token per {shape.class_tokens}; "
                f"allowed: {', '.join(map(repr, allowed))}",
            )
        if not shape.grid and self.variant != "joint":
            raise ArchitectureError(
                f"{path}.variant", f"{self.variant!r} needs a grid, and a tube stem makes none; allowed: 'joint'"
            )
        if self.stem_gate and shape.grid:
            raise ArchitectureError(
                f"{path}.stem_gate", "true adds the tokens of a tube stem, and there is none; allowed: false"
            )
        if self.variant == "dot_product" and self.heads % 2:
            raise ArchitectureError(
                f"{path}.heads", f"{self.heads} cannot be halved between time and space; allowed: even numbers"
            )
        if self.window:
            if self.variant == "joint":
                raise ArchitectureError(
                    f"{path}.window", f"{list(self.window)} has no meaning for 'joint'; allowed: null"
                )
            if shape.class_tokens != "none":
                raise ArchitectureError(
                    f"{path}.window", f"{list(self.window)} has no place for a class token; allowed: null"
                )
            check_window(self.window, shape.extent[1:], path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": clipped(self.window, shape.extent[1:])})

    @classmethod
    def suited(cls, shape: Shape, **fields: Any) -> Self:
        """With the variant that the tokens allow, and windows in large planes."""
        variant = "space" if shape.class_tokens == "frame" else "divided" if shape.grid else "joint"
        return super().suited(shape, **{"variant": variant, **suited_window(shape, (7, 7)), **fields})

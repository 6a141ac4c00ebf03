"""What a layer's type says of itself, and what the layers with attention share."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Activation, Operator, PositiveInt
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import Shape

LISTED_WIDTH = 10_000  # beyond it a message names no divisors
LARGE_PLANE = 14  # rows or columns beyond which attention gets windows where the user gives none
POSITION_ENCODING: Any = Field(
    default="none",
    description="convolutional position encoding before attention and MLP: depthwise 3x3 in space, or on three planes",
)


class LayerConfig(Operator):
    """Base of the operators that layers of a stage may be.

    An architecture calls `check` with the map that the layer gives, before anything is built, and
    `fitted` when it is resized to another input. `suited` makes an instance from the map alone:
    edits ask it for what takes another layer's place, tests for something to build. The module is
    called as `Module(config, shape_in, shape_out, stride)` and maps (B, T, H, W, C) to (B, T', H',
    W', C'); input and output differ only where `strides_allowed`.

    Attributes:
        tokens_allowed: Whether it works without a grid, on the tokens of a tube stem.
        class_tokens_allowed: Whether some form of it works on maps with class tokens.
        strides_allowed: Whether it can carry the stride of an `in_layer` downsample; such layers
            are convolutions, and take maps of any size.
        ratio: Name of the field that says how much wider than the layer its inside is, if it has
            one; edits multiply it.
    """

    tokens_allowed: ClassVar[bool] = False
    class_tokens_allowed: ClassVar[bool] = False
    strides_allowed: ClassVar[bool] = False
    ratio: ClassVar[str | None] = None

    @property
    def adds_stem_tokens(self) -> bool:
        """Whether its module takes the raw tokens of a tube stem as a second argument."""
        return False

    @property
    def width_divisor(self) -> int:
        """What a width must be a multiple of."""
        return 1

    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the layer cannot work on a map of this shape.

        Args:
            shape: The map that it gives.
            path: Where it stands in the file: the message names a field below it.
        """

    def fitted(self, shape: Shape) -> Self:
        """This layer for a smaller map, with windows and the like clipped."""
        return self

    @classmethod
    def suited(cls, shape: Shape, **fields: Any) -> Self:
        """A layer of this type for a map: defaults where the fields say nothing.

        An operator with a field that has no default, or whose default suits few maps, overrides
        this and sets it from the shape.

        Raises:
            pydantic.ValidationError: A field is missing or not allowed.
        """
        return cls.model_validate(fields).fitted(shape)


class AttentionConfig(LayerConfig):
    """What the layers with attention share: heads and the MLP that follows."""

    ratio: ClassVar[str | None] = "mlp_ratio"

    heads: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    activation: Activation = "gelu"
    norm_eps: PositiveFloat = 1e-6

    @property
    def width_divisor(self) -> int:
        return self.heads

    def narrowed(self, share: float) -> Self:
        """With fewer heads, which stay about as wide."""
        return self.model_copy(update={"heads": max(1, round(self.heads * share))})

    def check(self, shape: Shape, path: str) -> None:
        width = shape.channels
        if width % self.heads:
            allowed = f"divisors of {width}"
            if width <= LISTED_WIDTH:
                allowed = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
            raise ArchitectureError(
                f"{path}.heads", f"{self.heads} does not divide the width {width}; allowed: {allowed}"
            )

    @classmethod
    def suited(cls, shape: Shape, **fields: Any) -> Self:
        """With heads of about 32 channels."""
        heads = next(h for h in range(max(1, shape.channels // 32), 0, -1) if shape.channels % h == 0)
        return super().suited(shape, **{"heads": heads, **fields})


def suited_window(shape: Shape, window: tuple[int, ...]) -> dict[str, Any]:
    """The field `window` for large planes, in which attention to all of it would be dear."""
    return {"window": window} if shape.plain and max(shape.height, shape.width) > LARGE_PLANE else {}

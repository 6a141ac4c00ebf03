"""Heads: from the last map to class logits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Dropout, Operator, PositiveInt, narrower
from nas.architecture.messages import ArchitectureError
from nas.architecture.registry import Registry
from nas.architecture.shape import Shape


class HeadConfig(Operator):
    """Base of the heads.

    An architecture calls `check` before anything is built. The module is then called as
    `Module(config, shape_in, shape_out)` and maps (B, T, H, W, C) to logits (B, classes);
    `shape_out.channels` is the number of classes.

    Attributes:
        any_extent: Whether it takes maps of any frames and size.
        larger_extent: Whether it takes maps larger than the one it was built for, in evaluation.
    """

    any_extent: ClassVar[bool] = False
    larger_extent: ClassVar[bool] = False

    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the head cannot work on a map of this shape; by default
        where there are class tokens.
        """
        if shape.class_tokens != "none":
            raise ArchitectureError(
                f"{path}.op",
                f"{self.op!r} takes no class token; allowed: "
                + {"clip": "'class_token'"}.get(shape.class_tokens, "a stage with downsample 'frame_pool' before it"),
            )


class MeanHead(HeadConfig):
    """LayerNorm and the mean over all tokens, dropout, linear classifier."""

    any_extent: ClassVar[bool] = True

    op: Literal["mean"] = "mean"
    norm: Literal["before", "frame", "after", "none"] = Field(
        default="before", description="LayerNorm of tokens, of the mean of each frame, of the mean of all, or none"
    )
    dropout: Dropout = 0.0
    norm_eps: PositiveFloat = 1e-6

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if self.norm == "frame" and not shape.grid:
            raise ArchitectureError(
                f"{path}.norm",
                "'frame' needs tokens of single frames, and a tube stem makes none; allowed: 'before', 'after', 'none'",
            )


class AttentionHead(HeadConfig):
    """LayerNorm, one learned query with a softmax over all tokens, dropout, linear classifier."""

    op: Literal["attention"] = "attention"
    dropout: Dropout = 0.0
    norm_eps: PositiveFloat = 1e-6


class ClassTokenHead(HeadConfig):
    """LayerNorm of the class token, dropout, linear classifier."""

    op: Literal["class_token"] = "class_token"
    dropout: Dropout = 0.0
    norm_eps: PositiveFloat = 1e-6

    def check(self, shape: Shape, path: str) -> None:
        if shape.class_tokens != "clip":
            raise ArchitectureError(
                f"{path}.op", "'class_token' finds none in this map; allowed: 'mean', 'attention', or a stem with one"
            )


class ConvHead(HeadConfig):
    """Pointwise convolution with BN and ReLU, mean over all cells, linear with ReLU, dropout,
    linear (X3D, VoV3D).

    Fully convolutional: a larger clip in evaluation is pooled in windows of the size of the map it
    was built for, one cell apart, and the class probabilities of all windows are averaged.
    """

    larger_extent: ClassVar[bool] = True

    op: Literal["conv"] = "conv"
    inner_width: PositiveInt
    width: PositiveInt = 2048
    dropout: Dropout = 0.5

    def narrowed(self, share: float) -> Self:
        """With both of its widths scaled."""
        widths = {"inner_width": narrower(self.inner_width, share), "width": narrower(self.width, share)}
        return self.model_copy(update=widths)

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if not shape.grid:
            raise ArchitectureError(
                f"{path}.op", "'conv' needs a grid, and a tube stem makes none; allowed: 'mean', 'attention'"
            )


class SimilarityHead(HeadConfig):
    """LayerNorm, mean over all tokens, projection, scaled cosine with a vector per class (CLIP).

    The vectors are not trained: they are drawn at random, or given, as the embeddings of a text
    encoder, and others take their place to score classes that were never trained.
    """

    any_extent: ClassVar[bool] = True

    op: Literal["similarity"] = "similarity"
    dimension: PositiveInt = Field(default=512, description="numbers of a class's vector")
    dropout: Dropout = 0.0
    norm_eps: PositiveFloat = 1e-6


HEADS = Registry(HeadConfig, __name__)
Head = Annotated[HeadConfig, HEADS]

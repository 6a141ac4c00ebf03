"""Downsamplings: what may stand between two stages."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat

from nas.architecture.fields import Operator, Triple
from nas.architecture.messages import ArchitectureError
from nas.architecture.registry import Registry
from nas.architecture.shape import Shape


class DownsampleConfig(Operator):
    """Base of what may stand before the layers of a stage.

    An architecture asks `output` before anything is built. The module is then called as
    `Module(config, shape_in, shape_out)` and maps (B, T, H, W, C) to (B, T', H', W', C'); one that
    the first layer does itself has no module.

    Attributes:
        changes_width: Whether the stage may have another width than the one before.
        any_extent: Whether it takes maps of any frames and size.
    """

    changes_width: ClassVar[bool] = True
    any_extent: ClassVar[bool] = True

    @property
    def layer_stride(self) -> tuple[int, int, int] | None:
        """The stride that the first layer of the stage carries in place of a module, if it does."""
        return None

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        """The map that the layers of the stage give.

        Args:
            shape: The map of the stage before.
            width: Channels of the stage.
            path: Of the stage in the file, for messages.

        Raises:
            ArchitectureError: It cannot read this map, or not give this width.
        """
        raise NotImplementedError


class StridedDownsample(DownsampleConfig):
    """One with a stride, on a plain grid."""

    stride: Triple

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        if not shape.plain:
            why = "a class token has no neighbours" if shape.grid else "a tube stem makes none"
            raise ArchitectureError(
                f"{path}.downsample",
                f"{self.op!r} needs a plain grid, and {why}; allowed: null",
            )
        return shape.strided(self.stride, width)


class ConvDownsample(StridedDownsample):
    """LayerNorm and a convolution whose kernel is its stride; an edge that does not divide is
    padded with zeros.
    """

    op: Literal["conv"] = "conv"


class MergeDownsample(StridedDownsample):
    """Swin's patch merging: the neighbours of a cell of the stride side by side, LayerNorm, linear
    without bias.
    """

    op: Literal["merge"] = "merge"


class InLayerDownsample(StridedDownsample):
    """The first layer of the stage changes stride and width itself, as residual convolution blocks
    do.
    """

    op: Literal["in_layer"] = "in_layer"

    @property
    def layer_stride(self) -> tuple[int, int, int] | None:
        return self.stride


class FramePool(DownsampleConfig):
    """One token per frame, its class token or else the mean of its tokens, and LayerNorm: a map of
    T x 1 x 1.

    The layers of the stage are then a temporal transformer, as in ViViT's factorised encoder (model
    2).
    """

    changes_width: ClassVar[bool] = False
    any_extent: ClassVar[bool] = False

    op: Literal["frame_pool"] = "frame_pool"
    position: bool = Field(default=True, description="learned position of every frame")
    class_token: bool = Field(default=False, description="a learned token before the frames")
    norm_eps: PositiveFloat = 1e-6

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        if not shape.grid or shape.class_tokens == "clip":
            raise ArchitectureError(
                f"{path}.downsample",
                "'frame_pool' needs tokens of single frames; allowed: behind a stem of patches or convolutions "
                "without a class token of the whole clip",
            )
        if width != shape.channels:
            raise ArchitectureError(
                f"{path}.width",
                f"{width} differs from the incoming width {shape.channels}, which 'frame_pool' keeps; "
                f"allowed: {shape.channels}",
            )
        return Shape(shape.frames, 1, 1, width, class_tokens="clip" if self.class_token else "none")


DOWNSAMPLES = Registry(DownsampleConfig, __name__)
Downsample = Annotated[DownsampleConfig, DOWNSAMPLES]

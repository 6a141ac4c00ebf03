"""The architecture file: everything that is needed to build a video network, typed.

An architecture is an input, a stem, stages of layers and a head. This module knows the file format
and the arithmetic of shapes; it never imports torch. `Architecture.parts` lists what a network
consists of with the shapes that go in and out: the network builder, the cost model and the latency
tables read it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from nas.errors import NasError, brief
from nas.resources import find_resource


class ArchitectureError(NasError):
    """An architecture that cannot be built; the message names the field, its value and what is
    allowed.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[ArchitectureError], tuple[str, str]]:
        return ArchitectureError, (self.path, self.problem)


ClassTokens = Literal["none", "clip", "frame"]


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


# A text, a truth value or a fraction is no number of frames, in a file and in a call.
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]


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

UNIT_STRIDE = (1, 1, 1)
LISTED_WIDTH = 10_000  # beyond it a message names no divisors


class Config(BaseModel):
    """Base of every part of the file: frozen and hashable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        """This tube with kernel and offset clipped to the map, so that it gives at least one token."""
        kernel = tuple(min(k, n) for k, n in zip(self.kernel, shape.extent, strict=True))
        offset = tuple(min(o, n - k) for o, n, k in zip(self.offset, shape.extent, kernel, strict=True))
        return self.model_copy(update={"kernel": kernel, "offset": offset})


class StemTube(Tube):
    """A tube of the stem; `space_to_depth` trades channels of the convolution for a finer stride.

    The convolution makes width / prod(space_to_depth) channels at a stride divided by the factors,
    and neighbouring outputs are concatenated on channels: token count and width are unchanged.
    """

    space_to_depth: Triple = (1, 1, 1)


# -------------------------------------------------------------------------------------------- stems


class ConvStem(Config):
    """Convolution, optional convolution over time, and BN with ReLU or LayerNorm.

    The convolution over time is depthwise, or, with an `inner_width` W, preceded by BN and ReLU and
    dense: W to width.
    """

    op: Literal["conv"] = "conv"
    kernel: tuple[Odd, Odd, Odd] = (3, 7, 7)
    stride: Triple = (1, 4, 4)
    temporal_kernel: Odd = Field(default=1, description="convolution over time that follows; 1 for none")
    inner_width: PositiveInt | None = Field(
        default=None, description="channels between the two convolutions; none for a depthwise second one"
    )
    norm: Literal["batch", "layer"] = "batch"

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        return shape.strided(self.stride, width)

    def fitted(self, shape: Shape) -> Self:
        return self


class PatchStem(Config):
    """Non-overlapping patches (tubelets), a linear projection and a learned position embedding."""

    op: Literal["patch"] = "patch"
    size: Triple = (1, 16, 16)
    position: Literal["none", "joint", "factorized", "spatial"] = Field(
        default="factorized",
        description="learned: one per token, one per place plus one per frame, one per place, or none",
    )
    class_tokens: ClassTokens = Field(default="none", description="none, one per clip, or one per frame")
    norm: bool = False
    norm_eps: PositiveFloat = 1e-5

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        for name, n, p in zip(("frames", "height", "width"), shape.extent, self.size, strict=True):
            if n % p:
                raise ArchitectureError(
                    f"{path}.size",
                    f"{list(self.size)} does not divide the input's {name} {n}; allowed: divisors of {n}",
                )
        return replace(shape.strided(self.size, width), class_tokens=self.class_tokens)

    def fitted(self, shape: Shape) -> Self:
        size = tuple(min(p, n) for p, n in zip(self.size, shape.extent, strict=True))
        return self.model_copy(update={"size": size})


PAPER_TUBES = (
    StemTube(kernel=(8, 8, 8), stride=(16, 32, 32), space_to_depth=(2, 1, 1)),
    StemTube(kernel=(16, 4, 4), stride=(6, 32, 32), offset=(4, 8, 8), space_to_depth=(1, 2, 2)),
    StemTube(kernel=(4, 12, 12), stride=(16, 32, 32), offset=(0, 16, 16)),
    StemTube(kernel=(1, 16, 16), stride=(32, 16, 16)),
)


class TubeStem(Config):
    """Sparse video tubes (TubeViT, CVPR 2023): the tokens of a few strided 3D convolutions,
    concatenated.

    An image, a clip of one frame, goes through the tubes without extent in time alone.
    """

    op: Literal["tube"] = "tube"
    tubes: tuple[StemTube, ...] = Field(default=PAPER_TUBES, min_length=1)
    interpolated: bool = Field(default=False, description="one learned 8x8x8 kernel, resized to that of every tube")

    def image_tubes(self) -> tuple[StemTube, ...]:
        """The tubes that an image goes through: those of one frame from the first."""
        return tuple(tube for tube in self.tubes if tube.kernel[0] == 1 and tube.offset[0] == 0)

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        if self.interpolated and any(math.prod(tube.space_to_depth) > 1 for tube in self.tubes):
            raise ArchitectureError(
                f"{path}.interpolated", "true shares one kernel of one width; allowed: tubes without space_to_depth"
            )
        for i, tube in enumerate(self.tubes):
            where = f"{path}.tubes.{i}"
            _check_tube(tube, shape, where)
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
        tubes = (shape.frames == 1 and self.image_tubes()) or self.tubes
        return self.model_copy(update={"tubes": tuple(tube.fitted(shape) for tube in tubes)})


Stem = Annotated[ConvStem | PatchStem | TubeStem, Field(discriminator="op")]


def _check_tube(tube: Tube, shape: Shape, path: str) -> None:
    if tube.tokens(shape) == 0:
        raise ArchitectureError(
            f"{path}.kernel",
            f"{list(tube.kernel)} at offset {list(tube.offset)} is larger than the map {shape}; "
            f"allowed: kernel + offset up to {list(shape.extent)}",
        )


# ------------------------------------------------------------------------------------------- layers


class LayerConfig(Config):
    """Base of the layer types. `check` runs before anything is built; `fitted` clips the layer to a
    smaller map.

    Attributes:
        tokens_allowed: Whether it works without a grid, on the tokens of a tube stem.
        class_tokens_allowed: Whether some form of it works on maps with class tokens.
        strides_allowed: Whether it can carry the stride of an `in_layer` downsample; such layers
            are convolutions, and take maps of any size.
    """

    op: str
    tokens_allowed: ClassVar[bool] = False
    class_tokens_allowed: ClassVar[bool] = False
    strides_allowed: ClassVar[bool] = False

    @property
    def adds_stem_tokens(self) -> bool:
        """Whether the layer takes the raw tokens of a tube stem beside its input."""
        return False

    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the layer cannot work on a map of this shape."""

    def fitted(self, shape: Shape) -> Self:
        return self


class AttentionConfig(LayerConfig):
    """What the layers with attention share: heads and the MLP that follows."""

    heads: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    activation: Activation = "gelu"
    norm_eps: PositiveFloat = 1e-6

    def check(self, shape: Shape, path: str) -> None:
        width = shape.channels
        if width % self.heads:
            allowed = f"divisors of {width}"
            if width <= LISTED_WIDTH:
                allowed = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
            raise ArchitectureError(
                f"{path}.heads", f"{self.heads} does not divide the width {width}; allowed: {allowed}"
            )


def _check_window(window: Sequence[int], sizes: Sequence[int], path: str) -> None:
    if any(w > n for w, n in zip(window, sizes, strict=True)):
        raise ArchitectureError(
            f"{path}.window", f"{list(window)} is larger than the map; allowed: up to {list(sizes)} here"
        )


POSITION_ENCODING: Any = Field(
    default="none",
    description="convolutional position encoding before attention and MLP: depthwise 3x3 in space, or on three planes",
)


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
            _check_window(self.window, shape.extent, path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": _clipped(self.window, shape.extent)})


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
        _check_window(self.window, shape.extent[1:], path)
        if self.shift == "channel" and shape.channels // self.heads < 8:
            raise ArchitectureError(
                f"{path}.heads",
                f"{self.heads} leaves {shape.channels // self.heads} channels per head, of which a channel shift moves "
                f"an eighth each way; allowed: at least 8 per head, so up to {shape.channels // 8} heads",
            )

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": _clipped(self.window, shape.extent[1:])})


class ChannelAttention(AttentionConfig):
    """DaViT's channel block: attention between the channels of a group, over all tokens; `heads` is
    the groups.
    """

    op: Literal["channel_attention"] = "channel_attention"
    scale: Literal["head_dim", "tokens"] = Field(
        default="tokens", description="keys by head_dim^-0.5 (image network), or queries by tokens^-0.5 (video network)"
    )
    cpe: Literal["none", "2d", "3d"] = POSITION_ENCODING
    norm_eps: PositiveFloat = 1e-5


class Factorized(AttentionConfig):
    """Factorized attention: TimeSformer's divided, ViViT's model 3 and model 4, joint (model 1),
    and space alone.
    """

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
            _check_window(self.window, shape.extent[1:], path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": _clipped(self.window, shape.extent[1:])})

    tokens_allowed: ClassVar[bool] = True
    class_tokens_allowed: ClassVar[bool] = True


class SparseTube(AttentionConfig):
    """Attention of every grid cell to the tube tokens of the map."""

    op: Literal["sparse_tube"] = "sparse_tube"
    tubes: tuple[Tube, ...] = Field(min_length=1)

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        for i, tube in enumerate(self.tubes):
            _check_tube(tube, shape, f"{path}.tubes.{i}")

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"tubes": tuple(tube.fitted(shape) for tube in self.tubes)})


class D2Plus1D(LayerConfig):
    """T-OSA block of depthwise (2+1)D convolutions (VoV3D)."""

    op: Literal["d2plus1d"] = "d2plus1d"
    modules: PositiveInt = Field(default=5, description="D(2+1)D modules whose outputs are aggregated")
    expansion: PositiveFloat = Field(default=2.0, description="inner width E over the layer's width")
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    strides_allowed: ClassVar[bool] = True

    def inner_width(self, width: int) -> int:
        """E of the paper for an output width: even, because a module hands on E / 2 channels."""
        return max(2, round(width * self.expansion / 2) * 2)


class JointFilter(LayerConfig):
    """Residual block of two 3D convolutions, each decomposed into temporal atoms, spatial atoms and
    coefficients.
    """

    op: Literal["joint_filter"] = "joint_filter"
    temporal_atoms: PositiveInt = 3
    spatial_atoms: PositiveInt = 6
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    execution: Literal["composed", "factored"] = "composed"
    strides_allowed: ClassVar[bool] = True

    def check(self, shape: Shape, path: str) -> None:
        for name, atoms, most in (
            ("temporal_atoms", self.temporal_atoms, self.temporal_kernel),
            ("spatial_atoms", self.spatial_atoms, self.kernel**2),
        ):
            if atoms > most:
                raise ArchitectureError(
                    f"{path}.{name}", f"{atoms} is more than its kernel has places; allowed: 1 to {most}"
                )


class Full3D(LayerConfig):
    """Residual block of two ordinary 3D convolutions (R3D)."""

    op: Literal["full3d"] = "full3d"
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    strides_allowed: ClassVar[bool] = True


class X3D(LayerConfig):
    """Inverted residual block with a depthwise 3D convolution (X3D)."""

    op: Literal["x3d"] = "x3d"
    expansion: PositiveFloat = Field(default=2.25, description="inner width over the layer's width")
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    excite: bool = Field(default=True, description="squeeze and excitation; X3D has it in every second block")
    strides_allowed: ClassVar[bool] = True


class R2Plus1D(LayerConfig):
    """Residual block of two 3D convolutions, each split into one over space and one over time
    (R(2+1)D).
    """

    op: Literal["r2plus1d"] = "r2plus1d"
    kernel: Odd = 3
    temporal_kernel: Odd = 3
    strides_allowed: ClassVar[bool] = True


def _clipped(window: Sequence[int] | None, sizes: Sequence[int]) -> tuple[int, ...] | None:
    return tuple(min(w, n) for w, n in zip(window, sizes, strict=True)) if window else None


Layer = Annotated[
    T2D | TPS | ChannelAttention | Factorized | SparseTube | D2Plus1D | JointFilter | Full3D | R2Plus1D | X3D,
    Field(discriminator="op"),
]

# ------------------------------------------------------------------------------- downsampling, head


class DownsampleConfig(Config):
    """Base of what may stand between stages: `output` gives the shape that the stage's layers work
    on.
    """

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        raise NotImplementedError


class StridedDownsample(DownsampleConfig):
    stride: Triple

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        if not shape.plain:
            why = "a class token has no neighbours" if shape.grid else "a tube stem makes none"
            raise ArchitectureError(
                f"{path}.downsample",
                f"{self.op!r} needs a plain grid, and {why}; allowed: null",  # type: ignore[attr-defined]
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


class FramePool(DownsampleConfig):
    """One token per frame, its class token or else the mean of its tokens, and LayerNorm: a map of
    T x 1 x 1.

    The layers of the stage are then a temporal transformer, as in ViViT's factorised encoder (model
    2).
    """

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


Downsample = Annotated[ConvDownsample | MergeDownsample | InLayerDownsample | FramePool, Field(discriminator="op")]


class Stage(Config):
    width: PositiveInt
    downsample: Downsample | None = None
    layers: tuple[Layer, ...] = Field(min_length=1)


Dropout = Annotated[float, Field(ge=0, lt=1)]


class HeadConfig(Config):
    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the head cannot work on a map of this shape."""
        if shape.class_tokens != "none":
            raise ArchitectureError(
                f"{path}.op",
                f"{self.op!r} takes no class token; allowed: "  # type: ignore[attr-defined]
                + (
                    "'class_token'"
                    if shape.class_tokens == "clip"
                    else "a stage with downsample 'frame_pool' before it"
                ),
            )


class MeanHead(HeadConfig):
    """LayerNorm and the mean over all tokens, dropout, linear classifier."""

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

    op: Literal["conv"] = "conv"
    inner_width: PositiveInt
    width: PositiveInt = 2048
    dropout: Dropout = 0.5

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if not shape.grid:
            raise ArchitectureError(
                f"{path}.op", "'conv' needs a grid, and a tube stem makes none; allowed: 'mean', 'attention'"
            )


Head = Annotated[MeanHead | AttentionHead | ClassTokenHead | ConvHead, Field(discriminator="op")]


class Input(Config):
    """A clip as it enters: (batch, channels, frames, height, width)."""

    frames: PositiveInt = 16
    size: Pair = Field(default=(224, 224), description="(height, width), or one number for both")
    channels: PositiveInt = 3

    @property
    def shape(self) -> Shape:
        return Shape(self.frames, *self.size, self.channels)


@dataclass(frozen=True)
class Part:
    """One piece of a network with the shapes that go in and out; equal parts (path aside) compute
    the same.

    Attributes:
        path: Where it stands in the file: `stem`, `stages.1.downsample`, `stages.1.layers.0`,
            `head`.
        config: The typed piece of the file.
        input: Shape that goes in.
        output: Shape that comes out; a head's channels are the classes.
        stride: Stride that a layer carries itself.
    """

    path: str
    config: Config
    input: Shape
    output: Shape
    stride: tuple[int, int, int] = UNIT_STRIDE


def check_layer(layer: LayerConfig, shape: Shape, path: str) -> None:
    """Raises ArchitectureError when a layer cannot stand where maps of this shape pass."""
    if not shape.grid and not layer.tokens_allowed:
        raise ArchitectureError(
            f"{path}.op",
            f"{layer.op!r} needs a grid, and a tube stem makes none; allowed: {', '.join(TOKEN_OPERATORS)}",
        )
    if shape.class_tokens != "none" and not layer.class_tokens_allowed:
        raise ArchitectureError(
            f"{path}.op",
            f"{layer.op!r} has no place for a class token; allowed: {', '.join(CLASS_TOKEN_OPERATORS)}",
        )
    layer.check(shape, path)


class Architecture(Config):
    """A video network as a document; see docs/architecture.md for the file format."""

    name: str | None = None
    input: Input = Input()
    num_classes: PositiveInt = 400
    stem: Stem
    stages: tuple[Stage, ...] = Field(min_length=1)
    head: Head = MeanHead()

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        self.parts()
        return self

    @classmethod
    def parse(cls, data: Any) -> Architecture:
        """Returns the architecture that a plain document (mappings, lists, numbers) describes.

        Raises:
            ArchitectureError: The first thing that is wrong, with its path, value and what is
                allowed.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _readable(error) from None

    def parts(self) -> list[Part]:
        """Lists the pieces of the network in the order in which data flows.

        Raises:
            ArchitectureError: A piece cannot work on the shape that reaches it.
        """
        return list(self.flow)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; the copy finds its own parts."""
        copied = super().model_copy(update=update, deep=deep)
        vars(copied).pop("flow", None)
        return copied

    @cached_property
    def flow(self) -> tuple[Part, ...]:
        """What `parts` lists, found once."""
        shape = self.stem.output(self.input.shape, self.stages[0].width, "stem")
        parts = [Part("stem", self.stem, self.input.shape, shape)]
        for s, stage in enumerate(self.stages):
            path = f"stages.{s}"
            stride = UNIT_STRIDE
            output = shape
            if stage.downsample is not None:
                output = stage.downsample.output(shape, stage.width, path)
            elif stage.width != shape.channels:
                raise ArchitectureError(
                    f"{path}.width",
                    f"{stage.width} differs from the incoming width {shape.channels} and the stage has no downsample; "
                    f"allowed: {shape.channels}, or a downsample (its stride may be [1, 1, 1])",
                )
            if isinstance(stage.downsample, InLayerDownsample):
                stride = stage.downsample.stride
                if not stage.layers[0].strides_allowed:
                    raise ArchitectureError(
                        f"{path}.layers.0.op",
                        f"{stage.layers[0].op!r} cannot carry the stride of an 'in_layer' downsample; "
                        f"allowed: {', '.join(STRIDED_OPERATORS)}",
                    )
            elif stage.downsample is not None:
                parts.append(Part(f"{path}.downsample", stage.downsample, shape, output))
                shape = output
            for i, layer in enumerate(stage.layers):
                where = f"{path}.layers.{i}"
                check_layer(layer, output, where)
                parts.append(Part(where, layer, shape, output, stride))
                shape, stride = output, UNIT_STRIDE
        self.head.check(shape, "head")
        parts.append(Part("head", self.head, shape, Shape(1, 1, 1, self.num_classes, grid=False)))
        return tuple(parts)

    @property
    def convolutional(self) -> bool:
        """Whether everything before the head is a convolution of maps of any size."""
        return isinstance(self.stem, ConvStem) and all(
            layer.strides_allowed and not isinstance(stage.downsample, FramePool)
            for stage in self.stages
            for layer in stage.layers
        )

    @property
    def takes_any_clip(self) -> bool:
        """Whether clips of any frames and size can be trained on and classified: convolutions, then
        a mean.
        """
        return self.convolutional and isinstance(self.head, MeanHead)

    @property
    def takes_larger_clips(self) -> bool:
        """Whether clips larger than the input can be classified: convolutions, then a convolutional
        head.
        """
        return self.convolutional and isinstance(self.head, ConvHead)

    @property
    def takes_images(self) -> bool:
        """Whether single images, clips of one frame, can be classified: a tube stem tokenizes both."""
        return isinstance(self.stem, TubeStem) and bool(self.stem.image_tubes())

    def resized(
        self, frames: int | None = None, size: int | tuple[int, int] | None = None, num_classes: int | None = None
    ) -> Architecture:
        """Returns the same architecture for another input, with windows and tubes clipped to the
        smaller maps.

        Raises:
            ArchitectureError: A number is not allowed, or the stem cannot take that input.
        """
        asked = {key: value for key, value in (("frames", frames), ("size", size)) if value is not None}
        try:
            entry = Input.model_validate(self.input.model_dump() | asked)
        except ValidationError as error:
            raise _readable(error, ("input",)) from None
        stem = self.stem.fitted(entry.shape)
        shape = stem.output(entry.shape, self.stages[0].width, "stem")
        stages = []
        for stage in self.stages:
            if stage.downsample:
                shape = stage.downsample.output(shape, stage.width, "stages")
            layers = tuple(layer.fitted(shape) for layer in stage.layers)
            stages.append(stage.model_copy(update={"layers": layers}))
        document = self.model_copy(update={"input": entry, "stem": stem, "stages": tuple(stages)}).model_dump()
        return Architecture.parse(document | ({} if num_classes is None else {"num_classes": num_classes}))

    def document(self) -> dict[str, Any]:
        """The whole document as plain mappings, lists and numbers, every default written out."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data

    def canonical(self) -> str:
        """A text that two files share exactly when they describe the same network; the name does
        not count.
        """
        data = self.document()
        del data["name"]
        return json.dumps(data, sort_keys=True)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    @property
    def operators(self) -> dict[str, int]:
        """How many layers use each operator, in order of first use."""
        counts: dict[str, int] = {}
        for stage in self.stages:
            for layer in stage.layers:
                counts[layer.op] = counts.get(layer.op, 0) + 1
        return counts

    def save(self, path: str | Path) -> None:
        """Writes the architecture as YAML."""
        Path(path).write_text(yaml.safe_dump(self.document(), sort_keys=False, default_flow_style=None, width=120))


LAYER_TYPES: tuple[type[LayerConfig], ...] = (
    T2D,
    TPS,
    ChannelAttention,
    Factorized,
    SparseTube,
    D2Plus1D,
    JointFilter,
    Full3D,
    R2Plus1D,
    X3D,
)
OPERATORS = tuple(str(kind.model_fields["op"].default) for kind in LAYER_TYPES)
STRIDED_OPERATORS = tuple(op for op, kind in zip(OPERATORS, LAYER_TYPES, strict=True) if kind.strides_allowed)
TOKEN_OPERATORS = tuple(op for op, kind in zip(OPERATORS, LAYER_TYPES, strict=True) if kind.tokens_allowed)
CLASS_TOKEN_OPERATORS = tuple(op for op, kind in zip(OPERATORS, LAYER_TYPES, strict=True) if kind.class_tokens_allowed)


def read_yaml(what: str, path: Path) -> Any:
    """Returns the document in a YAML file.

    Raises:
        NasError: The file cannot be read, or is not YAML, with the line where reading stopped.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NasError(f"{what} {str(path)!r} cannot be read ({error.strerror}); allowed: a readable file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: text, dates and numbers that are none
        reason = " ".join(str(error).split())
        raise NasError(f"{what} {str(path)!r} is not YAML ({reason}); allowed: a YAML document") from None


def load(name: str | Path) -> Architecture:
    """Returns an architecture by the name of a reference network or by path.

    Raises:
        NasError: No such file or name.
        ArchitectureError: The file describes nothing that can be built; the message names the
            field.
    """
    return Architecture.parse(read_yaml("architecture", find_resource("architecture", name, "search_spaces/reference")))


def _missing(error: Any) -> bool:
    return error["type"] == "missing" and not isinstance(error["loc"][-1], int)


def _readable(error: ValidationError, at: tuple[str, ...] = ()) -> ArchitectureError:
    """The first problem of a pydantic error, as one sentence with the path of the field, which may
    begin with `at`.
    """
    # A misspelt key is missing under its right name too: the key that is there tells more.
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0]) if _missing(errors[0]) else errors[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, ArchitectureError):
        return raised
    # A discriminated union puts the tag into the location: it is no key of the file.
    data: Any = first["input"]
    where = (*at, *first["loc"])
    loc = [str(key) for i, key in enumerate(where) if not _is_tag(where, i)]
    path = ".".join(loc) or "architecture"
    value = "a mapping" if isinstance(data, Mapping) else brief(data)
    match first["type"]:
        case "extra_forbidden":
            parent = _model_at(where[:-1])
            allowed = ", ".join(parent.model_fields) if parent else "the documented keys"
            return ArchitectureError(path, f"unknown key; allowed: {allowed}")
        case "missing" if isinstance(where[-1], int):
            return ArchitectureError(".".join(loc[:-1]), f"{value} is too short; allowed: one number for each axis")
        case "too_long":
            return ArchitectureError(path, f"{value} is too long; allowed: one number for each axis")
        case "model_type" | "model_attributes_type" | "dict_type":
            return ArchitectureError(path, f"{value} is not allowed; allowed: a mapping")
        case "missing":
            return ArchitectureError(path, "is missing; allowed: a value (the key is required)")
        case "union_tag_invalid" | "union_tag_not_found":
            ctx = first["ctx"]
            tags = ", ".join(str(kind.model_fields["op"].default) for kind in _union_of(where, len(where)))
            found = f"{brief(ctx['tag'])} is unknown" if "tag" in ctx else "is missing"
            return ArchitectureError(f"{path}.op", f"{found}; allowed: {tags}")
        case "too_short":
            return ArchitectureError(path, "is empty; allowed: at least one entry")
        case "value_error":
            return ArchitectureError(path, str(raised))
        case _:
            return ArchitectureError(path, f"{value} is not allowed; allowed: {_expected(first['msg'])}")


def _expected(message: str) -> str:
    return message.removeprefix("Input should be ").removeprefix("a valid ")


_UNIONS: dict[str, tuple[type[Config], ...]] = {
    "stem": (ConvStem, PatchStem, TubeStem),
    "layers": LAYER_TYPES,
    "downsample": (ConvDownsample, MergeDownsample, InLayerDownsample, FramePool),
    "head": (MeanHead, AttentionHead, ClassTokenHead, ConvHead),
}


def _union_of(loc: Sequence[int | str], i: int) -> tuple[type[Config], ...]:
    """The types that the value at `loc[:i]` may have when it is a union told apart by `op`."""
    keys = [key for key in loc[:i] if isinstance(key, str)]
    return _UNIONS.get(keys[-1], ()) if keys else ()


def _is_tag(loc: Sequence[int | str], i: int) -> bool:
    return any(loc[i] == kind.model_fields["op"].default for kind in _union_of(loc, i))


def _model_at(loc: Sequence[int | str]) -> type[Config] | None:
    """The type whose fields a mapping at this pydantic location may hold."""
    if not loc:
        return Architecture
    names: dict[str, type[Config]] = {"input": Input, "stages": Stage, "tubes": StemTube if "stem" in loc else Tube}
    for i in reversed(range(len(loc))):
        for kind in _union_of(loc, i):
            if loc[i] == kind.model_fields["op"].default:
                return kind
        if loc[i] in names:
            return names[str(loc[i])]
    return None

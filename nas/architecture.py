"""The architecture file: everything that is needed to build a video network, typed.

An architecture is an input, a stem, stages of layers and a head. This module knows the file format and
the arithmetic of shapes; it never imports torch. `Architecture.parts` lists what a network consists of
with the shapes that go in and out: the network builder, the cost model and the latency tables read it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from nas.errors import NasError
from nas.resources import find_resource


class ArchitectureError(NasError):
    """An architecture that cannot be built; the message names the field, its value and what is allowed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[ArchitectureError], tuple[str, str]]:
        return ArchitectureError, (self.path, self.problem)


@dataclass(frozen=True)
class Shape:
    """Shape of a feature map without its batch: (frames, height, width, channels).

    `grid` is False for the N tokens of a tube tokenizer, which have no neighbours: (1, 1, N, channels).
    """

    frames: int
    height: int
    width: int
    channels: int
    grid: bool = True

    @property
    def extent(self) -> tuple[int, int, int]:
        return self.frames, self.height, self.width

    @property
    def tokens(self) -> int:
        return math.prod(self.extent)

    def strided(self, stride: tuple[int, int, int], channels: int) -> Shape:
        """The shape after an operator of this stride that would keep the size at stride 1."""
        frames, height, width = (math.ceil(n / s) for n, s in zip(self.extent, stride, strict=True))
        return replace(self, frames=frames, height=height, width=width, channels=channels)

    def __str__(self) -> str:
        return "x".join(map(str, (*self.extent, self.channels)))


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; allowed: odd numbers, because the map keeps its size")
    return value


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


Odd = Annotated[PositiveInt, AfterValidator(_odd)]
Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Offset = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]

UNIT_STRIDE = (1, 1, 1)


class Config(BaseModel):
    """Base of every part of the file: frozen and hashable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tube(Config):
    """One tube of a tokenizer: a convolution without padding that starts at `offset`.

    Sizes are (frames, height, width) in units of the map that it reads: pixels in the stem, grid cells in a layer.
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

    The convolution makes width / prod(space_to_depth) channels at a stride divided by the factors, and
    neighbouring outputs are concatenated on channels: token count and width are unchanged.
    """

    space_to_depth: Triple = (1, 1, 1)


# ---------------------------------------------------------------------------------------------- stems


class ConvStem(Config):
    """Convolution, optional depthwise convolution over time, normalisation, ReLU."""

    op: Literal["conv"] = "conv"
    kernel: tuple[Odd, Odd, Odd] = (3, 7, 7)
    stride: Triple = (1, 4, 4)
    temporal_kernel: Odd = Field(default=1, description="depthwise convolution over time that follows; 1 for none")
    norm: Literal["batch", "layer"] = "batch"

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        return shape.strided(self.stride, width)

    def fitted(self, shape: Shape) -> Self:
        return self


class PatchStem(Config):
    """Non-overlapping patches (tubelets), a linear projection and a learned position embedding."""

    op: Literal["patch"] = "patch"
    size: Triple = (1, 16, 16)
    position: Literal["none", "joint", "factorized"] = Field(
        default="factorized", description="learned: one per token, one per place plus one per frame, or none"
    )
    norm: bool = False

    def output(self, shape: Shape, width: int, path: str) -> Shape:
        for name, n, p in zip(("frames", "height", "width"), shape.extent, self.size, strict=True):
            if n % p:
                raise ArchitectureError(
                    f"{path}.size",
                    f"{list(self.size)} does not divide the input's {name} {n}; allowed: divisors of {n}",
                )
        return shape.strided(self.size, width)

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
    """Sparse video tubes (TubeViT, CVPR 2023): the tokens of a few strided 3D convolutions, concatenated."""

    op: Literal["tube"] = "tube"
    tubes: tuple[StemTube, ...] = Field(default=PAPER_TUBES, min_length=1)

    def output(self, shape: Shape, width: int, path: str) -> Shape:
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
        return self.model_copy(update={"tubes": tuple(tube.fitted(shape) for tube in self.tubes)})


Stem = Annotated[ConvStem | PatchStem | TubeStem, Field(discriminator="op")]


def _check_tube(tube: Tube, shape: Shape, path: str) -> None:
    if tube.tokens(shape) == 0:
        raise ArchitectureError(
            f"{path}.kernel",
            f"{list(tube.kernel)} at offset {list(tube.offset)} is larger than the map {shape}; "
            f"allowed: kernel + offset up to {list(shape.extent)}",
        )


# --------------------------------------------------------------------------------------------- layers


class LayerConfig(Config):
    """Base of the layer types. `check` runs before anything is built; `fitted` clips the layer to a smaller map."""

    op: str
    tokens_allowed: ClassVar[bool] = False
    strides_allowed: ClassVar[bool] = False

    def check(self, shape: Shape, path: str) -> None:
        """Raises ArchitectureError when the layer cannot work on a map of this shape."""

    def fitted(self, shape: Shape) -> Self:
        return self


class AttentionConfig(LayerConfig):
    """What the layers with attention share: heads and the MLP that follows."""

    heads: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    activation: Activation = "gelu"

    def check(self, shape: Shape, path: str) -> None:
        if shape.channels % self.heads:
            divisors = [n for n in range(1, shape.channels + 1) if shape.channels % n == 0]
            raise ArchitectureError(
                f"{path}.heads",
                f"{self.heads} does not divide the width {shape.channels}; allowed: {', '.join(map(str, divisors))}",
            )


def _check_window(window: Sequence[int], sizes: Sequence[int], path: str) -> None:
    if any(w > n for w, n in zip(window, sizes, strict=True)):
        raise ArchitectureError(
            f"{path}.window", f"{list(window)} is larger than the map; allowed: up to {list(sizes)} here"
        )


class T2D(AttentionConfig):
    """Triple 2D decomposition: attention on the XY plane, then on the TH and TW planes of its output."""

    op: Literal["t2d"] = "t2d"
    variant: Literal["shared", "separate", "fused", "2d", "2d+1d", "3d"] = "shared"
    window: Triple | None = Field(default=None, description="(frames, height, width); none for whole planes")

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if self.window:
            _check_window(self.window, shape.extent, path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": _clipped(self.window, shape.extent)})


class TPS(AttentionConfig):
    """Temporal patch shift: a Swin block whose patches or channels are shifted in time before attention."""

    op: Literal["tps"] = "tps"
    window: Pair = (7, 7)
    cyclic: bool = Field(default=False, description="shift the windows by half a window, as Swin's odd blocks")
    shift: Literal["patch", "channel", "none"] = "patch"
    pattern: Literal["3x3", "2x2", "2x2_long"] = "3x3"
    bias_index: Literal["shifted", "released"] = "shifted"

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


class Factorized(AttentionConfig):
    """Factorized attention: TimeSformer's divided, ViViT's model 3 and model 4, and joint attention (model 1)."""

    op: Literal["factorized"] = "factorized"
    variant: Literal["divided", "self_attention", "dot_product", "joint"] = "divided"
    window: Pair | None = Field(default=None, description="(height, width) of the spatial attention; none for all")

    def check(self, shape: Shape, path: str) -> None:
        super().check(shape, path)
        if not shape.grid and self.variant != "joint":
            raise ArchitectureError(
                f"{path}.variant", f"{self.variant!r} needs a grid, and a tube stem makes none; allowed: 'joint'"
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
            _check_window(self.window, shape.extent[1:], path)

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"window": _clipped(self.window, shape.extent[1:])})

    tokens_allowed: ClassVar[bool] = True


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
    """Residual block of two 3D convolutions, each decomposed into temporal atoms, spatial atoms and coefficients."""

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


def _clipped(window: Sequence[int] | None, sizes: Sequence[int]) -> tuple[int, ...] | None:
    return tuple(min(w, n) for w, n in zip(window, sizes, strict=True)) if window else None


Layer = Annotated[
    T2D | TPS | Factorized | SparseTube | D2Plus1D | JointFilter | Full3D,
    Field(discriminator="op"),
]

# ------------------------------------------------------------------------------------ downsampling, head


class ConvDownsample(Config):
    """LayerNorm and a convolution whose kernel is its stride; an edge that does not divide is padded with zeros."""

    op: Literal["conv"] = "conv"
    stride: Triple


class InLayerDownsample(Config):
    """The first layer of the stage changes stride and width itself, as residual convolution blocks do."""

    op: Literal["in_layer"] = "in_layer"
    stride: Triple


Downsample = Annotated[ConvDownsample | InLayerDownsample, Field(discriminator="op")]


class Stage(Config):
    width: PositiveInt
    downsample: Downsample | None = None
    layers: tuple[Layer, ...] = Field(min_length=1)


class MeanHead(Config):
    """LayerNorm before or after the mean over all tokens, dropout, linear classifier."""

    op: Literal["mean"] = "mean"
    norm: Literal["before", "after", "none"] = "before"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AttentionHead(Config):
    """LayerNorm, one learned query with a softmax over all tokens, dropout, linear classifier."""

    op: Literal["attention"] = "attention"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


Head = Annotated[MeanHead | AttentionHead, Field(discriminator="op")]


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
    """One piece of a network with the shapes that go in and out; equal parts (path aside) compute the same.

    Attributes:
        path: Where it stands in the file: `stem`, `stages.1.downsample`, `stages.1.layers.0`, `head`.
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
            ArchitectureError: The first thing that is wrong, with its path, value and what is allowed.
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
        shape = self.input.shape
        width = self.stages[0].width
        parts = [Part("stem", self.stem, shape, self.stem.output(shape, width, "stem"))]
        for s, stage in enumerate(self.stages):
            path = f"stages.{s}"
            shape = parts[-1].output
            stride = UNIT_STRIDE
            width_in = shape.channels
            if stage.downsample is None:
                if stage.width != width_in:
                    raise ArchitectureError(
                        f"{path}.width",
                        f"{stage.width} differs from the incoming width {width_in} and the stage has no downsample; "
                        f"allowed: {width_in}, or a downsample (its stride may be [1, 1, 1])",
                    )
            elif not shape.grid:
                raise ArchitectureError(
                    f"{path}.downsample",
                    f"{stage.downsample.op!r} needs a grid, and a tube stem makes none; allowed: null",
                )
            elif isinstance(stage.downsample, InLayerDownsample):
                stride = stage.downsample.stride
                if not stage.layers[0].strides_allowed:
                    raise ArchitectureError(
                        f"{path}.layers.0.op",
                        f"{stage.layers[0].op!r} cannot carry the stride of an 'in_layer' downsample; "
                        f"allowed: {', '.join(STRIDED_OPERATORS)}",
                    )
            else:
                shape = shape.strided(stage.downsample.stride, stage.width)
                parts.append(Part(f"{path}.downsample", stage.downsample, parts[-1].output, shape))
            for i, layer in enumerate(stage.layers):
                where = f"{path}.layers.{i}"
                output = shape.strided(stride, stage.width)
                if not shape.grid and not layer.tokens_allowed:
                    raise ArchitectureError(
                        f"{where}.op",
                        f"{layer.op!r} needs a grid, and a tube stem makes none; allowed: {', '.join(TOKEN_OPERATORS)}",
                    )
                layer.check(output, where)
                parts.append(Part(where, layer, shape, output, stride))
                shape, stride = output, UNIT_STRIDE
        parts.append(Part("head", self.head, shape, Shape(1, 1, 1, self.num_classes, grid=False)))
        return parts

    def resized(
        self, frames: int | None = None, size: int | tuple[int, int] | None = None, num_classes: int | None = None
    ) -> Architecture:
        """Returns the same architecture for another input, with windows and tubes clipped to the smaller maps.

        Raises:
            ArchitectureError: The stem cannot take that input.
        """
        height_width = _pair(size) if size else self.input.size
        entry = self.input.model_copy(update={"frames": frames or self.input.frames, "size": height_width})
        stem = self.stem.fitted(entry.shape)
        shape = stem.output(entry.shape, self.stages[0].width, "stem")
        stages = []
        for stage in self.stages:
            if stage.downsample:
                shape = shape.strided(stage.downsample.stride, stage.width)
            layers = tuple(layer.fitted(shape) for layer in stage.layers)
            stages.append(stage.model_copy(update={"layers": layers}))
        update = {
            "input": entry,
            "stem": stem,
            "stages": tuple(stages),
            "num_classes": num_classes or self.num_classes,
        }
        return Architecture.model_validate(self.model_copy(update=update).model_dump())

    def document(self) -> dict[str, Any]:
        """The whole document as plain mappings, lists and numbers, every default written out."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data

    def canonical(self) -> str:
        """A text that two files share exactly when they describe the same network; the name does not count."""
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


_LAYER_TYPES: tuple[type[LayerConfig], ...] = (T2D, TPS, Factorized, SparseTube, D2Plus1D, JointFilter, Full3D)
OPERATORS = tuple(str(kind.model_fields["op"].default) for kind in _LAYER_TYPES)
STRIDED_OPERATORS = tuple(op for op, kind in zip(OPERATORS, _LAYER_TYPES, strict=True) if kind.strides_allowed)
TOKEN_OPERATORS = tuple(op for op, kind in zip(OPERATORS, _LAYER_TYPES, strict=True) if kind.tokens_allowed)


def read_yaml(what: str, path: Path) -> Any:
    """Returns the document in a YAML file.

    Raises:
        NasError: The file is not YAML, with the line where reading stopped.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise NasError(f"{what} {str(path)!r} is not YAML ({reason}); allowed: a YAML document") from None


def load(name: str | Path) -> Architecture:
    """Returns an architecture by the name of a reference network or by path.

    Raises:
        NasError: No such file or name.
        ArchitectureError: The file describes nothing that can be built; the message names the field.
    """
    return Architecture.parse(read_yaml("architecture", find_resource("architecture", name, "search_spaces/reference")))


def _readable(error: ValidationError) -> ArchitectureError:
    """The first problem of a pydantic error, as one sentence with the path of the field."""
    first = error.errors()[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, ArchitectureError):
        return raised
    # A discriminated union puts the tag into the location: it is no key of the file.
    data: Any = first["input"]
    loc = [str(key) for i, key in enumerate(first["loc"]) if not _is_tag(first["loc"], i)]
    path = ".".join(loc) or "architecture"
    value = data if not isinstance(data, Mapping) else "a mapping"
    match first["type"]:
        case "extra_forbidden":
            parent = _model_at(first["loc"][:-1])
            allowed = ", ".join(parent.model_fields) if parent else "the documented keys"
            return ArchitectureError(path, f"unknown key; allowed: {allowed}")
        case "missing":
            return ArchitectureError(path, "is missing; allowed: a value (the key is required)")
        case "union_tag_invalid" | "union_tag_not_found":
            ctx = first["ctx"]
            tags = ", ".join(
                str(kind.model_fields["op"].default) for kind in _union_of(first["loc"], len(first["loc"]))
            )
            found = f"{ctx['tag']!r} is unknown" if "tag" in ctx else "is missing"
            return ArchitectureError(f"{path}.op", f"{found}; allowed: {tags}")
        case "too_short":
            return ArchitectureError(path, "is empty; allowed: at least one entry")
        case "value_error":
            return ArchitectureError(path, str(raised))
        case _:
            return ArchitectureError(path, f"{value!r} is not allowed; allowed: {_expected(first['msg'])}")


def _expected(message: str) -> str:
    return message.removeprefix("Input should be ").removeprefix("a valid ")


_UNIONS: dict[str, tuple[type[Config], ...]] = {
    "stem": (ConvStem, PatchStem, TubeStem),
    "layers": _LAYER_TYPES,
    "downsample": (ConvDownsample, InLayerDownsample),
    "head": (MeanHead, AttentionHead),
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

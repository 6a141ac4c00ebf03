"""The document of a network: everything that is needed to build it, typed.

An architecture is an input, a stem, stages of layers and a head. `Architecture.parts` lists what a
network consists of with the shapes that go in and out: the network builder, the cost model and the
latency tables read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from nas.architecture.downsamples import Downsample
from nas.architecture.fields import Config, Operator, Pair, PositiveInt
from nas.architecture.heads import Head, MeanHead
from nas.architecture.layers import LAYERS, Layer, LayerConfig
from nas.architecture.messages import ArchitectureError, as_sentence
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.architecture.stems import Stem
from nas.documents import of_schema, read_yaml
from nas.errors import NasError, brief
from nas.resources import find_resource, replacing

SCHEMA = 1  # of the form of an architecture, and of a space, as a file says it


class Input(Config):
    """A clip as it enters: (batch, channels, frames, height, width)."""

    frames: PositiveInt = 16
    size: Pair = Field(default=(224, 224), description="(height, width), or one number for both")
    channels: PositiveInt = 3

    @property
    def shape(self) -> Shape:
        return Shape(self.frames, *self.size, self.channels)


class Stage(Config):
    """A width, what stands before the layers, and the layers."""

    width: PositiveInt
    downsample: Downsample | None = None
    layers: tuple[Layer, ...] = Field(min_length=1)


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
    config: Operator
    input: Shape
    output: Shape
    stride: tuple[int, int, int] = UNIT_STRIDE


def check_layer(layer: LayerConfig, shape: Shape, path: str) -> None:
    """Raises ArchitectureError when a layer cannot stand where maps of this shape pass."""
    if not shape.grid and not layer.tokens_allowed:
        raise ArchitectureError(
            f"{path}.op",
            f"{layer.op!r} needs a grid, and a tube stem makes none; allowed: {_operators('tokens_allowed')}",
        )
    if shape.class_tokens != "none" and not layer.class_tokens_allowed:
        raise ArchitectureError(
            f"{path}.op",
            f"{layer.op!r} has no place for a class token; allowed: {_operators('class_tokens_allowed')}",
        )
    layer.check(shape, path)


def _operators(able: str) -> str:
    """The operators whose types have a class attribute set, for messages."""
    return ", ".join(kind.op_name() for kind in LAYERS.types() if getattr(kind, able))


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
            NasError: It is of a newer version.
            ArchitectureError: The first thing that is wrong, with its path, value and what is
                allowed.
        """
        document = of_schema(data, SCHEMA, "architecture")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise as_sentence(error, cls) from None

    def __reduce__(self) -> tuple[Any, ...]:
        """As a document: whoever reads it first imports the operators from outside the package."""
        return Architecture.parse, (self.document(),)

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
            if stage.downsample is not None and stage.downsample.layer_stride:
                stride = stage.downsample.layer_stride
                if not stage.layers[0].strides_allowed:
                    raise ArchitectureError(
                        f"{path}.layers.0.op",
                        f"{stage.layers[0].op!r} cannot carry the stride of an {stage.downsample.op!r} downsample; "
                        f"allowed: {_operators('strides_allowed')}",
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
        downsamples = [stage.downsample for stage in self.stages if stage.downsample is not None]
        layers = [layer for stage in self.stages for layer in stage.layers]
        return (
            self.stem.any_extent
            and all(downsample.any_extent for downsample in downsamples)
            and all(layer.strides_allowed for layer in layers)
        )

    @property
    def takes_any_clip(self) -> bool:
        """Whether clips of any frames and size can be trained on and classified: convolutions, then
        a mean.
        """
        return self.convolutional and self.head.any_extent

    @property
    def takes_larger_clips(self) -> bool:
        """Whether clips larger than the input can be classified: convolutions, then a convolutional
        head.
        """
        return self.convolutional and self.head.larger_extent

    @property
    def takes_images(self) -> bool:
        """Whether single images, clips of one frame, can be classified, as a tube stem allows."""
        return self.stem.takes_images

    @property
    def takes_single_frames(self) -> bool:
        """Whether a clip of one frame passes as it is, whatever frames it was built for."""
        return self.takes_images or self.takes_any_clip or self.input.frames == 1

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
            raise as_sentence(error, Input, ("input",)) from None
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

    def save(self, path: str | Path, notes: Sequence[str] = ()) -> None:
        """Writes the architecture as YAML, whole or not at all.

        Args:
            path: The file.
            notes: Lines of comment above it; what does not print becomes a question mark.

        Raises:
            NasError: The file cannot be written.
        """
        comments = "".join(f"# {''.join(c if c.isprintable() else '?' for c in note)}\n" for note in notes)
        text = yaml.safe_dump(
            {"schema": SCHEMA, **self.document()}, sort_keys=False, default_flow_style=None, width=120
        )
        try:
            with replacing(Path(path)) as draft:
                draft.write_text(comments + text, encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise NasError(
                f"architecture {brief(str(path))} cannot be written ({reason}); allowed: a file in an existing folder"
            ) from error


def load(name: str | Path) -> Architecture:
    """Returns an architecture by the name of a reference network or by path.

    Raises:
        NasError: No such file or name.
        ArchitectureError: The file describes nothing that can be built; the message names the
            field.
    """
    return Architecture.parse(read_yaml("architecture", find_resource("architecture", name, "search_spaces/reference")))

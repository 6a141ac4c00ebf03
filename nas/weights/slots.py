"""Which parameters of a whole network an image network has: those of stem, downsampling and head
stand here, those of a layer beside its module (`nas.models.image_weights`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.architecture import (
    Architecture,
    AttentionHead,
    ClassTokenHead,
    ConvDownsample,
    ConvStem,
    FramePool,
    LayerConfig,
    MeanHead,
    MergeDownsample,
    Part,
    PatchStem,
    TubeStem,
)
from nas.errors import NasError
from nas.models.image_weights import Slot, conv_slots, inflate_patch, module_slots, resized
from nas.models.registry import module_class
from nas.weights.image_networks import ImageNetwork


@dataclass(frozen=True)
class Place:
    """A part of a network and where an image network has its counterpart.

    Attributes:
        part: The part.
        at: Start of the names of its counterpart, `stages.S.layers.L` or `stages.S.downsample`;
            empty for others.
        pooled: Whether it comes after frames were pooled to tokens: image networks have no such
            layers.
    """

    part: Part
    at: str
    pooled: bool

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer with a counterpart."""
        return isinstance(self.part.config, LayerConfig) and not self.pooled

    @property
    def fillable(self) -> bool:
        """Whether it is a layer of which image networks have parameters."""
        return self.is_layer and hasattr(module_class(type(self.part.config)), "image_slots")

    @property
    def name(self) -> str:
        """Of its module in the network."""
        return f"parts.{self.part.path.replace('.', '_')}"

    def slots(self, image: ImageNetwork) -> Iterator[Slot]:
        """Its parameters by their names in its module, and their counterparts by full names."""
        part = self.part
        if part.path == "stem":
            yield from _stem(part, image)
        elif part.path == "head":
            yield from _head(part, image, self.pooled)
        elif isinstance(part.config, FramePool):
            yield from module_slots("norm", "norm") if "norm.weight" in image else ()
        elif isinstance(part.config, ConvDownsample | MergeDownsample):
            yield from _downsample(part, self.at)
        elif self.fillable:
            kind: Any = module_class(type(part.config))
            for slot in kind.image_slots(part.config, part.output, image.kind):
                yield slot.inside("", f"{self.at}.")


def places(architecture: Architecture) -> list[Place]:
    """The parts of a network in order; a stage of an image network begins with a downsampling, and
    ours may be finer.
    """
    found, stage, layer, pooled = [], 0, 0, False
    for part in architecture.parts():
        at = ""
        if isinstance(part.config, ConvDownsample | MergeDownsample) or part.stride != (1, 1, 1):
            stage, layer = stage + 1, 0
            at = f"stages.{stage}.downsample"
        pooled = pooled or isinstance(part.config, FramePool)
        if isinstance(part.config, LayerConfig) and not pooled:
            at = f"stages.{stage}.layers.{layer}"
            layer += 1
        found.append(Place(part, at, pooled))
    return found


def network_slots(architecture: Architecture, image: ImageNetwork) -> Iterator[Slot]:
    """The slots of all parts under the full names of the parameters and of their counterparts."""
    for place in places(architecture):
        for slot in place.slots(image):
            yield slot.inside(place.name)


def _stem(part: Part, image: ImageNetwork) -> Iterator[Slot]:
    config = part.config
    if isinstance(config, TubeStem):
        # With space_to_depth the convolution makes a fraction of the image network's channels.
        for i in () if config.interpolated else config.image_tubes():
            if math.prod(config.tubes[i].space_to_depth) == 1:
                yield from conv_slots(f"tubes.{i}.conv", "stem", inflate_patch)
        return
    if isinstance(config, ConvStem):
        yield from conv_slots("conv", "stem")
        if config.norm == "layer":
            yield from module_slots("norm", "stem.norm")
        return
    if not isinstance(config, PatchStem):  # one from outside stays as it was initialised
        return
    yield from conv_slots("proj", "stem", inflate_patch)
    if config.position != "none":
        over_clip = partial(place_video_positions, joint=config.position == "joint")
        yield Slot("positions.0", "position", over_clip if image.kind.video else place_positions)
    if config.position == "factorized":
        yield Slot("positions.1", None)
    if config.class_tokens != "none" and "class_token" in image:
        yield Slot("token.value", "class_token")
        if config.position != "none":
            yield Slot("token.position", "class_position")
    if config.norm and (image.kind.family != "ViT" or "stem.norm.weight" in image):
        yield from module_slots("norm", "stem.norm")


def _downsample(part: Part, at: str) -> Iterator[Slot]:
    if isinstance(part.config, ConvDownsample):
        yield from module_slots("norm", f"{at}.norm")
        yield from conv_slots("conv", at)
    else:
        yield from module_slots("norm", f"{at}.norm", side_by_side)
        yield Slot("reduction.weight", f"{at}.weight", side_by_side)


def _head(part: Part, image: ImageNetwork, pooled: bool) -> Iterator[Slot]:
    """The norm, if it is the first behind the layers, and a classifier of the same classes."""
    config = part.config
    if not isinstance(config, MeanHead | AttentionHead | ClassTokenHead):
        return
    has_norm = not isinstance(config, MeanHead) or config.norm != "none"
    if has_norm and not pooled and "norm.weight" in image:
        yield from module_slots("norm", "norm")
    classifier = image.tensors.get("head.weight")
    if classifier is not None and tuple(classifier.shape) == (part.output.channels, part.input.channels):
        yield from module_slots("classifier", "head")


def place_positions(position_NC: Tensor, shape: torch.Size) -> Tensor:
    """(side * side, C) to (1, T, H, W, C): interpolated in space, the same in every frame."""
    side = math.isqrt(len(position_NC))
    grid = position_NC.T.reshape(-1, side, side)
    return resized(grid, shape[2:4]).permute(1, 2, 0).expand(1, shape[1], -1, -1, -1)


def place_video_positions(position_NC: Tensor, shape: torch.Size, joint: bool) -> Tensor:
    """(T H W, C) of a video network to (1, T, H, W, C).

    Raises:
        NasError: Another number, or positions that are not `joint` ones. The number alone does not
            tell frames, height and width, so nothing is interpolated.
    """
    frames, height, width = shape[1:4]
    if len(position_NC) != frames * height * width or not joint:
        raise NasError(
            f"{len(position_NC)} position embeddings of patches with an extent in time do not fit positions of "
            f"{frames}x{height}x{width}; allowed: a network with 'joint' positions of the same frames, height and width"
        )
    return position_NC.reshape(1, frames, height, width, -1)


def side_by_side(x: Tensor, shape: torch.Size) -> Tensor:
    """Merging weights over the frames of a stride, whose cells stand side by side, frames
    outermost.
    """
    frames = shape[-1] // x.shape[-1] if shape[-1] % x.shape[-1] == 0 else 1
    return x.repeat(1, frames) / frames if x.ndim == 2 else x.repeat(frames)

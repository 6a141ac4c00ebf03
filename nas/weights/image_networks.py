"""Reads an image network out of a checkpoint, under the names of `nas.weights.namings`, whichever
library wrote it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.errors import NasError, brief
from nas.models.image_weights import CheckpointKind
from nas.weights.checkpoints import by_name
from nas.weights.namings import DERIVED, NAMINGS, PREFIX

ENCODER = "encoder."  # before the names of a network that was trained with a decoder (SimMIM)
# The text half of a CLIP in transformers.
TEXT = re.compile(r"text_model\.|text_projection")


@dataclass(frozen=True)
class ImageNetwork:
    """A checkpoint under the names of `nas.weights.namings`.

    Attributes:
        kind: Its family, and whether it is of a video network under the names of an image network.
        library: Whose names the checkpoint has.
        tensors: By the names of `nas.weights.namings`.
        origins: Names in the checkpoint of each of them.
        ignored: Names in the checkpoint that are of no image network: those of the text half of a
            CLIP, single numbers, and buffers that follow from shapes.
    """

    kind: CheckpointKind
    library: str
    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]
    ignored: frozenset[str]

    @property
    def kind_and_library(self) -> str:
        """For reports."""
        return f"{self.kind.family} with the names of {self.library}"

    @property
    def described(self) -> str:
        """For messages, behind the name of the checkpoint."""
        return f"a {self.kind_and_library}"

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    @property
    def depths(self) -> list[int]:
        """Number of layers of each stage."""
        found = {tuple(map(int, m.groups())) for m in map(_LAYER.match, self.tensors) if m}
        return [1 + max(layer for s, layer in found if s == stage) for stage in sorted({s for s, _ in found})]


_LAYER = re.compile(r"stages\.(\d+)\.layers\.(\d+)\.")


def read_image_network(state: Mapping[str, Tensor], source: str = "checkpoint") -> ImageNetwork:
    """Returns the image network that a checkpoint holds, whichever library's names it has.

    Raises:
        NasError: The names are of no known image network, or its blocks are of another kind.
    """
    # Single numbers, such as CLIP's temperature, are in no image network.
    named = {name for name, value in state.items() if value.ndim and not DERIVED.fullmatch(name)}
    names = {name: PREFIX.sub("", name, count=1) for name in state if name in named}
    names = {name: short for name, short in names.items() if not TEXT.match(short)}
    if any(short.startswith("visual.") for short in names.values()):  # all else is the text half of a CLIP
        towers = {name: short.removeprefix("visual.") for name, short in names.items() if short.startswith("visual.")}
        names = {name: PREFIX.sub("", short, count=1) for name, short in towers.items()}
    readings = [
        (naming, shorts, {name: to for name, short in shorts.items() if (to := naming.rename(short))})
        for shorts in (names, {name: short.removeprefix(ENCODER) for name, short in names.items()})
        for naming in NAMINGS
    ]
    naming, names, table = max(readings, key=lambda reading: len(reading[2]))
    if not any(_LAYER.match(to) for to in table.values()):
        allowed = ", ".join(f"{n.family} of {n.library}" for n in NAMINGS)
        raise NasError(
            f"{source} has the names of no known image network (first {next(iter(state))!r}); allowed: {allowed}, "
            "or a network of this package"
        )
    empty = next((name for name in table if not state[name].numel()), None)
    if empty:
        raise NasError(
            f"{source} has {brief(empty)} of {list(state[empty].shape)}, which holds nothing; "
            "allowed: a checkpoint with all of its numbers"
        )
    foreign = [name for name, short in names.items() if name not in table and naming.in_block(short)]
    if foreign:
        raise NasError(
            f"{source} looks like a {naming.family} with the names of {naming.library}, but its blocks have "
            f"parameters of another kind (first {foreign[0]!r}); allowed: plain {naming.family} blocks"
        )
    whole = next((name for name in table if not state[name].is_floating_point()), None)
    if whole:
        raise NasError(
            f"{source} has {brief(whole)} as numbers of type {state[whole].dtype}; allowed: weights of a floating type"
        )
    origins = by_name(table, state, source)
    tensors = {to: state[names[0]] for to, names in origins.items()}
    video = "stem.weight" in tensors and tensors["stem.weight"].ndim == 5
    _place_downsamples(tensors, origins)
    _join_qkv(tensors, origins)
    _split_positions(tensors, origins, source, video)
    if "stem.weight" in tensors and "stem.bias" not in tensors:  # CLIP
        tensors["stem.bias"], origins["stem.bias"] = torch.zeros(len(tensors["stem.weight"])), []
    kind = CheckpointKind(naming.family, video)
    return ImageNetwork(kind, naming.library, tensors, origins, frozenset(state.keys() - names.keys()))


def _place_downsamples(tensors: dict[str, Tensor], origins: dict[str, list[str]]) -> None:
    """Puts every downsampling at the start of its stage; many Swins have it at the end of the stage
    before.

    The channels that it makes tell which: they are the width of its stage.
    """
    numbers = sorted({int(m[1]) for m in (re.match(r"stages\.(\d+)\.downsample\.weight", n) for n in tensors) if m})
    late = [s for s in numbers if len(tensors[f"stages.{s}.downsample.weight"]) != _width(tensors, s)]
    if late != numbers:
        return
    for stage in reversed(numbers):
        for field in ("norm.weight", "norm.bias", "weight", "bias"):
            old, new = (f"stages.{s}.downsample.{field}" for s in (stage, stage + 1))
            if old in tensors:
                tensors[new], origins[new] = tensors.pop(old), origins.pop(old)


def _width(tensors: Mapping[str, Tensor], stage: int) -> int:
    norm = tensors.get(f"stages.{stage}.layers.0.norm1.weight")
    return -1 if norm is None else len(norm)


def _join_qkv(tensors: dict[str, Tensor], origins: dict[str, list[str]]) -> None:
    for name in [name for name in tensors if re.search(r"\.q\.(weight|bias)$", name)]:
        path, _, field = name.rsplit(".", 2)
        parts = [f"{path}.{x}.{field}" for x in "qkv"]
        if all(part in tensors for part in parts):
            tensors[f"{path}.qkv.{field}"] = torch.cat([tensors.pop(part) for part in parts])
            origins[f"{path}.qkv.{field}"] = [origin for part in parts for origin in origins.pop(part)]


def _split_positions(tensors: dict[str, Tensor], origins: dict[str, list[str]], source: str, video: bool) -> None:
    """Takes the class token's position, which stands first, out of those of the patches: a square
    of them for images; for patches with an extent in time the number tells nothing, and there is
    one for a class token wherever there is such a token.
    """
    if "class_token" in tensors:
        tensors["class_token"] = tensors["class_token"].flatten()
    if "position" not in tensors:
        return
    position = tensors["position"].reshape(-1, tensors["position"].shape[-1])
    count = len(position)
    class_positions: int | None
    if video:
        class_positions = int("class_token" in tensors)
    else:
        class_positions = next((n for n in (0, 1) if count > n and math.isqrt(count - n) ** 2 == count - n), None)
    if class_positions is None:
        raise NasError(
            f"{source} has {count} position embeddings; allowed: those of a square of patches, with or without one for "
            "a class token"
        )
    tensors["position"] = position[class_positions:]
    if class_positions:
        tensors["class_position"], origins["class_position"] = position[0], origins["position"]
    elif "class_token" in tensors:
        tensors["class_position"], origins["class_position"] = torch.zeros_like(position[0]), []

"""Image networks of this package: what was trained on clips of one frame, read as other libraries'
image networks are.

Which tensors those are say the slots of its layers, read backwards: a parameter of a network of one
frame is its counterpart's tensor but for the axis of time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.models.image_weights import CheckpointKind, precise
from nas.weights.checkpoints import by_name
from nas.weights.image_networks import ImageNetwork
from nas.weights.own_state import short_names
from nas.weights.slots import network_slots, places

LIBRARY = "this package"


class _Any(ImageNetwork):
    """An image network that has whatever is asked for, so that a network lists all its slots."""

    def __contains__(self, name: str) -> bool:
        return True


def architecture_beside(source: str | Path) -> Architecture | None:
    """The architecture of the network whose weights a source names: the file `architecture.yaml` in
    the folder, or beside `model.safetensors`, as `nas train` writes them; None where there is none.

    Raises:
        NasError: It is there and cannot be read.
    """
    path = Path(source)
    folder = path if os.path.isdir(path) else path.parent if path.name == "model.safetensors" else None
    if folder is None or not os.path.isfile(folder / "architecture.yaml"):
        return None
    return load(folder / "architecture.yaml")


def is_image_network(architecture: Architecture | None) -> bool:
    """Whether a network takes clips of one frame and has layers that image networks have."""
    return (
        architecture is not None
        and architecture.input.frames == 1
        and any(place.fillable for place in places(architecture))
    )


def read_own_images(state: Mapping[str, Tensor], architecture: Architecture, source: str) -> ImageNetwork:
    """The image network that a state of this package holds, without its classifier.

    Args:
        state: Of a network of one frame.
        architecture: That of the network.
        source: Name of the checkpoint for messages.

    Raises:
        NasError: A tensor is missing, or is not the same in an image network.
    """
    names = short_names(state)
    own = by_name(names, state, source)
    kind = CheckpointKind("DaViT")  # of those that have position encodings in their layers
    tensors: dict[str, Tensor] = {}
    origins: dict[str, list[str]] = {}
    for slot in network_slots(architecture, _Any(kind, LIBRARY, {}, {}, frozenset())):
        if slot.source is None or slot.copy:
            continue
        if slot.target not in own:
            raise NasError(
                f"{source}, a network of this package, has no {slot.target!r}; allowed: the weights of the network in "
                "the architecture.yaml beside it"
            )
        value = state[own[slot.target][0]]
        image = _of_one_frame(slot.source, value, source)
        if image.shape == value.shape and not torch.allclose(slot.convert(precise(image), image.shape), precise(value)):
            raise NasError(
                f"{source} has a {slot.target!r} of another form than image networks; allowed: layers that compute "
                "what those of an image network do, as channel attention of scale 'head_dim'"
            )
        tensors[slot.source] = image
        origins[slot.source] = own[slot.target]
    family = "ViT"
    if any(".cpe1." in name for name in tensors):
        family = "DaViT"
    elif any(name.endswith(".bias_table") for name in tensors):
        family = "Swin"
    return ImageNetwork(CheckpointKind(family), LIBRARY, tensors, origins, frozenset(state.keys() - names.keys()))


def _of_one_frame(name: str, value: Tensor, source: str) -> Tensor:
    """A tensor of a network of one frame as an image network has it."""
    if name == "position":
        height, width = value.shape[2:4]
        if value.shape[1] != 1 or height != width:
            raise NasError(
                f"{source} has learned positions of {list(value.shape[1:4])} frames, rows and columns; allowed: those "
                "of a square image"
            )
        return value.flatten(0, 3)
    if name in ("class_token", "class_position"):
        return value.flatten()
    # Of a convolution over one frame between zeros, only the middle of its kernel sees something.
    return value[:, :, value.shape[2] // 2] if value.ndim == 5 else value

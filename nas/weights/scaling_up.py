"""TubeViT's scaling-up: the tubes of a small trained network enter a large image network."""

from __future__ import annotations

from torch import Tensor

from nas.architecture import Architecture
from nas.errors import NasError
from nas.models.network import Network, adds_stem_tokens, freeze_layers
from nas.weights.checkpoints import load_state
from nas.weights.fill import fill
from nas.weights.filled import Filled
from nas.weights.namings import PREFIX

TUBES = "parts.stem.tubes."


def first_gate(architecture: Architecture) -> str:
    """The path of the first layer that adds the raw tokens of the tubes, before which the image
    network stays as it is.

    Raises:
        NasError: There is none.
    """
    gates = [part.path for part in architecture.parts() if adds_stem_tokens(part)]
    if not gates:
        raise NasError(
            "tubes of a small network enter a large one by layers with 'stem_gate', of which it has none; allowed: "
            "stem_gate: true in the layers from which on it is trained"
        )
    return gates[0]


def read_tubes(source: str) -> dict[str, Tensor]:
    """The tensors of the tubes of a network.

    Args:
        source: Its weights, as `load_state` takes them.

    Raises:
        NasError: They cannot be read, or the network has no tubes.
    """
    tubes = {name: value for name, value in load_state(source).items() if PREFIX.sub("", name).startswith(TUBES)}
    if not tubes:
        raise NasError(f"tubes {source!r} has none; allowed: the folder of a network with a stem of tubes")
    return tubes


def scale_up(model: Network, source: str) -> Filled:
    """Takes the tubes of a small network that have the same kernels and channels, and fixes the
    layers before the first gate.

    With `space_to_depth` the convolution of a tube makes fewer channels than the network has, those
    of the small one.

    Args:
        model: Filled with image weights.
        source: Weights of the small network.

    Returns:
        What was taken; names that are none of tubes are not looked at.

    Raises:
        NasError: The network has no gates, or no tube agrees.
    """
    gate = first_gate(model.architecture)
    filled = fill(model, read_tubes(source), source, partial=True)
    freeze_layers(model, gate)
    return filled

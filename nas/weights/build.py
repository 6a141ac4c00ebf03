"""From an architecture to a network that begins with given weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from nas.architecture import Architecture
from nas.models import network
from nas.models.network import Network, tune
from nas.weights.fill import fill_from


def build(
    architecture: Architecture | str | Path,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    init: str | Path | None = None,
    copy_to_time: bool = True,
    tuned: bool = False,
    device: torch.device | str | None = None,
) -> Network:
    """Builds the network of an architecture.

    Args:
        architecture: An architecture, a path, or the name of a reference network.
        frames, size, num_classes: In place of those of the file; windows and tubes are clipped to
            smaller maps.
        init: A checkpoint to fill in, of an image network or a network of this package: a file, or
            a name on the Hugging Face hub; see `nas.weights.fill`. What it filled is printed to
            stderr.
        copy_to_time: Let attention over time start as a copy of the image network's attention, as
            TimeSformer's released recipe does; see `nas.weights.fill.fill`.
        tuned: Measure, on one clip, the ways in which a module can run, and keep the fastest: see
            `tune`.
        device: Where its parameters are made, `meta` included; torch's default device if none. A
            network of the meta device becomes a real one by `to_empty` and `load_state_dict`.

    Returns:
        A module in training mode that maps (B, 3, T, H, W) to logits (B, num_classes).

    Raises:
        NasError: No such file, it describes nothing that can be built, or `init` does not fit it.
    """
    model = network.build(architecture, frames=frames, size=size, num_classes=num_classes, device=device)
    if init is not None:
        print(fill_from(model, init, copy_to_time=copy_to_time).describe(), file=sys.stderr)
    if tuned:
        tune(model)
    return model

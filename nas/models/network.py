"""From an architecture to a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.architecture import Architecture, ArchitectureError, ConvDownsample, LayerConfig, Part, Shape, load
from nas.models.common import pad_to_windows, tube_conv
from nas.models.heads import HEADS
from nas.models.layers import build_layer
from nas.models.stems import STEMS


class ConvDownsampling(nn.Module):
    """LayerNorm, then a convolution whose kernel is its stride."""

    def __init__(self, config: ConvDownsample, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.stride = config.stride
        self.norm = nn.LayerNorm(shape_in.channels, eps=1e-5)
        self.conv = tube_conv(shape_in.channels, shape_out.channels, config.stride, config.stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.conv(pad_to_windows(self.norm(x_BTHWC), self.stride))
        return y


_MODULES: dict[Any, Any] = {**STEMS, **HEADS, ConvDownsample: ConvDownsampling}


def build_part(part: Part) -> nn.Module:
    """Returns the module of one part of a network, on torch's current default device."""
    if isinstance(part.config, LayerConfig):
        return build_layer(part.config, part.input, part.output, part.stride)
    module: nn.Module = _MODULES[type(part.config)](part.config, part.input, part.output)
    return module


class Network(nn.Module):
    """A video network: (B, 3, T, H, W) to class logits (B, num_classes).

    Attributes:
        architecture: What it was built from.
        parts: Its pieces in order; their names are the paths of the file with underscores.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.parts = nn.ModuleDict({part.path.replace(".", "_"): build_part(part) for part in architecture.parts()})

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        expected = self.architecture.input.shape
        if clip_BCTHW.shape[1:] != (expected.channels, *expected.extent):
            raise ArchitectureError(
                "input",
                f"a clip of {list(clip_BCTHW.shape)} does not fit; allowed: batch, channels, frames, height, width of "
                f"(any, {expected.channels}, {expected.frames}, {expected.height}, {expected.width}), "
                "or build Architecture.resized(frames, size)",
            )
        x = clip_BCTHW.permute(0, 2, 3, 4, 1)
        for part in self.parts.values():
            x = part(x)
        return x


def build(architecture: Architecture | str | Path, *, device: torch.device | str | None = None) -> Network:
    """Builds the network of an architecture.

    Args:
        architecture: An architecture, a path, or the name of a reference network.
        device: Where its parameters are made, `meta` included; torch's default device if none.

    Returns:
        A module in training mode that maps (B, 3, T, H, W) to logits (B, num_classes).

    Raises:
        NasError: No such file, or it describes nothing that can be built.
    """
    if not isinstance(architecture, Architecture):
        architecture = load(architecture)
    if device is None:
        return Network(architecture)
    with torch.device(device):
        return Network(architecture)

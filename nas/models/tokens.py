"""Class tokens, and the fixed position embedding of tube tokens (TubeViT, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.architecture.fields import Tube
from nas.architecture.shape import Shape


class ClassToken(nn.Module):
    """Puts a learned token, plus its learned position, before the tokens of every clip or of every
    frame.
    """

    def __init__(self, shape: Shape, position: bool) -> None:
        super().__init__()
        self.stored = shape.stored
        self.value = nn.Parameter(torch.empty(1, 1, 1, 1, shape.channels))
        self.position = nn.Parameter(torch.empty(1, 1, 1, 1, shape.channels)) if position else None
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        frames, _, length = self.stored
        token = self.value if self.position is None else self.value + self.position
        x = x_BTHWC.reshape(-1, frames, 1, length - 1, x_BTHWC.shape[-1])
        return torch.cat((token.expand(x.shape[0], frames, -1, -1, -1), x), dim=3)


def tube_centres(tube: Tube, shape: Shape) -> Tensor:
    """Centres of a tube's tokens in cells of the map it reads, (N, 3) as t, y, x: index stride +
    offset + k // 2.
    """
    axes = [
        torch.arange(n) * s + o + k // 2
        for n, s, o, k in zip(tube.extent(shape), tube.stride, tube.offset, tube.kernel, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


def centre_embedding(centres_N3: Tensor, width: int) -> Tensor:
    """Sine and cosine of t, x and y at width // 6 frequencies: (N, width), the remaining channels
    zero.

    Frequency j is 10000^(-j / (width // 6)) and fills channels 6j to 6j + 5 with the sine and
    cosine of t, x and y.
    """
    frequencies = width // 6
    embedding = torch.zeros(len(centres_N3), width)
    if frequencies:
        omega = 10000.0 ** (-torch.arange(frequencies) / frequencies)
        t, y, x = centres_N3.to(omega.dtype).unbind(-1)
        angles = torch.stack((t, x, y), dim=-1)[:, None, :] * omega[:, None]  # (N, frequencies, 3)
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1)  # (N, frequencies, 3, 2)
        embedding[:, : 6 * frequencies] = waves.flatten(1)
    return embedding


def tube_embedding(tubes: Sequence[Tube], shape: Shape, width: int) -> Tensor:
    """The embedding of the centres of all tubes, one tube after the other: (N, width)."""
    return torch.cat([centre_embedding(tube_centres(tube, shape), width) for tube in tubes])

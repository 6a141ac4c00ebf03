"""Linear layers, activations and the MLP of transformer blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of CLIP's networks."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "quick_gelu": QuickGELU,
}


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with the initialisation of vision transformers: truncated normal of .02, zero
    bias.
    """
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(width: int, ratio: float, activation: str) -> nn.Sequential:
    """Two linear layers around an activation; the hidden width is round(width * ratio)."""
    hidden = round(width * ratio)
    return nn.Sequential(linear(width, hidden), ACTIVATIONS[activation](), linear(hidden, width))

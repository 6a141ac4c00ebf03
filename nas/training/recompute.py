"""Activation checkpointing (arXiv 1604.06174): memory for time."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module) -> list[str]:
    """Lets the parts of a network keep their input alone for the backward pass, which runs them
    again; gradients are the same.

    A part with batch normalisation stays as it is: running it twice would count the statistics of a
    batch twice.

    Args:
        model: Has its pieces in `parts`, a `ModuleDict`, as networks of this package do; other
            modules stay as they are.

    Returns:
        Names of the parts that are run again.
    """
    parts = getattr(model, "parts", None)
    if not isinstance(parts, nn.ModuleDict):
        return []
    again = [name for name, part in parts.items() if not any(isinstance(each, _BatchNorm) for each in part.modules())]
    for name in again:
        part = parts[name]
        part.forward = partial(checkpoint, part.forward, use_reentrant=False)
    return again

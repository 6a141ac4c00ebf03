"""Exact cost of an architecture or of any module, computed before anything is trained or measured.

Multiply-adds are those of convolutions, linear layers and attention products, as the video papers
count. Everything else that computes is in a column of its own; `nas.profiler.computed.operations`
says what is counted. Activation memory is what autograd keeps of one float32 clip for the backward
pass, each storage once, parameters and buffers not included. The peaks are the most bytes that live
at one time, clip included and parameters not, of an inference and of a training pass; the latter
includes the gradients of the parameters.

An architecture's cost is the sum over its parts of what the part's own code does; parts that
compute the same are traced once per process. All that two neighbours share is the map between them,
which is kept once if either wants it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.models.network import adds_stem_tokens, build
from nas.profiler.computed.modules import GatedCost, ModuleCost
from nas.profiler.computed.parts import PartsCost, Record
from nas.profiler.computed.results import Cost, LayerCost, OperatorCost

__all__ = ["Cost", "LayerCost", "OperatorCost", "PartsCost", "Record", "cost"]


def cost(what: Architecture | nn.Module | str | Path, /, *args: Any, **kwargs: Any) -> Cost:
    """Prices an architecture at its own input, one clip in float32, or any module with any inputs.

    Args:
        what: An architecture, its path or the name of a reference network; or a module on any
            device, of which nothing is changed.
        args, kwargs: The module's inputs: real, fake or meta tensors, nested as it takes them.

    Returns:
        The cost; that of an architecture equals that of its network.

    Raises:
        NasError: The module refuses the inputs, or what it does depends on numbers of its
            activations.
    """
    if isinstance(what, nn.Module):
        return ModuleCost.of(what, args, kwargs)
    if args or kwargs:
        raise NasError(
            f"{len(args) + len(kwargs)} inputs stand beside an architecture, which says itself what goes in; allowed: "
            "inputs of modules only"
        )
    if not isinstance(what, Architecture):
        what = load(what)
    parts = what.parts()
    if any(adds_stem_tokens(part) for part in parts):  # one map goes to many layers
        model, shape = build(what, device="meta"), what.input.shape
        return GatedCost.of(model, (torch.empty(1, shape.channels, *shape.extent, device="meta"),), {})
    return PartsCost.of(parts)

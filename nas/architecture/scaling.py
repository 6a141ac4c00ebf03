"""Networks with less width and depth than one that was published."""

from __future__ import annotations

import math
from collections.abc import Callable

from nas.architecture.document import Architecture
from nas.architecture.edits import width_group
from nas.architecture.fields import narrower

LEAST = 1 / 16  # of the width, and a quarter of the depth
STEPS = 48  # from there to the whole, each 6 % more


def scaled(base: Architecture, share: float) -> Architecture:
    """Returns a network with `share` of the widths and the root of that share of the layers of each
    stage: published families of small networks are narrow before they are shallow (ViT-Ti has a
    quarter of the width of ViT-B, and its depth).

    Heads of attention become fewer and stay about as wide; a stage keeps its first layers, at least
    one of them; widths are multiples of four that the heads divide. Ratios, kernels, strides and
    windows stay.

    Args:
        base: The whole network.
        share: Above 0, and up to 1, which leaves it as it is.
    """
    if share == 1:
        return base
    depth = math.sqrt(share)
    layers = [
        tuple(layer.narrowed(share) for layer in stage.layers[: max(1, round(len(stage.layers) * depth))])
        for stage in base.stages
    ]
    stages = []
    for s, stage in enumerate(base.stages):
        unit = math.lcm(4, *(layer.width_divisor for member in width_group(base, s) for layer in layers[member]))
        width = narrower(stage.width, share, unit)
        stages.append(stage.model_copy(update={"width": width, "layers": layers[s]}))
    changes = {"stem": base.stem.narrowed(share), "stages": tuple(stages), "head": base.head.narrowed(share)}
    return Architecture.parse(base.model_copy(update=changes).document())


def largest(base: Architecture, allowed: Callable[[Architecture], bool]) -> Architecture | None:
    """Returns the network with the largest share of width and depth that is allowed; None where
    that with the least is not.

    Args:
        base: The whole network.
        allowed: Whether a network is; of a larger one it is not where a smaller one is refused.
    """
    if allowed(base):
        return base
    shares = [LEAST ** (1 - step / STEPS) for step in range(STEPS)]
    found, low, high = None, 0, len(shares)  # all below `low` are allowed, and none from `high` on
    while low < high:
        middle = (low + high) // 2
        candidate = scaled(base, shares[middle])
        if allowed(candidate):
            found, low = candidate, middle + 1
        else:
            high = middle
    return found

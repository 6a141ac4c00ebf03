"""Networks that were published, for smaller clips, and with less width and depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nas.architecture.document import Architecture
from nas.architecture.downsamples import StridedDownsample
from nas.architecture.edits import width_group
from nas.architecture.fields import Triple, halved, narrower

LEAST = 1 / 16  # of the width, and a quarter of the depth
STEPS = 48  # from there to the whole, each 6 % more
TIME, SPACE = (0,), (1, 2)  # axes of a map
CELLS = 4  # of a map in height and width, that strides leave of a small clip


def suited(base: Architecture, frames: int, size: tuple[int, int], num_classes: int) -> Architecture:
    """Returns a network for other clips, in which strides do not leave less of small ones than it
    can use.

    In time as many cells are left as of the clips that it was published for, in height and width
    four, or as many as of those. What would leave fewer is halved, from the stem on: strides of
    convolutions and mergings, patches, and tubes with their strides. Windows are clipped to the
    maps.

    Args:
        base: The network with its own clips.
        frames: Of the clips.
        size: Their height and width, in pixels.
        num_classes: Of the data.

    Raises:
        ArchitectureError: The stem cannot take that input.
    """
    strides = [_stride(base, s) for s in range(len(base.stages))]
    whole: list[float] = [*base.input.shape.extent]
    for stride in (base.stem.cell, *strides):
        whole = [cells / step for cells, step in zip(whole, stride, strict=True)]
    wanted = (whole[0], min(whole[1], CELLS), min(whole[2], CELLS))

    def too_few(left: Sequence[float], stride: Triple, axes: Sequence[int]) -> bool:
        return any(stride[axis] > 1 and left[axis] / stride[axis] < wanted[axis] for axis in axes)

    stem, stages = base.stem, []
    left: list[float] = [frames, *size]
    for axes in TIME, SPACE:
        while too_few(left, stem.cell, axes):
            stem = stem.halved(axes)
    left = [cells / step for cells, step in zip(left, stem.cell, strict=True)]
    for stage, stride in zip(base.stages, strides, strict=True):
        for axes in TIME, SPACE:
            while too_few(left, stride, axes):
                stride = halved(stride, axes)
        left = [cells / step for cells, step in zip(left, stride, strict=True)]
        if isinstance(stage.downsample, StridedDownsample):
            stage = stage.model_copy(update={"downsample": stage.downsample.model_copy(update={"stride": stride})})
        stages.append(stage)
    finer = base.model_copy(update={"stem": stem, "stages": tuple(stages)})
    return finer.resized(frames, size, num_classes)


def _stride(base: Architecture, stage: int) -> Triple:
    """That of what stands before the layers of a stage."""
    downsample = base.stages[stage].downsample
    return downsample.stride if isinstance(downsample, StridedDownsample) else (1, 1, 1)


def scaled(base: Architecture, share: float) -> Architecture:
    """Returns a network with `share` of the widths and the root of that share of the layers of each
    stage: published families of small networks are narrow before they are shallow (ViT-Ti has a
    quarter of the width of ViT-B, and its depth).

    Heads of attention become fewer and stay about as wide; a stage keeps its first layers, at least
    as many as it has kinds, as those that shift channels and patches in turn; widths are multiples
    of four that the heads divide. Ratios, kernels, strides and windows stay.

    Args:
        base: The whole network.
        share: Above 0, and up to 1, which leaves it as it is.
    """
    if share == 1:
        return base
    depth = math.sqrt(share)
    layers = [
        tuple(
            layer.narrowed(share)
            for layer in stage.layers[: max(len(set(stage.layers)), round(len(stage.layers) * depth))]
        )
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

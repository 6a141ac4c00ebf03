"""Mixup and CutMix of a batch: pairs of clips and of their targets.

Shape suffixes: B clips, M clips of a micro-batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.training.feed import moved
from nas.training.recipe import Recipe


@dataclass(frozen=True)
class Mixing:
    """How a batch is mixed.

    Attributes:
        partner: Which clip each clip is mixed with, (B,).
        share: Of the clip itself in its target, (B,) in float64.
        box: Of a pasted box as top, bottom, left, right in pixels; None blends whole clips.
    """

    partner: Tensor
    share: Tensor
    box: tuple[int, int, int, int] | None = None

    def clips(self, own_MCTHW: Tensor, partners_MCTHW: Tensor, part: slice) -> Tensor:
        """Mixes the clips of a micro-batch with their partners."""
        if self.box is None:
            share = moved(self.share[part].to(own_MCTHW.dtype), own_MCTHW.device).view(-1, 1, 1, 1, 1)
            return share * own_MCTHW + (1 - share) * partners_MCTHW
        top, bottom, left, right = self.box
        mixed = own_MCTHW.clone()
        mixed[..., top:bottom, left:right] = partners_MCTHW[..., top:bottom, left:right]
        return mixed

    def targets(self, targets_BK: Tensor) -> Tensor:
        """Mixes the targets of the whole batch."""
        share = moved(self.share.to(targets_BK.dtype), targets_BK.device)[:, None]
        return share * targets_BK + (1 - share) * targets_BK[moved(self.partner, targets_BK.device)]


def draw_mixing(recipe: Recipe, batch: int, size: tuple[int, int], generator: torch.Generator) -> Mixing | None:
    """Draws how a batch is mixed: mixup, or CutMix with a box of the same proportions as the clip.

    Args:
        recipe: Says which of the two, and the parameter alpha of Beta(alpha, alpha).
        batch: B.
        size: (height, width) of the clips.
        generator: Source of the randomness, on the CPU.

    Returns:
        None where the recipe mixes nothing.
    """
    if not recipe.mixup and not recipe.cutmix:
        return None
    both = recipe.mixup and recipe.cutmix
    cut = bool(torch.rand((), generator=generator) < 0.5) if both else bool(recipe.cutmix)
    share = _beta(recipe.cutmix if cut else recipe.mixup, generator)
    partner = torch.randperm(batch, generator=generator)
    if not cut:
        return Mixing(partner, torch.full((batch,), share, dtype=torch.float64))
    box, kept = cutmix_box(share, size, torch.rand(2, generator=generator, dtype=torch.float64).tolist())
    return Mixing(partner, torch.full((batch,), kept, dtype=torch.float64), box)


def cutmix_box(share: float, size: tuple[int, int], centre: list[float]) -> tuple[tuple[int, int, int, int], float]:
    """The box of CutMix, cut off at the borders, and the share of the area that is left.

    Args:
        share: Of the area that is meant to be left: sides are sqrt(1 - share) of the clip's.
        size: (height, width) in pixels.
        centre: Of the box as shares of height and width.
    """
    cut = (1 - share) ** 0.5
    edges: list[int] = []
    for side, place in zip(size, centre, strict=True):
        half, middle = int(side * cut) // 2, int(side * place)
        edges += [max(0, middle - half), min(side, middle + half)]
    top, bottom, left, right = edges
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (size[0] * size[1])


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw of Beta(alpha, alpha) from two of Gamma(alpha), which take a generator."""
    one, other = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator).tolist()
    return float(one / (one + other)) if one + other else 0.5

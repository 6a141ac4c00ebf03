"""How good the networks of a search are together: hypervolume of accuracy and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.limits.objectives import Objectives
from nas.pareto.front import hypervolume

# Beyond the most of a cost, so that the costliest network counts too: of one that is compared by
# its logarithm, and of another as a share of the range.
MARGIN, MARGIN_SHARE = math.log10(1.1), 0.1


@dataclass(frozen=True)
class VolumeScale:
    """What hypervolumes are bounded by and divided by, so that searches can be compared.

    Attributes:
        chance: Accuracy of guessing, the worst that counts.
        worst: Of each cost, as it is compared, the most that counts.
        whole: What a perfect network at the least of every cost would dominate.
    """

    chance: float
    worst: tuple[float, ...]
    whole: float

    @classmethod
    def of(cls, costs: ArrayLike, chance: float, objectives: Objectives) -> Self:
        """The scale of networks: of one search, or of all that are compared.

        Args:
            costs: (networks, costs), of those that were trained, as `Objectives.compared` has them;
                a network of which one is nan is left out.
            chance: Accuracy of guessing.
            objectives: What networks are compared by.
        """
        values = np.asarray(costs, float).reshape(-1, len(objectives.costs))
        values = values[np.isfinite(values).all(axis=1)]
        if not len(values):
            return cls(chance, (0.0,) * len(objectives.costs), 0.0)
        most, least = values.max(axis=0), values.min(axis=0)
        margin = np.where(most > least, MARGIN_SHARE * (most - least), 1.0)
        margin[[metric.logarithmic for metric in objectives.costs]] = MARGIN
        return cls(chance, tuple((most + margin).tolist()), (1 - chance) * float(np.prod(most + margin - least)))

    def shares(self, points: ArrayLike) -> NDArray[np.float64]:
        """The hypervolume after each training as a share of the whole, (trainings,).

        Args:
            points: (trainings, objectives), in their order, as `Objectives.points` has them: the
                accuracy, nan for a training that failed, which adds nothing, and the costs.
        """
        losses = np.asarray(points, float).reshape(-1, 1 + len(self.worst)) * [-1.0, *(1.0 for _ in self.worst)]
        front, volume, shares = losses[:0], 0.0, []
        for point in losses:
            # What the front so far dominates adds nothing.
            if not (np.isnan(point).any() or (front <= point).all(axis=1).any()):
                front = np.vstack([front[(front < point).any(axis=1)], point])
                volume = hypervolume(front, [-self.chance, *self.worst], [False] * len(point))
            shares.append(volume / self.whole if len(front) else 0.0)
        return np.array(shares)

    def share(self, points: ArrayLike) -> float:
        """The hypervolume of networks together as a share of the whole.

        Args:
            points: As of `shares`.
        """
        losses = np.asarray(points, float).reshape(-1, 1 + len(self.worst)) * [-1.0, *(1.0 for _ in self.worst)]
        losses = losses[~np.isnan(losses).any(axis=1)]
        if not (len(losses) and self.whole):
            return 0.0
        return hypervolume(losses, [-self.chance, *self.worst], [False] * losses.shape[1]) / self.whole

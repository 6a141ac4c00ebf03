"""How good the networks of a search are together: hypervolume of accuracy and multiply-adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.pareto.front import hypervolume

MARGIN = math.log10(1.1)  # beyond the most multiply-adds: the costliest network counts too


@dataclass(frozen=True)
class VolumeScale:
    """What hypervolumes are bounded by and divided by, so that searches can be compared.

    Attributes:
        chance: Accuracy of guessing, the worst that counts.
        worst: log10 of the most multiply-adds that count.
        whole: What a perfect network at the fewest multiply-adds would dominate.
    """

    chance: float
    worst: float
    whole: float

    @classmethod
    def of(cls, macs: ArrayLike, chance: float) -> Self:
        """The scale of networks: of one search, or of all that are compared.

        Args:
            macs: (networks,), multiply-adds of those that were trained.
            chance: Accuracy of guessing.
        """
        log_macs = np.log10(np.asarray(macs, float))
        worst = float(log_macs.max(initial=-np.inf)) + MARGIN
        return cls(chance, worst, (1 - chance) * (worst - float(log_macs.min(initial=np.inf))))

    def shares(self, accuracy: ArrayLike, macs: ArrayLike) -> NDArray[np.float64]:
        """The hypervolume after each training as a share of the whole, (trainings,).

        Args:
            accuracy: (trainings,), in their order; nan for one that failed, which adds nothing.
            macs: (trainings,), multiply-adds of each.
        """
        points = np.column_stack([np.asarray(accuracy, float), np.log10(np.asarray(macs, float))])
        front, volume, shares = np.empty((0, 2)), 0.0, []
        for point in points:
            # What the front so far dominates adds nothing.
            if not (np.isnan(point[0]) or ((front[:, 0] >= point[0]) & (front[:, 1] <= point[1])).any()):
                front = front[(front[:, 0] > point[0]) | (front[:, 1] < point[1])]
                front = np.vstack([front, point])
                volume = hypervolume(front, [self.chance, self.worst], (True, False))
            shares.append(volume / self.whole if len(front) else 0.0)
        return np.array(shares)

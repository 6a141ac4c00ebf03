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
        known = [points[: count + 1][~np.isnan(points[: count + 1, 0])] for count in range(len(points))]
        return np.array([self._volume(so_far) / self.whole if len(so_far) else 0.0 for so_far in known])

    def _volume(self, points: NDArray[np.float64]) -> float:
        return hypervolume(points, [self.chance, self.worst], (True, False))

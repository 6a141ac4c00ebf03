"""Latency from computed cost: a plain regression on the measured front, for runs whose budget does
not limit latency.

It draws the trials that were not measured beside the front; no decision hangs on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nas.profiler.computed.cost import Cost


def _features(cost: Cost) -> tuple[float, float, float]:
    return cost.macs / 1e9, cost.bytes_moved / 1e9, sum(row.calls for row in cost.operators) / 1e3


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds per GMAC, per GB moved and per thousand calls of operators; never negative."""

    weights: tuple[float, ...]

    @classmethod
    def fit(cls, costs: Sequence[Cost], latencies_ms: Sequence[float]) -> LatencyModel:
        """Fits the smallest sum of squared relative errors with weights of zero or more.

        There are three weights, so the best non-negative one is found among the fits of all subsets
        of them.
        """
        targets = np.array(latencies_ms)
        rows = np.array([_features(cost) for cost in costs]) / targets[:, None]
        best, least = (0.0, 0.0, 0.0), float("inf")
        for chosen in (c for n in (1, 2, 3) for c in combinations(range(3), n) if n <= len(targets)):
            solution = np.linalg.lstsq(rows[:, chosen], np.ones(len(targets)), rcond=None)[0]
            error = float(((rows[:, chosen] @ solution - 1) ** 2).sum())
            if (solution >= 0).all() and error < least - 1e-12:
                least = error
                best = tuple(float(solution[chosen.index(i)]) if i in chosen else 0.0 for i in range(3))  # type: ignore[assignment]
        return cls(best)

    def predict(self, cost: Cost) -> float:
        """Latency in milliseconds."""
        return float(np.dot(self.weights, _features(cost)))

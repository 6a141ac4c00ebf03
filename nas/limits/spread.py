"""Random candidates that are spread over cost, and not over a space's own mass.

Most networks of a large space are of one size, which is seldom that of a limit: drawn as they come,
nearly all of them are outside, or all are far below it. Here a cost is drawn first, evenly on a
logarithmic scale between where a search begins and what it may reach; then a network of about that
cost, by widths and depths of which larger or smaller ones are the more likely. Everything else of
it is drawn evenly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.limits.budget import Budget
from nas.pareto.parameters import Params
from nas.space import SearchSpace

Array = NDArray[np.float64]

PRICED = 20  # networks of all sizes that say what a size costs
LARGEST = 8.0  # size, of `SearchSpace.sample_params`: one in 3000 draws of a width has then the smallest of two
PLACES = 2000  # sizes between them at which the costs are looked up
DEGREE = 3  # of the polynomial through their costs
FLOOR_SHARE = 1 / 20  # of what can be reached: where a search begins unless it is told


@dataclass(frozen=True)
class Reach:
    """Which part of a space is searched, beside what a budget allows.

    Attributes:
        floor: Of the first cost that networks are compared by, in its stored unit, below which
            nothing is proposed; None for a twentieth of what can be reached.
        ceiling: Multiply-adds beyond which a training takes too long here.
    """

    floor: float | None = 0.0
    ceiling: float = math.inf

    def violation(self, macs: float, compared: float, floor: float) -> float:
        """By what share of an end a network lies outside; 0 inside.

        Args:
            macs: Its multiply-adds.
            compared: The first cost that networks are compared by.
            floor: Where that begins.
        """
        return max(macs / self.ceiling - 1, 0.0) + (max(1 - compared / floor, 0.0) if floor > 0 else 0.0)


class Spread:
    """Draws candidates of a space over a range of costs.

    Attributes:
        drawn: Candidates of all sizes that were priced for it.
        top: The largest cost that is drawn.
        floor: The smallest that is proposed.
        macs: About the fewest and the most multiply-adds that are drawn.

    Args:
        space: The space.
        figures: Of a candidate, the metrics that the budget limits, its multiply-adds and what
            networks are compared by, by name; numbers above zero.
        compared: Name of the first metric that networks are compared by.
        budget: Limits, of which a draw may still be outside.
        reach: What else is outside.
    """

    def __init__(
        self,
        space: SearchSpace,
        figures: Callable[[Params], Mapping[str, float]],
        compared: str,
        budget: Budget,
        reach: Reach,
    ) -> None:
        self._space = space
        sizes = np.linspace(-LARGEST, LARGEST, PRICED)
        rngs = map(np.random.default_rng, range(PRICED))
        self.drawn = [space.sample_params(rng, size) for rng, size in zip(rngs, sizes, strict=True)]
        rows = [figures(params) for params in self.drawn]
        self._sizes = np.linspace(-LARGEST, LARGEST, PLACES)
        self._curve = self._fitted(sizes, [row[compared] for row in rows])
        low, high = 0, len(self._sizes) - 1
        limits = [(limit.metric, limit.low, limit.high) for limit in budget.limits if limit.metric in rows[0]]
        for metric, least, most in (*limits, ("macs", 0.0, reach.ceiling)):
            curve = self._fitted(sizes, [row[metric] for row in rows])
            high = min(high, int(np.searchsorted(curve, _log(most), side="right")) - 1)
            low = max(low, int(np.searchsorted(curve, _log(least))))
        high = max(high, 0)
        self.top = float(np.exp(self._curve[high]))
        self.floor = FLOOR_SHARE * self.top if reach.floor is None else reach.floor
        low = min(max(low, int(np.searchsorted(self._curve, _log(self.floor)))), high)
        self._range = self._curve[low], self._curve[high]
        macs = np.exp(self._fitted(sizes, [row["macs"] for row in rows]))
        self.macs = float(macs[low]), float(macs[high])

    def draw(self, rng: np.random.Generator) -> Params:
        """A candidate, inside the limits or not."""
        size = float(np.interp(rng.uniform(*self._range), self._curve, self._sizes))
        return self._space.sample_params(rng, size)

    def _fitted(self, sizes: Array, values: list[float]) -> Array:
        """The logarithm of a figure at every size, rising; of no network known, 0."""
        numbers = np.array(values, float)
        known = np.isfinite(numbers) & (numbers > 0)
        if not known.any():
            return np.linspace(0.0, 1e-9, len(self._sizes))
        degree = min(DEGREE, int(known.sum()) - 1)
        curve = np.polyval(np.polyfit(sizes[known], np.log(numbers[known]), degree), self._sizes)
        # What does not depend on size stays without a jump.
        rising: Array = np.maximum.accumulate(curve).astype(np.float64) + 1e-9 * np.arange(len(curve))
        return rising


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf

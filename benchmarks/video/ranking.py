"""How alike two rankings are, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
DRAWS = 2000  # of a bootstrap


def kendall(a: Array, b: Array, groups: Array | None = None) -> float:
    """Kendall's tau-b of two figures of the same things; nan if one of them tells nothing apart.

    Args:
        a, b: (things).
        groups: (things); only pairs of the same group count.
    """
    signs = [np.sign(values[:, None] - values) for values in (a, b)]
    if groups is not None:
        signs = [sign * (groups[:, None] == groups) for sign in signs]
    apart = np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum() / apart) if apart else float("nan")


def interval(figure: Callable[[Rows], float], count: int) -> tuple[float, float]:
    """The middle 90 % of a figure of `count` things of which as many are drawn with replacement
    (bootstrap).
    """
    rng = np.random.default_rng(0)
    found = np.array([figure(rng.integers(count, size=count)) for _ in range(DRAWS)])
    low, high = np.nanpercentile(found, [5, 95]) if np.isfinite(found).any() else (np.nan, np.nan)
    return float(low), float(high)


def shown(pairs: Sequence[tuple[Array, Array]], groups: Array | None = None) -> str:
    """Mean tau of pairs of figures of the same things, with its interval; a dash for fewer than
    three things.
    """
    count = len(pairs[0][0]) if pairs else 0
    if count < 3:
        return "-"

    def mean(rows: Rows) -> float:
        return float(np.mean([kendall(a[rows], b[rows], None if groups is None else groups[rows]) for a, b in pairs]))

    low, high = interval(mean, count)
    return f"{mean(np.arange(count)):.2f} ({low:.2f} to {high:.2f})"

"""Pareto dominance, rank, hypervolume and knee of a set of points.

Pure maths: `values` is an array of shape (points, objectives), `maximise` says for each objective
which way is better. Every function raises ValueError for a value that is not finite: whether a
failed measurement means the worst or the unknown is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def _losses(values: ArrayLike, maximise: Sequence[bool]) -> Values:
    """Checks the values and turns them so that less is better in every objective.

    moocore has a `maximise` of its own, but its pareto_rank (0.3.2) reads it wrongly for a single
    objective.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(maximise) or len(maximise) == 0:
        raise ValueError(f"values have shape {points.shape}; allowed: (points, {len(maximise) or 'at least 1'})")
    if not np.isfinite(points).all():
        raise ValueError("values hold nan or inf; allowed: finite numbers")
    return points * np.where(maximise, -1.0, 1.0)


def non_dominated(values: ArrayLike, maximise: Sequence[bool]) -> NDArray[np.bool_]:
    """Returns a mask of shape (points,): True where no other point is at least as good in all
    objectives.

    Of equal points only the first is True.

    Args:
        values: Finite numbers of shape (points, objectives); no points give an empty mask.
        maximise: For each objective, whether more is better.

    Raises:
        ValueError: nan, inf or a shape that does not fit `maximise`.
    """
    losses = _losses(values, maximise)
    if len(losses) == 0:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(losses), dtype=np.bool_)


def pareto_rank(values: ArrayLike, maximise: Sequence[bool]) -> NDArray[np.int64]:
    """Returns the rank of each point, shape (points,): 0 on the front, 1 on the front without
    those, and so on.

    Equal points have equal rank.

    Args:
        values: Finite numbers of shape (points, objectives).
        maximise: For each objective, whether more is better.

    Raises:
        ValueError: nan, inf or a shape that does not fit `maximise`.
    """
    losses = _losses(values, maximise)
    if len(losses) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(losses), dtype=np.int64)


def hypervolume(values: ArrayLike, reference: ArrayLike, maximise: Sequence[bool]) -> float:
    """Returns the volume that the points dominate, bounded by the reference point.

    Points that are not better than the reference in every objective add nothing; no points give 0.

    Args:
        values: Finite numbers of shape (points, objectives).
        reference: Finite numbers of shape (objectives,): the worst that counts.
        maximise: For each objective, whether more is better.

    Raises:
        ValueError: nan, inf or a shape that does not fit `maximise`.
    """
    losses = _losses(values, maximise)
    worst = _losses(np.asarray(reference, dtype=np.float64)[None], maximise)[0]
    if len(losses) == 0:
        return 0.0
    return float(moocore.hypervolume(losses, ref=worst))


def knee(values: ArrayLike, maximise: Sequence[bool]) -> int:
    """Returns the index of the most balanced point of the front.

    It is the point nearest to the ideal (Euclidean distance) after each objective is scaled to [0,
    1] over the front, the compromise solution of Zeleny (1973). Against the distance from the
    hyperplane through the extremes (Das, 1999) it needs no hyperplane, which is degenerate where
    extremes coincide, and on a concave front it still finds the middle instead of an extreme.
    Dominated points are ignored, also when scaling. A cost that spans orders of magnitude should
    come as its logarithm.

    Of points at equal distance, the one best in the first objective is taken, then in the second,
    and so on: of a front of two, the better in the first objective. Equal points give the first of
    them.

    Args:
        values: Finite numbers of shape (points, objectives), at least one point.
        maximise: For each objective, whether more is better.

    Raises:
        ValueError: No points, nan, inf or a shape that does not fit `maximise`.
    """
    losses = _losses(values, maximise)
    if len(losses) == 0:
        raise ValueError("values hold no points; allowed: at least one")
    candidates = np.flatnonzero(moocore.is_nondominated(losses))
    losses = losses[candidates]
    ideal = losses.min(axis=0)
    span = losses.max(axis=0) - ideal
    scaled = (losses - ideal) / np.where(span > 0, span, 1.0)
    # Rounding keeps ties ties, so that the choice does not depend on the last bit of a sum.
    distance = np.round(np.linalg.norm(scaled, axis=1), 12)
    best = np.lexsort((*losses.T[::-1], distance))[0]
    return int(candidates[best])

"""What a space costs before anything is trained: a sample priced, and the nearest candidate to a
budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.architecture import ArchitectureError
from nas.errors import NasError
from nas.limits.gate import Gate, Priced
from nas.limits.metrics import METRICS, Metric, computed_figures
from nas.pareto.parameters import Params
from nas.profiler.computed.cost import cost
from nas.space import Hole, Label, SearchSpace

# Of the search for the nearest candidate.
STARTS = 4  # of the drawn candidates, from which it descends
RESTARTS, PERTURBED = 30, 3  # how often it descends again from its best, and holes that are changed there first


def survey(
    space: SearchSpace, samples: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Prices random candidates of a space at its own target input.

    Args:
        space: The space.
        samples: How many candidates.
        seed: Of the sample.
        progress: Called after each candidate with how many are priced, and of how many.

    Returns:
        A row per candidate, with a column for each computed metric of `nas.limits.metrics`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(samples):
        rows.append(computed_figures(cost(space.decode(space.sample_params(rng)))))
        if progress:
            progress(i + 1, samples)
    return pd.DataFrame(rows)


def nearest(gate: Gate, seed: int = 0, samples: int = 64) -> Priced:
    """Searches for a candidate inside a budget by what is known without training; stops at the
    first, and returns the one that violates it least if there is none.

    Draws random candidates, then changes the best of them one hole at a time for as long as that
    brings them nearer to the budget. Where all of these get stuck, the nearest is changed in a few
    holes at random, and so on from there.

    Raises:
        NasError: `samples` is below 1.
    """
    if samples < 1:
        raise NasError(f"samples {samples} is not allowed; allowed: whole numbers from 1")
    rng = np.random.default_rng(seed)
    drawn: list[_Point] = []
    while len(drawn) < samples and (not drawn or drawn[0].violation > 0):
        drawn = sorted([*drawn, _point(gate, gate.sample(rng))], key=_distance)
    best, starts = drawn[0], drawn[:STARTS]
    for attempt in range(len(starts) + RESTARTS):
        if best.violation == 0:
            break
        start = starts[attempt] if attempt < len(starts) else _point(gate, _perturbed(gate, best.params, rng))
        found = _descended(gate, start, rng)
        if _distance(found) == _distance(best) and 0 < attempt < len(starts):
            break  # starts that have nothing to do with each other end at the same: there is no better one
        best = min(best, found, key=_distance)
    return gate.candidate(best.params)


def check_budget(gate: Gate) -> None:
    """Refuses a budget that nothing in the space meets, naming the nearest candidate and how far it
    is off.

    Raises:
        NasError: Nothing was found inside the budget.
    """
    found, budget = nearest(gate), gate.budget
    if found.violation > 0:
        missed = [
            f"{_described(METRICS[limit.metric], found.figures[limit.metric])}, which misses {limit.text} by "
            f"{100 * limit.violation(found.figures[limit.metric]):.0f} %"
            for limit in budget.limits
            if limit.metric in found.figures and limit.violation(found.figures[limit.metric])
        ]
        misses = " and ".join(missed) if missed else f"no start ({found.refused})"
        raise NasError(
            f"budget {str(budget)!r} cannot be met in space {gate.space.name!r}: its nearest candidate has {misses}; "
            f"allowed: a limit that includes it"
        )


def _described(metric: Metric, value: float) -> str:
    """A figure of a candidate that was not measured: if it is not computed, it is predicted."""
    return metric.text(value) + ("" if metric.compute else " as predicted")


class _Point(NamedTuple):
    """A candidate of the search for the nearest, and by how much it violates the budget."""

    violation: float
    macs: float
    params: Params


def _distance(point: _Point) -> tuple[float, float]:
    """What the search makes small: of equal violations, multiply-adds."""
    return point.violation, point.macs


def _point(gate: Gate, params: Params) -> _Point:
    priced = gate.candidate(params)
    return _Point(priced.violation, float(priced.cost.macs), params)


def _descended(gate: Gate, start: _Point, rng: np.random.Generator) -> _Point:
    """The best of each hole's values in turn, in random order, until none of them is nearer to the
    budget.
    """
    space, holes = gate.space, gate.distributions
    best, improved = start, True
    while improved and best.violation > 0:
        improved = False
        for name in rng.permutation(list(best.params)).tolist():
            params = best.params  # a hole that an earlier change has closed is not there any more
            values = holes[name].choices if name in params else ()
            changes = [_changed(space, params, name, value, rng) for value in values if value != params[name]]
            nearest = min((_point(gate, changed) for changed in changes if changed), key=_distance, default=best)
            if nearest.violation < best.violation:
                best, improved = nearest, True
            if best.violation == 0:
                break
    return best


def _perturbed(gate: Gate, params: Params, rng: np.random.Generator) -> Params:
    """The candidate with a few holes changed at random, as far as that can be built."""
    for _ in range(PERTURBED):
        names = [name for name in params if not gate.distributions[name].single()]
        if names:
            name = names[int(rng.integers(len(names)))]
            others = [value for value in gate.distributions[name].choices if value != params[name]]
            params = _changed(gate.space, params, name, others[int(rng.integers(len(others)))], rng) or params
    return params


def _changed(space: SearchSpace, params: Params, name: str, value: Label, rng: np.random.Generator) -> Params | None:
    """The assignment with one hole changed, holes that this opens drawn at random; None where it
    cannot be built.
    """

    def choose(hole: Hole) -> Label:
        if hole.name == name:
            return value
        return params[hole.name] if hole.name in params else hole.values[int(rng.integers(len(hole.values)))]

    try:
        return space.complete(choose)[0]
    except ArchitectureError:
        return None

"""What a space costs before anything is trained: a sample priced, and the nearest candidate to a budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from nas.architecture import Architecture, ArchitectureError
from nas.profiler.cost import STATES, cost
from nas.profiler.population import Figures, Population
from nas.search.budget import COMPUTED, Budget
from nas.space import Hole, Label, Params, SearchSpace

DRAWN = 8  # candidates priced together
STARTS = 4  # of the drawn ones, from which the search for the nearest begins
KICKS, KICKED = 30, 3  # how often it begins again from its best, and holes that are changed there


def survey(
    space: SearchSpace, samples: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Prices random candidates of a space at its own target input.

    Returns:
        A row per candidate: macs, params, inference_memory_bytes, activation_bytes, memory_bytes (training), all of
        one clip.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(samples):
        priced = cost(space.decode(space.sample_params(rng)))
        rows.append({"activation_bytes": priced.activation_bytes} | {k: of(priced) for k, of in COMPUTED.items()})
        if progress:
            progress(i + 1, samples)
    return pd.DataFrame(rows)


class Pricer:
    """Prices candidates of a space by their params, in what a budget limits.

    Args:
        space: Where the candidates are from.
        budget: Whose figures are computed.
        latency: Predicts milliseconds, where the budget limits latency and something can be said of it.
    """

    def __init__(
        self, space: SearchSpace, budget: Budget, latency: Callable[[Architecture], float] | None = None
    ) -> None:
        self.space, self.budget = space, budget
        self.values = {hole.name: hole.values for hole in space.holes}
        self._latency = latency if "latency_ms" in budget.metrics() else None
        # A neighbourhood has no places where parts stand, and what is gated is priced as a whole.
        apart = "around" not in space.document and "stem_gate" not in json.dumps(space.document)
        self._population = Population(space) if apart and space.holes else None

    def figures(self, candidates: Sequence[Params]) -> list[dict[str, float]]:
        """Of every candidate its multiply-adds, as `macs`, and all that the budget limits and that is known."""
        if self._population is None:
            costs = [cost(self.space.decode(params)) for params in candidates]
            rows = [{"macs": float(figures.macs), **self.budget.computed(figures)} for figures in costs]
        else:
            training = "memory_bytes" in self.budget.metrics()
            columns = computed(self._population.cost(self._population.codes(candidates), training))
            rows = [
                {name: float(value) for name, value in zip(columns, row, strict=True)}
                for row in zip(*columns.values(), strict=True)
            ]
        if self._latency:
            for row, params in zip(rows, candidates, strict=True):
                row["latency_ms"] = self._latency(self.space.decode(params))
        return rows

    def distances(self, candidates: Sequence[Params]) -> list[tuple[float, float]]:
        """By how much each misses the budget, 0 inside, and its multiply-adds."""
        return [(self.budget.violation(row), row["macs"]) for row in self.figures(candidates)]


def computed(priced: Mapping[str, Figures]) -> dict[str, Figures]:
    """The figures of `COMPUTED` from those of a population; memory of training where it was asked for."""
    figures = {
        "macs": priced["macs"],
        "params": priced["params"],
        "inference_memory_bytes": priced["inference_bytes"] + priced["parameter_bytes"],
    }
    if "step_bytes" in priced:
        figures["memory_bytes"] = priced["step_bytes"] + (1 + STATES["adamw"]) * priced["parameter_bytes"]
    return figures


def nearest(
    space: SearchSpace,
    budget: Budget,
    seed: int = 0,
    samples: int = 64,
    latency: Callable[[Architecture], float] | None = None,
) -> tuple[Architecture, dict[str, float], float]:
    """Searches for a candidate inside a budget by what is known without training; stops at the first.

    Draws random candidates, then changes the best of them one hole at a time for as long as that brings them nearer to
    the budget. Where all of these get stuck, the nearest is changed in a few holes at random, and so on from there.

    Returns:
        The candidate, its figures, and by how much it misses the budget (0 inside).
    """
    rng = np.random.default_rng(seed)
    pricer = Pricer(space, budget, latency)
    drawn: list[_Priced] = []
    while len(drawn) < samples and (not drawn or drawn[0][0][0] > 0):
        drawn = sorted(drawn + _priced(pricer, [space.sample_params(rng) for _ in range(DRAWN)]), key=_distance)
    best = drawn[0]
    for attempt in range(STARTS + KICKS):
        if best[0][0] == 0:
            break
        start = drawn[attempt] if attempt < STARTS else _priced(pricer, [_kicked(pricer, best[1], rng)])[0]
        found = _descended(pricer, start, rng)
        if found[0] == best[0] and 0 < attempt < STARTS:
            break  # starts that have nothing to do with each other end at the same: there is no better one
        best = min(best, found, key=_distance)
    return space.decode(best[1]), pricer.figures([best[1]])[0], best[0][0]


_Priced = tuple[tuple[float, float], Params]  # distance, as `Pricer.distances` gives it, and candidate


def _distance(priced: _Priced) -> tuple[float, float]:
    return priced[0]


def _priced(pricer: Pricer, candidates: Sequence[Params]) -> list[_Priced]:
    return list(zip(pricer.distances(candidates), candidates, strict=True))


def _descended(pricer: Pricer, start: _Priced, rng: np.random.Generator) -> _Priced:
    """The best of each hole's values in turn, in random order, until none of them is nearer to the budget."""
    space = pricer.space
    best, improved = start, True
    while improved and best[0][0] > 0:
        improved = False
        for name in rng.permutation(list(best[1])).tolist():
            values = pricer.values[name] if name in best[1] else ()
            changed = (_changed(space, best[1], name, value, rng) for value in values if value != best[1][name])
            found = _priced(pricer, [params for params in changed if params])
            nearest = min(found, key=_distance, default=best)
            if nearest[0][0] < best[0][0]:
                best, improved = nearest, True
            if best[0][0] == 0:
                break
    return best


def _kicked(pricer: Pricer, params: Params, rng: np.random.Generator) -> Params:
    """The candidate with a few holes changed at random, as far as that can be built."""
    for _ in range(KICKED):
        names = [name for name in params if len(pricer.values[name]) > 1]
        if names:
            name = names[int(rng.integers(len(names)))]
            others = [value for value in pricer.values[name] if value != params[name]]
            params = _changed(pricer.space, params, name, others[int(rng.integers(len(others)))], rng) or params
    return params


def _changed(space: SearchSpace, params: Params, name: str, value: Label, rng: np.random.Generator) -> Params | None:
    """The assignment with one hole changed, holes that this opens drawn at random; None where it cannot be built."""

    def choose(hole: Hole) -> Label:
        if hole.name == name:
            return value
        return params[hole.name] if hole.name in params else hole.values[int(rng.integers(len(hole.values)))]

    try:
        return space.complete(choose)[0]
    except ArchitectureError:
        return None

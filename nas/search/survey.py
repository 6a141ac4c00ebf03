"""What a space costs before anything is trained: a sample priced, and the nearest candidate to a budget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from nas.architecture import Architecture, ArchitectureError
from nas.profiler.cost import Cost, cost
from nas.search.budget import Budget, training_memory
from nas.space import Hole, Label, Params, SearchSpace


def survey(
    space: SearchSpace, samples: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Prices random candidates of a space at its own target input.

    Returns:
        A row per candidate: macs, params, activation_bytes (one clip), memory_bytes (training, one clip).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(samples):
        priced = cost(space.decode(space.sample_params(rng)))
        rows.append((priced.macs, priced.params, priced.activation_bytes, training_memory(priced)))
        if progress:
            progress(i + 1, samples)
    return pd.DataFrame(rows, columns=["macs", "params", "activation_bytes", "memory_bytes"])


def nearest(space: SearchSpace, budget: Budget, seed: int = 0, samples: int = 64) -> tuple[Architecture, Cost, float]:
    """Searches for a candidate inside a budget by its exact cost alone.

    Starts at the best of a random sample and changes one hole at a time, to every value it may have, for as long as
    that brings the candidate nearer to the budget. Stops at the first candidate that is inside.

    Returns:
        The candidate, its cost, and by how much it misses the budget (0 inside).
    """
    rng = np.random.default_rng(seed)
    values = {hole.name: hole.values for hole in space.holes}

    def priced(params: Params) -> tuple[float, float, Params, Architecture, Cost]:
        architecture = space.decode(params)
        figures = cost(architecture)
        return budget.violation(budget.computed(figures)), float(figures.macs), params, architecture, figures

    best = priced(space.sample_params(rng))
    for _ in range(samples - 1):
        if best[0] == 0:
            break
        best = min(best, priced(space.sample_params(rng)), key=lambda item: item[:2])
    improved = True
    while best[0] > 0 and improved:
        improved = False
        for name in list(best[2]):
            for value in values[name]:
                if name not in best[2] or best[2][name] == value:
                    continue
                changed = _changed(space, best[2], name, value, rng)
                candidate = priced(changed) if changed else best
                if candidate[0] < best[0]:
                    best, improved = candidate, True
    return best[3], best[4], best[0]


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

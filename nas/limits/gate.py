"""A search space as samplers see it: candidates with their costs, and how far outside a budget."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from nas.architecture import LAYERS, Architecture, ArchitectureError, load
from nas.limits.budget import Budget
from nas.limits.metrics import ACCURACY, computed_figures
from nas.limits.objectives import DEFAULT_COST, Objectives
from nas.limits.spread import Reach, Spread
from nas.pareto.parameters import Params
from nas.profiler.computed.cost import Cost, cost
from nas.resources import resource_names
from nas.space import Hole, Label, SearchSpace, SpaceError

EVERYWHERE = Reach()
REMEMBERED = 5000  # candidates, which take some 30 kB each


@dataclass(frozen=True)
class Priced:
    """A network that may be trained, with what is known of it before it is.

    Attributes:
        hash: Equal for networks that are the same.
        architecture: The network.
        cost: At the target input, of one clip.
        figures: Those metrics that the budget limits, as far as they are computed or predicted, and
            those that networks are compared by.
        costs: What it is compared by beside accuracy, as `Objectives.compared` has them.
        violation: By how much the figures are outside the budget, and 1 more where it is refused; 0
            inside.
        refused: Why it cannot be trained, whatever it costs; None where it can.
    """

    hash: str
    architecture: Architecture
    cost: Cost
    figures: Mapping[str, float]
    costs: tuple[float, ...]
    violation: float
    refused: str | None = None


class Gate:
    """A search space whose candidates are priced against a budget; a `nas.pareto.parameters.Space`.

    Args:
        space: The search space.
        budget: Hard limits at the space's input.
        figures: From a candidate to further metrics that the budget may limit or that networks are
            compared by, by name, such as a predicted latency; called once for each.
        objectives: What networks are compared by; accuracy and multiply-adds by default.
        reach: Which part of the space is searched; all of it by default.
        refusal: From a candidate to why it cannot be trained, such as that the weights to begin
            with do not fit it, or None for one that can; None refuses nothing.
    """

    def __init__(
        self,
        space: SearchSpace,
        budget: Budget,
        figures: Callable[[Architecture], Mapping[str, float]] = lambda architecture: {},
        objectives: Objectives | None = None,
        reach: Reach = EVERYWHERE,
        refusal: Callable[[Architecture], str | None] | None = None,
    ) -> None:
        self.objectives = objectives or Objectives.of((ACCURACY, DEFAULT_COST))
        first = self.objectives.costs[0]
        self._over = first.name if first.logarithmic and first.less_is_better else DEFAULT_COST
        self.space, self.budget, self.reach, self._figures = space, budget, reach, figures
        self._refusal = refusal
        self.distributions = {hole.name: CategoricalDistribution(hole.values) for hole in space.holes}
        self._ranks = {hole.name: _ranks(hole) for hole in space.holes}
        self._keys: dict[Hashable, str] = {}
        self._candidates: dict[str, Priced] = {}

    def candidate(self, params: Params) -> Priced:
        """The candidate of some parameters, priced once.

        Raises:
            ArchitectureError: It cannot be built.
            NasError: An objective of it is not known, or has no logarithm.
        """
        choices = tuple(params.items())
        if choices not in self._keys:
            architecture = self.space.decode(params)
            if len(self._keys) > REMEMBERED:
                self._keys, self._candidates = {}, {}
            # Once it is priced: what fails is tried again when it is next asked for.
            self._keys[choices] = self.priced(architecture).hash
        return self._candidates[self._keys[choices]]

    def priced(self, architecture: Architecture) -> Priced:
        """A network as it is priced here, of the space or not.

        Raises:
            ArchitectureError, NasError: As `candidate`.
        """
        key = architecture.hash
        if key not in self._candidates:
            priced = cost(architecture)
            names = self.budget.metrics() | {*self.objectives.names}
            figures = {**computed_figures(priced, names), **self._figures(architecture)}
            costs = self.objectives.costs_of(figures)
            refused = self._refusal(architecture) if self._refusal else None
            violation = self.budget.violation(figures) + (refused is not None)
            self._candidates[key] = Priced(key, architecture, priced, figures, costs, violation, refused)
        return self._candidates[key]

    def references(self) -> list[Params]:
        """The published networks that are points of the space, with its input and classes; nearest
        to the budget first.

        They keep their layers where the space has them; that of a neighbourhood is the architecture
        that it is around.
        """
        sample = self.space.sample(0)
        found: dict[str, Params] = {}
        for name in resource_names("search_spaces/reference"):
            try:
                reference = load(name).resized(sample.input.frames, sample.input.size)
                params = self.space.params_of(reference.model_copy(update={"num_classes": sample.num_classes}))
                found.setdefault(self.key(params), params)
            except (ArchitectureError, SpaceError):
                continue
        return sorted(found.values(), key=lambda params: self.candidate(params).violation)

    def contains(self, params: Params) -> bool:
        """Whether these are the parameters of a network that can be built."""
        try:
            return bool(self.candidate(params))
        except (SpaceError, ArchitectureError):
            return False

    @cached_property
    def spread(self) -> Spread:
        """Where random networks are drawn from."""
        return Spread(self.space, self._known, self._over, self.budget, self.reach)

    def _known(self, params: Params) -> dict[str, float]:
        """The figures of a network that limits and reach are about."""
        priced = self.candidate(params)
        return {"macs": priced.cost.macs, **priced.figures}

    def sample(self, rng: np.random.Generator) -> Params:
        """A random network of the space, inside the budget or not; over the first cost that is
        compared, such networks are spread evenly.
        """
        return self.spread.draw(rng)

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        """The network with one hole changed."""
        return self.space.mutate(params, rng)

    def codes(self, candidates: Sequence[Params]) -> NDArray[np.int64]:
        """The position of each hole's value, (candidates, holes); -1 where a network lacks it."""
        holes = self.space.holes
        codes = [[hole.index(c[hole.name]) if hole.name in c else -1 for hole in holes] for c in candidates]
        return np.array(codes, np.int64).reshape(len(candidates), len(holes))

    def places(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """Where the value of each hole of numbers stands among the hole's values in order, from 0
        for the least to 1, (candidates, holes); nan for other holes and where a network lacks it.
        """
        holes = self.space.holes
        places = [[self._ranks[h.name].get(c.get(h.name), np.nan) for h in holes] for c in candidates]
        return np.array(places, float).reshape(len(candidates), len(holes))

    def features(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """log10 of parameters and of bytes moved, number of layers, and share of each operator
        among them, (candidates, 3 + operators).
        """
        rows, names = [], LAYERS.names()
        for candidate in map(self.candidate, candidates):
            operators = candidate.architecture.operators
            layers = sum(operators.values())
            shares = [operators.get(name, 0) / layers for name in names]
            rows.append([np.log10(candidate.cost.params), np.log10(candidate.cost.bytes_moved), layers, *shares])
        return np.array(rows, float)

    def costs(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """What candidates are compared by beside accuracy, (candidates, costs); less is better, and
        log10 of what differs by factors.
        """
        values = [self.candidate(params).costs for params in candidates]
        return np.array(values, float).reshape(-1, len(self.objectives.costs))

    def violations(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """By how much each is outside the budget or the reach, (candidates,); 0 inside."""
        return np.array([self.candidate(params).violation + self.unreached(params) for params in candidates])

    def unreached(self, params: Params) -> float:
        """By how much a network is outside the reach; 0 inside."""
        if self.reach == EVERYWHERE:
            return 0.0
        figures = self._known(params)
        return self.reach.violation(figures["macs"], figures[self._over], self.spread.floor)

    def key(self, params: Params) -> str:
        """The network's hash."""
        return self.candidate(params).hash


def _ranks(hole: Hole) -> dict[Label, float]:
    """Where each value of a hole of numbers stands in order, from 0 to 1; of other holes none."""
    if not hole.numeric:
        return {}
    ordered = sorted(hole.values, key=lambda label: float(label or 0))
    return dict(zip(ordered, np.linspace(0, 1, len(ordered)).tolist(), strict=True))

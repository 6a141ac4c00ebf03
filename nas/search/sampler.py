"""An Optuna sampler for searches in which some objectives are known before anything is trained.

A network's accuracy must be bought by training it; its cost is known as soon as it is named. `ParetoSampler` proposes
what can be expected to add most to the front, with the known objectives exact; nothing twice, and nothing outside a
hard limit. It needs functions of parameters and a study, and nothing of video:

    sampler = ParetoSampler(cost=lambda candidates: [[macs(c)] for c in candidates], ideal=[0.0])
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(lambda trial: (error(suggested(trial)), macs(trial.params)), 100)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.search.front import non_dominated
from nas.search.parameters import IndependentSpace, Params, Space
from nas.search.surrogate import Belief, Kernel, Surrogate, expected_gain

Array = NDArray[np.float64]

ANCHORS = 64  # candidates drawn at the start: they give features their scale and the first trainings their spread
FRESH = 4  # candidates drawn for each further proposal
DRAWS = 500  # without one that is new, after which the space counts as exhausted
REPAIRS, CHANGES = 24, 8  # steps of a drawn candidate towards its limits, and changes that are tried in each
EDITS = (0.5, 0.3, 0.2)  # how often a network on the front is changed in one, two or three places
DOUBTED = 4  # one in so many proposals is any change of the front, whatever the surrogate says of it
GROWTH = 1.1  # of the number of results, after which the kernel is chosen again
MARGIN = 0.1  # of the range of a known objective, beyond the largest: the largest network counts too


@dataclass(frozen=True)
class _Facts:
    """What is known of candidates: codes (candidates, choices), features and known objectives (candidates, each)."""

    codes: NDArray[np.int64]
    features: Array
    known: Array


@dataclass
class _Results:
    """What a study knows.

    Attributes:
        signs: Of each objective, 1 if less is better, else -1.
        trained: Candidates with a result, in the order of their trials.
        values: (results, objectives), of each.
        curves: Of each, the first objective at the rungs that it reached; empty where there are none.
        running: Candidates in training.
        seen: Keys of everything that was proposed.
    """

    signs: Array
    trained: list[Params] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    curves: list[Sequence[float]] = field(default_factory=list)
    running: list[Params] = field(default_factory=list)
    seen: set[Hashable] = field(default_factory=set)


class ParetoSampler(BaseSampler):
    """Proposes what can be expected to add most to the front of objectives of which some are known.

    The first proposals spread over the known objective. Then every proposal fits a Gaussian process to each objective
    that training tells, and is the candidate of largest expected gain of hypervolume (Emmerich et al., 2006) among
    random ones and changes of those on the front. One in four is any such change, as a surrogate may be wrong. Trials
    that are running count as what is predicted of them. A result of a training that was stopped at a rung counts as the
    final value that is expected from there, and as less certain, by what other results have gained beyond that rung.

    A proposal follows from the seed, the number of its trial and the results in the study alone.

    Args:
        space: Distributions of independent parameters by name; a `Space` where they depend on each other; or None for
            those parameters that all trials of the study have had. Parameters beyond it are drawn at random.
        cost: Of candidates, the values of the last objectives, (candidates, known objectives).
        violation: Of candidates, by how much each lies outside the hard limits, (candidates); 0 inside.
        features: Of candidates, numbers that tell how alike they are beside their parameters and cost,
            (candidates, features); a `Space` has its own.
        ideal: Of the first objectives, the value that cannot be bettered, such as 0 for an error and 1 for an accuracy:
            then the logarithm of the distance from it is modelled. None for an objective without one.
        curve: Of a finished trial, its first objective at the rungs that it reached.
        start: Candidates to begin with; one outside the limits is changed step by step until it is inside.
        initial: How many results there are before anything is modelled.
        changes: How many changes of networks on the front are considered for a proposal.
        seed: Of all random numbers.

    Attributes:
        exhausted: Whether nothing new was found for the last proposal, so that it repeats an earlier one.

    Raises:
        ValueError: `initial` or `changes` is below 1.
    """

    def __init__(
        self,
        space: Space | Mapping[str, BaseDistribution] | None = None,
        *,
        cost: Callable[[Sequence[Params]], ArrayLike] | None = None,
        violation: Callable[[Sequence[Params]], ArrayLike] | None = None,
        features: Callable[[Sequence[Params]], ArrayLike] | None = None,
        ideal: Sequence[float | None] = (),
        curve: Callable[[FrozenTrial], Sequence[float]] = lambda trial: (),
        start: Sequence[Params] = (),
        initial: int = 16,
        changes: int = 256,
        seed: int | None = None,
    ) -> None:
        for name, value in (("initial", initial), ("changes", changes)):
            if value < 1:
                raise ValueError(f"{name} {value} is not allowed; allowed: from 1")
        self._space = IndependentSpace(space, features) if isinstance(space, Mapping) else space
        self._cost, self._violation, self._features = cost, violation, features
        self._ideal, self._curve, self._initial, self._changes = tuple(ideal), curve, initial, changes
        self._start = tuple(start)
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._intersection = IntersectionSearchSpace()
        self._random = RandomSampler(self._seed)
        self._forget()
        self.exhausted = False

    def _forget(self) -> None:
        self._drawn: dict[Hashable, Params] = {}
        self._begun: list[Params] | None = None
        self._draws = 0
        self._kernels: dict[tuple[int, int], dict[Kernel, float]] = {}
        self._rows: dict[Hashable, tuple[Array, Array, Array]] = {}
        self._scale: tuple[Array, Array] | None = None

    def reseed_rng(self) -> None:
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._space is not None:
            return dict(self._space.distributions)
        return {name: d for name, d in self._intersection.calculate(study).items() if not d.single()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A candidate: a value for each parameter that it has, which may be fewer than the search space names."""
        if not search_space:
            return {}
        space = self._space
        if space is None:
            space = IndependentSpace(search_space, self._features)
            if any(params.keys() != search_space.keys() for params in list(self._drawn.values())[:1]):
                self._forget()
        return dict(self._proposed(space, self._results(study, trial, space), trial.number))

    def _results(self, study: Study, trial: FrozenTrial, space: Space) -> _Results:
        found = _Results(np.array([1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions]))
        for other in study.get_trials(deepcopy=False):
            params = _params(space, other)
            if params is None or other.number == trial.number:
                continue
            found.seen.add(space.key(params))
            if other.state == TrialState.RUNNING:
                found.running.append(params)
            inside = all(violation <= 0 for violation in other.constraints.values())
            if other.state == TrialState.COMPLETE and inside and np.isfinite(other.values).all():
                found.trained.append(params)
                found.values.append(other.values)
                found.curves.append(self._curve(other))
        return found

    def _proposed(self, space: Space, results: _Results, number: int) -> Params:
        rng = np.random.default_rng((self._seed, number))
        self._draw(space, ANCHORS)
        if self._scale is None and self._drawn:
            self._facts(space, list(self._drawn.values()))
        self._draw(space, ANCHORS + FRESH * number)
        self.exhausted = False
        fresh = [params for key, params in self._drawn.items() if key not in results.seen]
        told = len(results.trained)
        for params in self._starts(space):
            if space.key(params) not in results.seen:
                return params
        if told < self._initial:
            return self._spread(space, fresh or self._searched(space, results, rng), len(results.seen))
        facts = self._facts(space, [*results.trained, *results.running])
        surrogates = self._surrogates(results, facts)
        beliefs = self._beliefs(surrogates, facts)
        known = self._turned(facts.known, results)
        there = np.column_stack([*(belief.middle for belief in beliefs), known])
        front = np.flatnonzero(non_dominated(there[:told], [False] * there.shape[1]))
        parents = [results.trained[i] for i in front]
        changed = self._changed(space, results, rng, parents)
        if changed and number % DOUBTED == DOUBTED - 1:
            return changed[int(rng.integers(len(changed)))]
        pool = fresh + changed or self._searched(space, results, rng)
        facts = self._facts(space, pool)
        beliefs = self._beliefs(surrogates, facts)
        costs = self._turned(facts.known, results)
        lowest, highest = (extreme(np.vstack([known, costs]), axis=0) for extreme in (np.min, np.max))
        worst = np.append(
            np.median(there[: self._initial, : len(beliefs)], axis=0), highest + MARGIN * (highest - lowest)
        )
        gain = expected_gain(beliefs, costs, there, worst)
        if not gain.any():  # nothing is expected to add: what is least certain tells most
            gain = np.sum([belief.deviation for belief in beliefs], axis=0)
        return pool[int(gain.argmax())]

    def _draw(self, space: Space, count: int) -> None:
        """Draws candidates inside the limits, each from the seed and its number alone."""
        if count <= self._draws:
            return
        rngs = [np.random.default_rng((self._seed, number, 1)) for number in range(self._draws, count)]
        drawn = [space.sample(rng) for rng in rngs]
        for params, miss, rng in zip(drawn, self._outside(drawn), rngs, strict=True):
            inside = self._repaired(space, params, miss, rng)
            if inside is not None:
                self._drawn.setdefault(space.key(inside), inside)
        self._draws = count

    def _starts(self, space: Space) -> list[Params]:
        """What the search begins with, inside the limits."""
        if self._begun is None:
            inside = [
                self._repaired(space, params, miss, np.random.default_rng((self._seed, number, 2)))
                for number, (params, miss) in enumerate(zip(self._start, self._outside(self._start), strict=True))
            ]
            self._begun = [params for params in inside if params is not None]
        return self._begun

    def _repaired(self, space: Space, params: Params, miss: float, rng: np.random.Generator) -> Params | None:
        """The candidate, changed until it is inside the limits; None if it does not get there."""
        if miss <= 0:
            return params
        for _ in range(REPAIRS):
            changed = [space.mutate(params, rng) for _ in range(CHANGES)]
            misses = self._outside(changed)
            nearest = int(misses.argmin())
            if misses[nearest] < miss:
                params, miss = changed[nearest], float(misses[nearest])
            if miss <= 0:
                return params
        return None

    def _changed(
        self, space: Space, results: _Results, rng: np.random.Generator, parents: Sequence[Params]
    ) -> list[Params]:
        """Changes of the parents in turn that are new and inside the limits."""
        changed = []
        for i in range(self._changes):
            params = parents[i % len(parents)]
            for _ in range(1 + int(rng.choice(len(EDITS), p=EDITS))):
                params = space.mutate(params, rng)
            changed.append(params)
        return self._new(space, results, changed)

    def _searched(self, space: Space, results: _Results, rng: np.random.Generator) -> list[Params]:
        """Random candidates that are new, where the usual ways have found none; a known one if there are none."""
        drawn = [space.sample(rng) for _ in range(DRAWS)]
        new = self._new(space, results, drawn)
        if new:
            return new
        self.exhausted = True
        warnings.warn("no candidate was found that is new and inside the limits; one is repeated", stacklevel=2)
        return [drawn[int(self._outside(drawn).argmin())]]

    def _new(self, space: Space, results: _Results, candidates: Sequence[Params]) -> list[Params]:
        found = {space.key(params): params for params in candidates}
        new = [params for key, params in found.items() if key not in results.seen and key not in self._drawn]
        return [params for params, miss in zip(new, self._outside(new), strict=True) if miss <= 0]

    def _outside(self, candidates: Sequence[Params]) -> Array:
        if self._violation is None or not candidates:
            return np.zeros(len(candidates))
        return np.asarray(self._violation(candidates), float)

    def _facts(self, space: Space, candidates: Sequence[Params]) -> _Facts:
        """What is known of candidates, each asked for once; features in deviations of what was drawn first."""
        keys = [space.key(params) for params in candidates]
        fresh = {key: params for key, params in zip(keys, candidates, strict=True) if key not in self._rows}
        if fresh:
            asked = list(fresh.values())
            costs = np.zeros((len(asked), 0))
            if self._cost is not None:
                costs = np.asarray(self._cost(asked), float).reshape(len(asked), -1)
            rows = zip(space.codes(asked), np.column_stack([space.features(asked), costs]), costs, strict=True)
            self._rows.update(zip(fresh, rows, strict=True))
        codes, features, known = (np.array(column) for column in zip(*(self._rows[key] for key in keys), strict=True))
        if self._scale is None:
            deviation = features.std(0)
            self._scale = features.mean(0), np.where(deviation > 0, deviation, 1.0)
        return _Facts(codes, (features - self._scale[0]) / self._scale[1], known)

    @staticmethod
    def _turned(known: Array, results: _Results) -> Array:
        """Known objectives so that less is better."""
        turned: Array = known * results.signs[len(results.signs) - known.shape[1] :]
        return turned

    def _spread(self, space: Space, candidates: Sequence[Params], count: int) -> Params:
        """A candidate from the middle of the widest gap that earlier ones have left in the first known objective."""
        known = self._facts(space, candidates).known
        order = np.argsort(known[:, 0], kind="stable") if known.shape[1] else np.arange(len(candidates))
        return candidates[int(order[int(len(candidates) * _radical_inverse(count + 1))])]

    def _surrogates(self, results: _Results, facts: _Facts) -> list[Surrogate]:
        told = len(results.trained)
        codes, features = facts.codes[:told], facts.features[:told]
        steady = _steady(told, self._initial)
        surrogates = []
        for objective in range(len(results.signs) - facts.known.shape[1]):
            if (steady, objective) not in self._kernels:
                values, extra = self._targets(results, objective, steady)
                self._kernels[steady, objective] = Kernel.likely(codes[:steady], features[:steady], values, extra)
            values, extra = self._targets(results, objective, told)
            surrogates.append(Surrogate.fit(self._kernels[steady, objective], codes, features, values, extra))
        return surrogates

    def _targets(self, results: _Results, objective: int, count: int) -> tuple[Array, Array]:
        """What is modelled of the first results, and the variance of each beyond that of a full training."""
        values = np.array([row[objective] for row in results.values[:count]], float)
        curves = [np.asarray(c, float) for c in results.curves[:count]] if objective == 0 else [np.empty(0)] * count
        ideal = self._ideal[objective] if objective < len(self._ideal) else None
        if ideal is None:
            sign = results.signs[objective]
            return _final(sign * values, [sign * curve for curve in curves])
        apart = np.abs(values - ideal)
        floor = 0.5 * min(apart[apart > 0], default=1.0)  # a perfect result is not infinitely better
        logarithms = [np.log(np.maximum(np.abs(curve - ideal), floor)) for curve in curves]
        return _final(np.log(np.maximum(apart, floor)), logarithms)

    def _beliefs(self, surrogates: Sequence[Surrogate], facts: _Facts) -> list[Belief]:
        ideals = [*self._ideal, *[None] * len(surrogates)]
        return [
            Belief(*surrogate.predict(facts.codes, facts.features), logarithmic=ideal is not None)
            for surrogate, ideal in zip(surrogates, ideals, strict=False)
        ]


def _params(space: Space, trial: FrozenTrial) -> Params | None:
    """The parameters of a trial if they are a candidate's, else None."""
    if isinstance(space, IndependentSpace):
        params = {name: trial.params[name] for name in space.distributions if name in trial.params}
        fit = all(d._contains(d.to_internal_repr(params[n])) for n, d in space.distributions.items() if n in params)
        return params if fit and len(params) == len(space.distributions) else None
    return trial.params if trial.params and trial.params.keys() <= space.distributions.keys() else None


def _final(values: Array, curves: Sequence[Array]) -> tuple[Array, Array]:
    """Values that trainings would end at, and how uncertain that is, from how others went on.

    Args:
        values: (results), as they are.
        curves: Of each result, its values at the rungs that it reached; empty where there are none.

    Returns:
        The value that each is expected to end at: what the others have gained from rung to rung on the mean is added
        for every rung that it did not reach. And the sum of the variances of those gains; a rung beyond which nobody is
        known to have gone adds nothing.
    """
    values, extra = values.copy(), np.zeros(len(values))
    reached = np.array([len(curve) for curve in curves])
    for rung in range(1, int(reached.max(initial=0))):
        gains = np.array([curve[rung] - curve[rung - 1] for curve in curves if len(curve) > rung])
        stopped = (reached > 0) & (reached <= rung)
        values[stopped] += gains.mean()
        # Few gains tell little of their variance: the spread of all results stands for two more.
        extra[stopped] += (((gains - gains.mean()) ** 2).sum() + 2 * values.var()) / (len(gains) + 1)
    return values, extra


def _steady(count: int, initial: int) -> int:
    """How many of the first results the kernel is chosen by: it stays while the number of results grows by a tenth."""
    steady = initial
    while (following := max(steady + 1, int(GROWTH * steady))) <= count:
        steady = following
    return steady


def _radical_inverse(number: int) -> float:
    """The binary digits of a number behind the point in reverse: 1/2, 1/4, 3/4, 1/8, ... (van der Corput, 1935)."""
    return sum(int(digit) / float(2 << place) for place, digit in enumerate(reversed(f"{number:b}")))

"""What to train next: the candidate with the largest expected improvement of the hypervolume, some
objectives being known, and now and then that of the first objective alone.

Three kinds of candidates are considered: a pool of random ones, which grows with the search;
changes of those on the front; and, where neither has anything new, further random ones. All of them
are inside the hard limits and none was proposed before.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nas.pareto.candidates import Candidates, Function, numbers_of
from nas.pareto.distances import Points, Weights
from nas.pareto.front import non_dominated, pareto_rank
from nas.pareto.parameters import Numbered, Params, Space
from nas.pareto.surrogate import Kernel, Posterior, Surrogate, expected_hypervolume_improvement

Array = NDArray[np.float64]

POOL_MOST = 1000  # random draws in all
KERNEL_GROWTH = 1.1  # of the number of results, after which the kernels are chosen again
MODEL_RESULTS = 300  # that surrogates are fitted to, at most: the time of a proposal grows with their cube
KERNEL_RESULTS = 300  # of the latest results that kernels are chosen by, at most
LOSS_RESULTS = 200  # that the kernels of lost trainings are chosen by, at most, at every proposal: cubic time
REFERENCE_MARGIN = 0.1  # of the range of a known objective, beyond its largest value: the costliest counts too
COST_QUANTILES = 4  # equal parts of the pool by the first known objective; each is tried before a surrogate is used
FRONT_POINTS = {3: 100, 4: 30}  # of a front of so many objectives that improvements are computed for, at most


@dataclass
class Results:
    """What is known when a candidate is proposed.

    Attributes:
        signs: (objectives,), 1 where less is better, else -1.
        numbers: Numbers of the trials with a result, ascending.
        trained: Their candidates.
        values: Their objectives, (results, objectives).
        curves: For each of them the first objective at the rungs that it reached; empty where there
            are none.
        running: Candidates in training.
        lost: Candidates without a result: outside the limits, or failed.
        seen: Keys of all candidates that were proposed.
    """

    signs: Array
    numbers: list[int] = field(default_factory=list)
    trained: list[Params] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    curves: list[Sequence[float]] = field(default_factory=list)
    running: list[Params] = field(default_factory=list)
    lost: list[Params] = field(default_factory=list)
    seen: set[Hashable] = field(default_factory=set)

    def copy(self) -> Results:
        """The same, to which more can be added."""
        whole = self._chosen(range(len(self.trained)))
        return replace(whole, running=[*self.running], lost=[*self.lost], seen={*self.seen})

    def between(self, begin: int, end: int) -> Results:
        """The results from one place up to another."""
        return self._chosen(range(begin, end))

    def telling(self, count: int) -> Results:
        """At most so many of the results: the nearest to the front, which improvements depend on,
        make one half; the other half are evenly many of the rest, in order of their numbers.
        """
        if len(self.trained) <= count:
            return self
        losses = np.asarray(self.values, float) * self.signs
        order = np.argsort(pareto_rank(losses, [False] * losses.shape[1]), kind="stable")
        near, rest = order[: count // 2], np.sort(order[count // 2 :])
        spread = rest[np.linspace(0, len(rest) - 1, count - len(near)).round().astype(int)]
        return self._chosen(sorted([*near.tolist(), *spread.tolist()]))

    def _chosen(self, places: Sequence[int]) -> Results:
        return replace(
            self,
            numbers=[self.numbers[i] for i in places],
            trained=[self.trained[i] for i in places],
            values=[self.values[i] for i in places],
            curves=[self.curves[i] for i in places],
        )


@dataclass(frozen=True)
class _Encoded:
    """Candidates as the surrogates see them.

    Attributes:
        points: With the known objectives among their features.
        known: (candidates, known objectives).
    """

    points: Points
    known: Array


class Acquisition:
    """Proposes candidates of one space for one study; see `nas.pareto.sampler.ParetoSampler` for
    the arguments.

    It keeps between proposals only what saves time: another instance with the same arguments goes
    on with the same proposals.

    Attributes:
        exhausted: Whether nothing new was found for the last proposal.
    """

    def __init__(
        self,
        space: Space,
        *,
        cost: Function | None,
        violation: Function | None,
        ideal: Sequence[float | None],
        start: Sequence[Params],
        initial: int,
        draws: int,
        changes: int,
        first_every: int,
        seed: int,
    ) -> None:
        self.space = space
        self._candidates = Candidates(space, violation, start, seed)
        self._cost, self._ideal = cost, ideal
        self._initial, self._draws, self._changes, self._seed = initial, draws, changes, seed
        self._first_every = first_every
        # Drawn by the time that features are first compared: these give the features' scale.
        self._draws_for_scale = draws * (initial + 1)
        self._kernels: dict[Hashable, tuple[Weights, dict[Kernel, float]]] = {}
        self._rows: dict[Hashable, tuple[NDArray[np.int64], Array, Array, Array]] = {}
        self._scale: tuple[Array, Array] | None = None
        self.exhausted = False

    def propose(self, results: Results, number: int) -> Params:
        """The next candidate.

        Args:
            results: What is known.
            number: Number of the trial, which with the seed decides all random numbers.

        Raises:
            ValueError: A function gave a number that is not finite, or too many objectives; a value
                is better than the ideal; or a candidate to start with is none of the space.
        """
        self.exhausted = False
        draws = self._draws * (number + 1)
        self._candidates.extend_pool(min(draws, self._draws_for_scale))
        if draws >= self._draws_for_scale:
            self._scale = self._scale or self._scaled_by(list(self._candidates.pool.values()))
            self._candidates.extend_pool(min(draws, POOL_MOST))
        rng = np.random.default_rng((self._seed, number))
        fitted = results.telling(MODEL_RESULTS)
        first = bool(self._first_every) and number % self._first_every == self._first_every - 1
        proposal = self._initial_design(results, fitted, rng) or self._most_promising(results, fitted, first, rng)
        kept = results.seen | self._candidates.pool.keys()
        self._rows = {key: row for key, row in self._rows.items() if key in kept}
        return proposal

    def _initial_design(self, results: Results, fitted: Results, rng: np.random.Generator) -> Params | None:
        """What is proposed before surrogates are used: the given starts, then candidates spread
        over the first known objective; None once there are enough results.
        """
        for params in self._candidates.starting():
            if self.space.key(params) not in results.seen:
                return params
        unseen = self._candidates.unseen(results.seen)
        if len(results.trained) < self._initial:
            return self._fill_gap(unseen or self._further(results, rng), len(results.seen))
        if unseen and self._cost is not None:
            # Results that were given may all be of one part of the costs.
            costs = self._encoded(list(self._candidates.pool.values())).known[:, 0]
            edges = np.quantile(costs, np.linspace(0, 1, COST_QUANTILES + 1)[1:-1])
            parts = np.searchsorted(edges, self._encoded(unseen).known[:, 0])
            proposed = [*fitted.trained, *results.running, *results.lost[-MODEL_RESULTS:]]
            tried = np.searchsorted(edges, self._encoded(proposed).known[:, 0])
            for part in sorted({*parts.tolist()} - {*tried.tolist()}):
                return self._fill_gap([p for p, at in zip(unseen, parts, strict=True) if at == part], 0)
        return None

    def _most_promising(self, results: Results, fitted: Results, first: bool, rng: np.random.Generator) -> Params:
        """The candidate of largest expected improvement: of the hypervolume, or of the first
        objective where that is asked for and not known.
        """
        surrogates, results = self._surrogates(results, fitted), fitted
        # A candidate in training counts as what is predicted of it.
        points, _ = self._predicted(surrogates, [*results.trained, *results.running], results)
        trained = points[: len(results.trained)]
        front = np.flatnonzero(non_dominated(trained, [False] * trained.shape[1]))
        changes = self._candidates.changes_of([results.trained[i] for i in front], self._changes, results.seen, rng)
        # Where no drawn candidate is inside the limits, those that were trained stand for them.
        drawn = dict(self._candidates.pool) or {self.space.key(params): params for params in results.trained}
        places = [place for place, key in enumerate(drawn) if key not in results.seen]
        new = changes if changes or places else self._further(results, rng)
        places += range(len(drawn), len(drawn) + len(new))
        considered = [*drawn.values(), *new]
        predicted, of_all = self._predicted(surrogates, considered, results)
        candidates, theirs = [considered[place] for place in places], predicted[places]
        posteriors = [posterior.of(places) for posterior in of_all]
        if first and posteriors:
            improvement = posteriors[0].expected_improvement(points[:, 0].min(keepdims=True))[:, 0]
        else:
            improvement = expected_hypervolume_improvement(
                posteriors,
                theirs[:, len(posteriors) :],
                _thinned_front(points),
                _reference_point(predicted[: len(drawn)], np.vstack([points, theirs]), len(posteriors)),
            )
        improvement *= self._likely_to_have_result(results, candidates)
        if not improvement.any():  # none can be expected: the least certain candidate tells most
            improvement = np.sum([posterior.deviation for posterior in posteriors], axis=0)
        return candidates[int(improvement.argmax())]

    def _likely_to_have_result(self, results: Results, candidates: Sequence[Params]) -> Array:
        """How likely each candidate is to have a result at all, (candidates,): a regression of 1
        for those with a result and 0 for those lost.
        """
        if not results.lost:
            return np.ones(len(candidates))
        trained, lost = results.trained[-KERNEL_RESULTS:], results.lost[-KERNEL_RESULTS:]
        known, values = self._encoded([*trained, *lost]), np.repeat([1.0, 0.0], [len(trained), len(lost)])
        exact = np.zeros(len(values))
        some = np.linspace(0, len(values) - 1, min(len(values), LOSS_RESULTS)).round().astype(int)
        weights = Weights.equal(known.points)
        kernels = Kernel.most_likely(weights, known.points[some], values[some], exact[some])
        surrogate = Surrogate.fit(weights, kernels, known.points, values, exact)
        likely, _ = surrogate.predict(self._encoded(candidates).points)
        return np.clip(likely, 0.0, 1.0)

    def _further(self, results: Results, rng: np.random.Generator) -> list[Params]:
        """New random candidates beyond the pool; if there are none, one that is known."""
        found, new = self._candidates.random(results.seen, rng)
        self.exhausted = not new
        return found if new else results.trained[-1:] or found

    def _encoded(self, candidates: Sequence[Params]) -> _Encoded:
        """The candidates' codes, features and known objectives, computed once for each key;
        features are scaled as soon as enough candidates were drawn for a scale.
        """
        keys = [self.space.key(params) for params in candidates]
        missing = {key: params for key, params in zip(keys, candidates, strict=True) if key not in self._rows}
        if missing:
            new = list(missing.values())
            known = np.zeros((len(new), 0)) if self._cost is None else numbers_of("cost", self._cost(new), new)
            features = np.column_stack([numbers_of("features", self.space.features(new), new), known])
            codes = self.space.codes(new)
            places = self.space.places(new) if isinstance(self.space, Numbered) else np.full(codes.shape, np.nan)
            self._rows.update(zip(missing, zip(codes, places, features, known, strict=True), strict=True))
        columns = zip(*(self._rows[key] for key in keys), strict=True)
        codes, places, features, known = (np.array(column) for column in columns)
        if self._scale is not None:
            features = (features - self._scale[0]) / self._scale[1]
        return _Encoded(Points(codes, places, features), known)

    def _scaled_by(self, candidates: Sequence[Params]) -> tuple[Array, Array] | None:
        """Mean and standard deviation of the candidates' features, (features,) each."""
        if not candidates:
            return None
        features = self._encoded(candidates).points.features
        deviation = features.std(0)
        return features.mean(0), np.where(deviation > 0, deviation, 1.0)

    def _fill_gap(self, candidates: Sequence[Params], count: int) -> Params:
        """The candidate at the `count`-th place of a sequence that halves the widest gap each time,
        in order of the first known objective.
        """
        known = self._encoded(candidates).known
        order = np.argsort(known[:, 0], kind="stable") if known.shape[1] else np.arange(len(candidates))
        return candidates[int(order[int(len(candidates) * _radical_inverse(count + 1))])]

    def _surrogates(self, results: Results, fitted: Results) -> list[Surrogate]:
        """One for each objective that is not known, fitted to those results that tell most.

        Weights and kernels are chosen by fewer, the latest: they stay until the number of results
        has grown by a tenth.
        """
        encoded = self._encoded(fitted.trained)
        known = encoded.known.shape[1]
        if known > len(results.signs):
            raise ValueError(f"cost has {known} columns; allowed: one for each of the last objectives")
        newest = _results_for_kernels(len(results.trained), self._initial)
        chosen = results.between(max(0, newest - KERNEL_RESULTS), newest)
        surrogates = []
        for objective in range(len(results.signs) - known):
            chosen_by = (objective, *chosen.numbers)
            if chosen_by not in self._kernels:
                latest, targets = self._encoded(chosen.trained).points, self._targets(chosen, objective)
                weights = Weights.most_likely(latest, *targets)
                self._kernels[chosen_by] = weights, Kernel.most_likely(weights, latest, *targets)
            values, extra = self._targets(fitted, objective)
            weights, kernels = self._kernels[chosen_by]
            surrogates.append(Surrogate.fit(weights, kernels, encoded.points, values, extra))
        return surrogates

    def _targets(self, results: Results, objective: int) -> tuple[Array, Array]:
        """What a surrogate models of results, and the variance of each beyond that of a full
        training, (results,) each.

        It is the objective, turned so that less is better, or the logarithm of its distance from
        the ideal.
        """
        values = np.array([row[objective] for row in results.values], float)
        curves = [np.asarray(curve if objective == 0 else (), float) for curve in results.curves]
        ideal, sign = self._ideal_of(objective), results.signs[objective]
        if ideal is None:
            return _extrapolated(sign * values, [sign * curve for curve in curves])
        better = sign * values < sign * ideal
        if better.any():
            raise ValueError(
                f"result {values[better][0]} is better than the ideal {ideal}; allowed: an ideal that is not"
            )
        distances = np.abs(values - ideal)
        floor = 0.5 * min(distances[distances > 0], default=1.0)  # a perfect result is not infinitely better
        logarithms = [np.log(np.maximum(np.abs(curve - ideal), floor)) for curve in curves]
        return _extrapolated(np.log(np.maximum(distances, floor)), logarithms)

    def _ideal_of(self, objective: int) -> float | None:
        return self._ideal[objective] if objective < len(self._ideal) else None

    def _predicted(
        self, surrogates: Sequence[Surrogate], candidates: Sequence[Params], results: Results
    ) -> tuple[Array, list[Posterior]]:
        """The objectives of candidates, turned so that less is better, (candidates, objectives):
        the medians of the surrogates' posteriors, then what is known. And the posteriors.
        """
        encoded = self._encoded(candidates)
        posteriors = [
            Posterior(
                *surrogate.predict(encoded.points),
                logarithmic=self._ideal_of(objective) is not None,
            )
            for objective, surrogate in enumerate(surrogates)
        ]
        known = encoded.known * results.signs[len(surrogates) :]
        return np.column_stack([*(posterior.median for posterior in posteriors), known]), posteriors


def _reference_point(drawn: Array, points: Array, modelled: int) -> Array:
    """The worst that counts, (objectives,): the median that is predicted of random candidates, and
    a little more than the costliest of the points costs.

    Args:
        drawn: (candidates, objectives), of random candidates.
        points: (points, objectives), of all that were trained or may be.
        modelled: How many objectives are not known, the first ones.
    """
    known = points[:, modelled:]
    lowest, highest = known.min(axis=0), known.max(axis=0)
    return np.append(np.median(drawn[:, :modelled], axis=0), highest + REFERENCE_MARGIN * (highest - lowest))


def _thinned_front(points: Array) -> Array:
    """The front of the points; of three and more objectives, whose boxes are many, at most
    `FRONT_POINTS`, evenly along the first objective.
    """
    front = points[non_dominated(points, [False] * points.shape[1])]
    most = FRONT_POINTS.get(points.shape[1], len(front))
    if len(front) <= most:
        return front
    kept: Array = front[np.argsort(front[:, 0])[np.linspace(0, len(front) - 1, most).astype(int)]]
    return kept


def _extrapolated(values: Array, curves: Sequence[Array]) -> tuple[Array, Array]:
    """Values that trainings would have ended at, and how uncertain that is.

    Args:
        values: (results,), as they are.
        curves: Of each result, its values at the rungs that it reached; empty where there are none.

    Returns:
        (results,) each. The expected last value: for every rung that a training did not reach, the
        mean change of the others over that rung is added. And the sum of the variances of those
        changes; a rung beyond which no training went adds nothing.
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


def _results_for_kernels(count: int, initial: int) -> int:
    """By how many of the first `count` results kernels are chosen: the largest number up to it in a
    sequence that begins with `initial` and grows by a tenth each time.
    """
    chosen = initial
    while (following := max(chosen + 1, int(KERNEL_GROWTH * chosen))) <= count:
        chosen = following
    return chosen


def _radical_inverse(number: int) -> float:
    """The van der Corput sequence (1935): the binary digits of a number in reverse behind the
    point, so that 1, 2, 3, 4, ... give 1/2, 1/4, 3/4, 1/8, ...
    """
    return sum(int(digit) / float(2 << place) for place, digit in enumerate(reversed(f"{number:b}")))

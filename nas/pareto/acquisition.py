"""What to train next: the candidate that can be expected to add most to the front, some objectives
being known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.pareto.front import non_dominated
from nas.pareto.parameters import Params, Space
from nas.pareto.surrogate import Belief, Kernel, Surrogate, expected_gain

Array = NDArray[np.float64]
Function = Callable[[Sequence[Params]], ArrayLike]

DRAWN, FRESH, MOST = 8, 4, 1000  # candidates drawn for the first proposal, for each one after it, and at most
DRAWS = 500  # without one that is new, after which the space counts as exhausted
REPAIRS = 192  # changes of a drawn candidate towards its limits that are tried
EDITS = (0.5, 0.3, 0.2)  # how often a network on the front is changed in one, two or three places
DOUBTED = 4  # one in so many proposals is any change of the front, whatever the surrogate says of it
GROWTH = 1.1  # of the number of results, after which the kernel is chosen again
LATEST = 300  # results that the kernel is chosen by, at most
AGAIN = 200  # results that a kernel is chosen by for every proposal, at most: it takes the cube of their number
MARGIN = 0.1  # of the range of a known objective, beyond the largest: the largest network counts too
PARTS = 4  # of the range of the known objective, each of which is looked into before anything is believed
POINTS = {3: 100, 4: 30}  # of a front of so many objectives that gains are computed for, at most


@dataclass
class Results:
    """What a study knows.

    Attributes:
        signs: Of each objective, 1 if less is better, else -1.
        numbers: Of the trials with a result, ascending.
        trained: Their candidates.
        values: (results, objectives), of each.
        curves: Of each, the first objective at the rungs that it reached; empty where there are
            none.
        running: Candidates in training.
        lost: Candidates that have no result: outside the limits, or failed.
        seen: Keys of everything that was proposed.
    """

    signs: Array
    numbers: list[int] = field(default_factory=list)
    trained: list[Params] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    curves: list[Sequence[float]] = field(default_factory=list)
    running: list[Params] = field(default_factory=list)
    lost: list[Params] = field(default_factory=list)
    seen: set[Hashable] = field(default_factory=set)


@dataclass(frozen=True)
class _Facts:
    """What is known of candidates: codes (candidates, choices), features and known objectives
    (candidates, each).
    """

    codes: NDArray[np.int64]
    features: Array
    known: Array


class Acquisition:
    """Proposes candidates of one space for one study; see `nas.pareto.sampler.ParetoSampler` for
    the arguments.

    What it keeps between proposals only saves time: a new one goes on in the same way.

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
        changes: int,
        seed: int,
    ) -> None:
        self.space = space
        self._cost, self._violation, self._ideal, self._start = cost, violation, ideal, start
        self._initial, self._changes, self._seed = initial, changes, seed
        self._anchors = DRAWN + FRESH * initial  # drawn by the time that features are compared: they give the scale
        self._drawn: dict[Hashable, Params] = {}
        self._draws = 0
        self._begun: list[Params] | None = None
        self._kernels: dict[Hashable, dict[Kernel, float]] = {}
        self._rows: dict[Hashable, tuple[Array, Array, Array]] = {}
        self._scale: tuple[Array, Array] | None = None
        self.exhausted = False

    def propose(self, results: Results, number: int) -> Params:
        """The next candidate.

        Args:
            results: What is known.
            number: Of the trial, which with the seed decides all random numbers.

        Raises:
            ValueError: A function gave what is no finite number, or too many objectives; a value is
                better than the ideal; or what to start with is no candidate.
        """
        self.exhausted = False
        draws = DRAWN + FRESH * number
        self._draw(min(draws, self._anchors))
        if draws >= self._anchors:
            self._scale = self._scale or self._scaled_by(list(self._drawn.values()))
            self._draw(min(draws, MOST))
        rng = np.random.default_rng((self._seed, number))
        proposal = self._first(results, rng) or self._next(results, number, rng)
        kept = results.seen | self._drawn.keys()
        self._rows = {key: row for key, row in self._rows.items() if key in kept}
        return proposal

    def _first(self, results: Results, rng: np.random.Generator) -> Params | None:
        """What is proposed before anything is believed; None when there is enough to go by."""
        for params in self._starts():
            if self.space.key(params) not in results.seen:
                return params
        fresh = self._fresh(results)
        if len(results.trained) < self._initial:
            return self._spread(fresh or self._searched(results, rng), len(results.seen))
        if fresh and self._cost is not None:
            # Results that were given may all be from one part of the range: they say nothing of the
            # others.
            edges = np.quantile(self._facts(list(self._drawn.values())).known[:, 0], np.linspace(0, 1, PARTS + 1)[1:-1])
            parts = np.searchsorted(edges, self._facts(fresh).known[:, 0])
            proposed = [*results.trained, *results.running, *results.lost]
            looked = np.searchsorted(edges, self._facts(proposed).known[:, 0])
            for part in sorted({*parts.tolist()} - {*looked.tolist()}):
                return self._spread([p for p, at in zip(fresh, parts, strict=True) if at == part], 0)
        return None

    def _next(self, results: Results, number: int, rng: np.random.Generator) -> Params:
        """The candidate of largest expected gain; one in four is any change of the front."""
        told = len(results.trained)
        surrogates = self._surrogates(results)
        there, _ = self._believed(surrogates, [*results.trained, *results.running], results)
        front = np.flatnonzero(non_dominated(there[:told], [False] * there.shape[1]))
        changed = self._changed(results, rng, [results.trained[i] for i in front])
        if changed and number % DOUBTED == DOUBTED - 1:
            return changed[int(rng.integers(len(changed)))]
        pool = self._fresh(results) + changed or self._searched(results, rng)
        points, beliefs = self._believed(surrogates, pool, results)
        gain = expected_gain(
            beliefs,
            points[:, len(beliefs) :],
            _thinned(there),
            self._reference(surrogates, np.vstack([there, points]), results),
        )
        gain *= self._likely_trained(results, pool)
        if not gain.any():  # nothing is expected to add: what is least certain tells most
            gain = np.sum([belief.deviation for belief in beliefs], axis=0)
        return pool[int(gain.argmax())]

    def _likely_trained(self, results: Results, candidates: Sequence[Params]) -> Array:
        """How likely each candidate has a result at all, by how like it is to those that were lost
        and to others.
        """
        if not results.lost:
            return np.ones(len(candidates))
        trained, lost = results.trained[-LATEST:], results.lost[-LATEST:]
        there, values = self._facts([*trained, *lost]), np.repeat([1.0, 0.0], [len(trained), len(lost)])
        exact = np.zeros(len(values))
        some = np.linspace(0, len(values) - 1, min(len(values), AGAIN)).round().astype(int)
        kernels = Kernel.likely(there.codes[some], there.features[some], values[some], exact[some])
        surrogate = Surrogate.fit(kernels, there.codes, there.features, values, exact)
        facts = self._facts(candidates)
        likely, _ = surrogate.predict(facts.codes, facts.features)
        return np.clip(likely, 0.0, 1.0)

    def _reference(self, surrogates: Sequence[Surrogate], points: Array, results: Results) -> Array:
        """The worst that counts: what a random candidate comes to, and a little beyond the most
        that one costs.
        """
        # Where nothing that was drawn is inside the limits, what is trained stands for it.
        drawn, beliefs = self._believed(surrogates, list(self._drawn.values()) or results.trained, results)
        middle = np.median(drawn[:, : len(beliefs)], axis=0)
        known = points[:, len(beliefs) :]
        lowest, highest = known.min(axis=0), known.max(axis=0)
        return np.append(middle, highest + MARGIN * (highest - lowest))

    def _draw(self, count: int) -> None:
        """Draws candidates inside the limits, each from the seed and its number alone."""
        if count <= self._draws:
            return
        rngs = [np.random.default_rng((self._seed, number, 1)) for number in range(self._draws, count)]
        drawn = [self.space.sample(rng) for rng in rngs]
        for params, miss, rng in zip(drawn, self._outside(drawn), rngs, strict=True):
            inside = self._repaired(params, miss, rng)
            if inside is not None:
                self._drawn.setdefault(self.space.key(inside), inside)
        self._draws = count

    def _starts(self) -> list[Params]:
        """What the search begins with, inside the limits."""
        if self._begun is None:
            for params in self._start:
                if not self.space.contains(params):
                    raise ValueError(f"start {dict(params)} is no candidate of the space; allowed: all its parameters")
            inside = [
                self._repaired(params, miss, np.random.default_rng((self._seed, number, 2)))
                for number, (params, miss) in enumerate(zip(self._start, self._outside(self._start), strict=True))
            ]
            self._begun = [params for params in inside if params is not None]
        return self._begun

    def _repaired(self, params: Params, miss: float, rng: np.random.Generator) -> Params | None:
        """The candidate, changed until it is inside the limits; None if it does not get there."""
        for _ in range(REPAIRS):
            if miss <= 0:
                return params
            changed = self.space.mutate(params, rng)
            its = float(self._outside([changed])[0])
            if its < miss:
                params, miss = changed, its
        return params if miss <= 0 else None

    def _fresh(self, results: Results) -> list[Params]:
        return [params for key, params in self._drawn.items() if key not in results.seen]

    def _changed(self, results: Results, rng: np.random.Generator, parents: Sequence[Params]) -> list[Params]:
        """Changes of the parents in turn that are new and inside the limits."""
        changed = []
        for i in range(self._changes):
            params = parents[i % len(parents)]
            for _ in range(1 + int(rng.choice(len(EDITS), p=EDITS))):
                params = self.space.mutate(params, rng)
            changed.append(params)
        return self._new(results, changed)

    def _searched(self, results: Results, rng: np.random.Generator) -> list[Params]:
        """Random candidates that are new, where the usual ways have found none; if there are none,
        an old one.
        """
        sampled = [self.space.sample(rng) for _ in range(DRAWS)]
        new = self._new(results, sampled)
        if new:
            return new
        self.exhausted = True
        return results.trained[-1:] or [sampled[int(self._outside(sampled).argmin())]]

    def _new(self, results: Results, candidates: Sequence[Params]) -> list[Params]:
        found = {self.space.key(params): params for params in candidates}
        new = [params for key, params in found.items() if key not in results.seen and key not in self._drawn]
        return [params for params, miss in zip(new, self._outside(new), strict=True) if miss <= 0]

    def _outside(self, candidates: Sequence[Params]) -> Array:
        if self._violation is None or not candidates:
            return np.zeros(len(candidates))
        return _finite("violation", self._violation(candidates), candidates)[:, 0]

    def _facts(self, candidates: Sequence[Params]) -> _Facts:
        """What is known of candidates, each asked for once; features are scaled once there are
        enough.
        """
        keys = [self.space.key(params) for params in candidates]
        asked = {key: params for key, params in zip(keys, candidates, strict=True) if key not in self._rows}
        if asked:
            new = list(asked.values())
            known = np.zeros((len(new), 0)) if self._cost is None else _finite("cost", self._cost(new), new)
            features = np.column_stack([_finite("features", self.space.features(new), new), known])
            self._rows.update(zip(asked, zip(self.space.codes(new), features, known, strict=True), strict=True))
        codes, features, known = (np.array(column) for column in zip(*(self._rows[key] for key in keys), strict=True))
        if self._scale is not None:
            features = (features - self._scale[0]) / self._scale[1]
        return _Facts(codes, features, known)

    def _scaled_by(self, candidates: Sequence[Params]) -> tuple[Array, Array] | None:
        if not candidates:
            return None
        features = self._facts(candidates).features
        deviation = features.std(0)
        return features.mean(0), np.where(deviation > 0, deviation, 1.0)

    def _spread(self, candidates: Sequence[Params], count: int) -> Params:
        """A candidate from the middle of the widest gap that earlier ones have left in the first
        known objective.
        """
        known = self._facts(candidates).known
        order = np.argsort(known[:, 0], kind="stable") if known.shape[1] else np.arange(len(candidates))
        return candidates[int(order[int(len(candidates) * _radical_inverse(count + 1))])]

    def _surrogates(self, results: Results) -> list[Surrogate]:
        facts = self._facts(results.trained)
        if facts.known.shape[1] > len(results.signs):
            raise ValueError(f"cost has {facts.known.shape[1]} columns; allowed: one for each of the last objectives")
        told = len(results.trained)
        steady = slice(max(0, (count := _steady(told, self._initial)) - LATEST), count)
        surrogates = []
        for objective in range(len(results.signs) - facts.known.shape[1]):
            chosen_by = (objective, *results.numbers[steady])
            if chosen_by not in self._kernels:
                values, extra = self._targets(results, objective, steady)
                kernels = Kernel.likely(facts.codes[steady], facts.features[steady], values, extra)
                self._kernels[chosen_by] = kernels
            values, extra = self._targets(results, objective, slice(0, told))
            fitted = Surrogate.fit(self._kernels[chosen_by], facts.codes, facts.features, values, extra)
            surrogates.append(fitted)
        return surrogates

    def _targets(self, results: Results, objective: int, which: slice) -> tuple[Array, Array]:
        """What is modelled of some results, and the variance of each beyond that of a full
        training.
        """
        values = np.array([row[objective] for row in results.values[which]], float)
        curves = (
            [np.asarray(c, float) for c in results.curves[which]] if objective == 0 else [np.empty(0)] * len(values)
        )
        ideal, sign = self._ideal_of(objective), results.signs[objective]
        if ideal is None:
            return _final(sign * values, [sign * curve for curve in curves])
        better = sign * values < sign * ideal
        if better.any():
            raise ValueError(
                f"result {values[better][0]} is better than the ideal {ideal}; allowed: an ideal that is not"
            )
        apart = np.abs(values - ideal)
        floor = 0.5 * min(apart[apart > 0], default=1.0)  # a perfect result is not infinitely better
        logarithms = [np.log(np.maximum(np.abs(curve - ideal), floor)) for curve in curves]
        return _final(np.log(np.maximum(apart, floor)), logarithms)

    def _ideal_of(self, objective: int) -> float | None:
        return self._ideal[objective] if objective < len(self._ideal) else None

    def _believed(
        self, surrogates: Sequence[Surrogate], candidates: Sequence[Params], results: Results
    ) -> tuple[Array, list[Belief]]:
        """The objectives that candidates are expected to have, so that less is better, and how sure
        that is.
        """
        facts = self._facts(candidates)
        beliefs = [
            Belief(*surrogate.predict(facts.codes, facts.features), logarithmic=self._ideal_of(objective) is not None)
            for objective, surrogate in enumerate(surrogates)
        ]
        known = facts.known * results.signs[len(surrogates) :]
        return np.column_stack([*(belief.middle for belief in beliefs), known]), beliefs


def _finite(name: str, values: ArrayLike, candidates: Sequence[Params]) -> Array:
    """What a function gave, (candidates, numbers)."""
    found: Array = np.asarray(values, float).reshape(len(candidates), -1)
    wrong = ~np.isfinite(found).all(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"{name} of {dict(candidates[first])} is {found[first].tolist()}; allowed: finite numbers")
    return found


def _thinned(points: Array) -> Array:
    """The front of the points; of three and more objectives, whose boxes are many, every so-manieth
    along the first.
    """
    front = points[non_dominated(points, [False] * points.shape[1])]
    most = POINTS.get(points.shape[1], len(front))
    if len(front) <= most:
        return front
    kept: Array = front[np.argsort(front[:, 0])[np.linspace(0, len(front) - 1, most).astype(int)]]
    return kept


def _final(values: Array, curves: Sequence[Array]) -> tuple[Array, Array]:
    """Values that trainings would end at, and how uncertain that is, from how others went on.

    Args:
        values: (results), as they are.
        curves: Of each result, its values at the rungs that it reached; empty where there are none.

    Returns:
        The value that each is expected to end at: what the others have gained from rung to rung on
        the mean is added for every rung that it did not reach. And the sum of the variances of
        those gains; a rung beyond which nobody is known to have gone adds nothing.
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
    """How many of the first results the kernel is chosen by: it stays while the number of results
    grows by a tenth.
    """
    steady = initial
    while (following := max(steady + 1, int(GROWTH * steady))) <= count:
        steady = following
    return steady


def _radical_inverse(number: int) -> float:
    """The binary digits of a number behind the point in reverse: 1/2, 1/4, 3/4, 1/8, ... (van der
    Corput, 1935).
    """
    return sum(int(digit) / float(2 << place) for place, digit in enumerate(reversed(f"{number:b}")))

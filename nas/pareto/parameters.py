"""What a sampler may propose: parameters that depend on each other, or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Params = Mapping[str, Any]
Number = IntDistribution | FloatDistribution
CHANGES = 20  # draws of another value, after which a parameter is left as it is: values may be equal to Optuna


class Space(Protocol):
    """What a `nas.pareto.sampler.ParetoSampler` may propose: implement it where parameters depend
    on each other, and run `nas.pareto.testing.check_space` on it. `IndependentSpace` is the one for
    parameters that do not.

    A candidate is a mapping from the name of every parameter that it has to a value. For each
    proposal a sampler reads `distributions`; asks `contains`, then `key`, of the parameters of
    every trial of the study; draws a few candidates with `sample`; changes those on the front, and
    those outside a limit, with `mutate`; and asks `codes` and `features` once for each candidate
    whose key it has not met, many at a time and at least one. `key` is asked most often: remember
    what it takes to find it. All random numbers come from the generator that is passed: with the
    same one the same candidates follow.
    """

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Optuna's distribution of every parameter that a candidate may have, by name; always the
        same.
        """

    def contains(self, params: Params) -> bool:
        """Whether these are all the parameters of a candidate, each with a value that it may have.

        It is False, never an error, for a part of the parameters or for values of another space: a
        trial may have broken off, or be of an earlier space of the same study.
        """

    def sample(self, rng: np.random.Generator) -> Params:
        """A random candidate, inside the hard limits or not."""

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        """Another candidate that differs in one choice, and in what that choice opens or closes.

        The candidate itself is left as it is. It is returned where there is nothing to change.
        """

    def codes(self, candidates: Sequence[Params]) -> NDArray[np.int64]:
        """Which value each choice has, (candidates, choices); -1 where a candidate does not have
        the choice.

        Only whether two codes are equal counts, not how far apart they are; for numbers see
        `Numbered`.
        """

    def features(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """Finite numbers that are close where candidates are expected to do alike, (candidates,
        features); the sampler brings them to one scale.
        """

    def key(self, params: Params) -> Hashable:
        """Equal for candidates that are the same, whatever the order of their parameters, and for
        no others: nothing is proposed twice.
        """


@runtime_checkable
class Numbered(Protocol):
    """What a `Space` may say beside: which choices are numbers, so that close ones count as
    alike.
    """

    def places(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        """Where each choice stands among its values in order, (candidates, choices) from 0 for the
        least to 1; nan where it is no number, and where a candidate does not have it.
        """


class IndependentSpace:
    """Parameters that do not depend on each other.

    Args:
        distributions: Of each parameter.
        features: Further numbers that tell how alike candidates are; parameters that are numbers
            are features already.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        features: Callable[[Sequence[Params]], ArrayLike] | None = None,
    ) -> None:
        self.distributions = dict(sorted(distributions.items()))
        self._numbers = {n: d for n, d in self.distributions.items() if isinstance(d, Number)}
        self._changeable = [name for name, d in self.distributions.items() if not d.single()]
        self._features = features

    def contains(self, params: Params) -> bool:
        if params.keys() != self.distributions.keys():
            return False
        return all(allows(distribution, params[name]) for name, distribution in self.distributions.items())

    def sample(self, rng: np.random.Generator) -> Params:
        return {name: _value(distribution, rng.random()) for name, distribution in self.distributions.items()}

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        if not self._changeable:
            return params
        name = self._changeable[int(rng.integers(len(self._changeable)))]
        distribution = self.distributions[name]
        value, before = params[name], _position(distribution, params[name])
        for _ in range(CHANGES):
            if _position(distribution, value) != before:
                break
            place = rng.random()
            if name in self._numbers and rng.random() < 0.5:  # a number moves a little as often as anywhere
                place = float(np.clip(_place(self._numbers[name], params[name]) + rng.normal(0, 0.1), 0, 1 - 1e-9))
            value = _value(distribution, place)
        return {**params, name: value}

    def codes(self, candidates: Sequence[Params]) -> NDArray[np.int64]:
        choices = {n: d for n, d in self.distributions.items() if not isinstance(d, FloatDistribution)}
        codes = [[int(d.to_internal_repr(candidate[n])) for n, d in choices.items()] for candidate in candidates]
        return np.array(codes, np.int64).reshape(len(candidates), len(choices))

    def places(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        choices = [n for n, d in self.distributions.items() if not isinstance(d, FloatDistribution)]
        numbers = {n: self._numbers.get(n) for n in choices}
        places = [[np.nan if d is None else _place(d, c[n]) for n, d in numbers.items()] for c in candidates]
        return np.array(places, float).reshape(len(candidates), len(choices))

    def features(self, candidates: Sequence[Params]) -> NDArray[np.float64]:
        places = [[_place(d, candidate[n]) for n, d in self._numbers.items()] for candidate in candidates]
        own = np.array(places, float).reshape(len(candidates), len(self._numbers))
        if self._features is None or not candidates:
            return own
        return np.column_stack([own, np.asarray(self._features(candidates), float).reshape(len(candidates), -1)])

    def key(self, params: Params) -> Hashable:
        return tuple(_position(distribution, params[name]) for name, distribution in self.distributions.items())


def allows(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter may have a value."""
    try:
        # Optuna's own check of a value, in the form in which it stores one.
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:  # no number, or none of the choices
        return False


def _position(distribution: BaseDistribution, value: Any) -> float:
    """A number that is the same for equal values, however the steps to them were rounded."""
    stored = distribution.to_internal_repr(value)
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return round((stored - distribution.low) / distribution.step)
    return stored


def _value(distribution: BaseDistribution, place: float) -> Any:
    """The value at a place from 0 up to 1, all places being equally likely."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    assert isinstance(distribution, Number)
    low, high, step = distribution.low, distribution.high, distribution.step
    value: float
    if distribution.log:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        begin, end = math.log(low - half), math.log(high + half)
        value = math.exp(begin + place * (end - begin))
    elif step is None:
        value = low + place * (high - low)
    else:
        value = low + int(place * (round((high - low) / step) + 1)) * step
    return min(max(round(value) if isinstance(distribution, IntDistribution) else value, low), high)


def _place(distribution: Number, value: float) -> float:
    """Where a number lies between the ends of its distribution, from 0 to 1."""
    scale: Callable[[float], float] = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(value) - low) / (high - low) if high > low else 0.0

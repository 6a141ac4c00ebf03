"""Where candidates come from: a pool of random ones, changes of known ones, and the repair of those
outside the hard limits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.pareto.parameters import Params, Space

Array = NDArray[np.float64]
Function = Callable[[Sequence[Params]], ArrayLike]

REPAIR_STEPS = 192  # changes of a candidate towards its limits that are tried
CHANGE_SHARES = (0.5, 0.3, 0.2)  # of the changes, in one, two and three places
EXHAUSTED_AFTER = 500  # draws without one that is new, after which the space counts as exhausted


class Candidates:
    """Gives candidates of a space that are inside its hard limits.

    Args:
        space: The space.
        violation: Of candidates, by how much each lies outside the limits, (candidates,); None
            where there are none.
        start: Candidates that a search begins with.
        seed: Of the pool.
    """

    def __init__(self, space: Space, violation: Function | None, start: Sequence[Params], seed: int) -> None:
        self._space, self._violation, self._start, self._seed = space, violation, start, seed
        self._pool: dict[Hashable, Params] = {}
        self._draws = 0
        self._starting: list[Params] | None = None

    @property
    def pool(self) -> Mapping[Hashable, Params]:
        """The random candidates that were drawn so far and are inside the limits, by key."""
        return self._pool

    def extend_pool(self, count: int) -> None:
        """Draws candidates for the pool until `count` were drawn, each from the seed and its number
        alone; those that cannot be brought inside the limits are left out.
        """
        if count <= self._draws:
            return
        rngs = [np.random.default_rng((self._seed, number, 1)) for number in range(self._draws, count)]
        drawn = [self._space.sample(rng) for rng in rngs]
        for params, violation, rng in zip(drawn, self._violations(drawn), rngs, strict=True):
            inside = self._repaired(params, violation, rng)
            if inside is not None:
                self._pool.setdefault(self._space.key(inside), inside)
        self._draws = count

    def starting(self) -> list[Params]:
        """The candidates to start with, each brought inside the limits."""
        if self._starting is None:
            for params in self._start:
                if not self._space.contains(params):
                    raise ValueError(f"start {dict(params)} is no candidate of the space; allowed: all its parameters")
            inside = [
                self._repaired(params, violation, np.random.default_rng((self._seed, number, 2)))
                for number, (params, violation) in enumerate(
                    zip(self._start, self._violations(self._start), strict=True)
                )
            ]
            self._starting = [params for params in inside if params is not None]
        return self._starting

    def unseen(self, seen: Collection[Hashable]) -> list[Params]:
        """The candidates of the pool whose keys are none of these."""
        return [params for key, params in self._pool.items() if key not in seen]

    def changes_of(
        self, parents: Sequence[Params], count: int, seen: Collection[Hashable], rng: np.random.Generator
    ) -> list[Params]:
        """Changes the parents in turn; those changes that are new and inside the limits."""
        changed = []
        for i in range(count):
            params = parents[i % len(parents)]
            for _ in range(1 + int(rng.choice(len(CHANGE_SHARES), p=CHANGE_SHARES))):
                params = self._space.mutate(params, rng)
            changed.append(params)
        return self._new_inside(changed, seen)

    def random(self, seen: Collection[Hashable], rng: np.random.Generator) -> tuple[list[Params], bool]:
        """Random candidates beyond the pool that are new and inside the limits, and True. Where
        there are none, the one that is the least outside, and False: the space seems exhausted.
        """
        sampled = [self._space.sample(rng) for _ in range(EXHAUSTED_AFTER)]
        new = self._new_inside(sampled, seen)
        return (new, True) if new else ([sampled[int(self._violations(sampled).argmin())]], False)

    def _new_inside(self, candidates: Sequence[Params], seen: Collection[Hashable]) -> list[Params]:
        """Those inside the limits that are neither seen nor in the pool, each once."""
        found = {self._space.key(params): params for params in candidates}
        new = [params for key, params in found.items() if key not in seen and key not in self._pool]
        return [params for params, violation in zip(new, self._violations(new), strict=True) if violation <= 0]

    def _repaired(self, params: Params, violation: float, rng: np.random.Generator) -> Params | None:
        """The candidate, changed for as long as that lowers its violation until it is inside the
        limits; None if it does not get there.
        """
        for _ in range(REPAIR_STEPS):
            if violation <= 0:
                return params
            changed = self._space.mutate(params, rng)
            remaining = float(self._violations([changed])[0])
            if remaining < violation:
                params, violation = changed, remaining
        return params if violation <= 0 else None

    def _violations(self, candidates: Sequence[Params]) -> Array:
        """By how much each lies outside the limits, (candidates,); inf for outside by an unknown
        amount.
        """
        if self._violation is None or not candidates:
            return np.zeros(len(candidates))
        return numbers_of("violation", self._violation(candidates), candidates, infinite=True)[:, 0]


def numbers_of(name: str, values: ArrayLike, candidates: Sequence[Params], infinite: bool = False) -> Array:
    """What a function gave for candidates, (candidates, numbers).

    Raises:
        ValueError: A number is nan, or infinite where that is not allowed.
    """
    found: Array = np.asarray(values, float).reshape(len(candidates), -1)
    wrong = (np.isnan(found) if infinite else ~np.isfinite(found)).any(axis=1)
    if wrong.any():
        first, allowed = int(wrong.argmax()), "numbers" if infinite else "finite numbers"
        raise ValueError(f"{name} of {dict(candidates[first])} is {found[first].tolist()}; allowed: {allowed}")
    return found

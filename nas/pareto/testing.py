"""What samplers expect of a space of candidates, as checks that anyone runs on theirs.

With pytest, in a test file of the package that has the space:

    @pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
    def test_my_space(check):
        check(MySpace())

`check_space` runs all of them. A check raises AssertionError with a sentence that says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.pareto.parameters import Numbered, Params, Space, allows

CANDIDATES = 16  # that are drawn for a check
FOREIGN = "a value of another space"


def check_sample(space: Space) -> None:
    """Random candidates follow from the generator and have values that are allowed."""
    for seed, params in enumerate(_sampled(space)):
        again = space.sample(np.random.default_rng(seed))
        assert dict(again) == dict(params), f"sample gave {params}, then {again} with the same generator"
        _check_candidate(space, params, "sample")


def check_mutate(space: Space) -> None:
    """Changes are candidates, follow from the generator, and are new mappings."""
    differs = False
    for seed, params in enumerate(_sampled(space)):
        before = dict(params)
        changed, again = (space.mutate(params, np.random.default_rng(seed)) for _ in range(2))
        assert dict(params) == before, f"mutate changed the mapping {before} that it was given to {params}"
        assert dict(again) == dict(changed), f"mutate gave {changed}, then {again} with the same generator"
        _check_candidate(space, changed, "mutate")
        differs = differs or space.key(changed) != space.key(params)
    several = len({space.key(params) for params in _sampled(space)}) > 1
    assert differs or not several, f"mutate left all of {CANDIDATES} candidates as they were"


def check_contains(space: Space) -> None:
    """Parameters of no candidate are answered with False; those of one can be used as one."""
    for params in _sampled(space):
        for name in params:
            part = {other: value for other, value in params.items() if other != name}
            if space.contains(part):
                _check_candidate(space, part, "contains")
                space.key(part), space.codes([part]), space.features([part])
            foreign = {**params, name: FOREIGN}
            assert not space.contains(foreign), f"contains is true of {foreign}, whose {name!r} is of another space"


def check_key(space: Space) -> None:
    """Keys are the same for the same parameters: in another order, and as a study stores them."""
    for params in _sampled(space):
        key = space.key(params)
        turned = dict(reversed(list(params.items())))
        assert space.key(turned) == key, f"the key of {params} depends on the order of its parameters"
        stored = {name: space.distributions[name].to_internal_repr(value) for name, value in params.items()}
        read = {name: space.distributions[name].to_external_repr(value) for name, value in stored.items()}
        assert space.key(read) == key, f"the key of {params} is another once a study has stored it"
        assert hash(key) == hash(space.key(turned)), f"keys {key!r} are equal and their hashes are not"


def check_codes(space: Space) -> None:
    """Codes are whole numbers from -1, a row for each candidate."""
    codes = _check_rows(space, space.codes, "codes")
    assert np.issubdtype(codes.dtype, np.integer), f"codes are {codes.dtype}; allowed: whole numbers"
    assert (codes >= -1).all(), f"codes have {codes.min()}; allowed: -1 and more"


def check_places(space: Space) -> None:
    """Places, where a space has them, are from 0 to 1 or nan, and nan where there is no choice."""
    if not isinstance(space, Numbered):
        return
    places, codes = _check_rows(space, space.places, "places"), _check_rows(space, space.codes, "codes")
    assert places.shape == codes.shape, f"places have shape {places.shape}; allowed: that of codes, {codes.shape}"
    assert np.isnan(places[codes < 0]).all(), "places have a number where a candidate lacks the choice; allowed: nan"
    known = places[~np.isnan(places)]
    assert ((known >= 0) & (known <= 1)).all(), f"places have {known.min()} to {known.max()}; allowed: 0 to 1, or nan"


def check_features(space: Space) -> None:
    """Features are finite numbers, a row for each candidate."""
    features = _check_rows(space, space.features, "features")
    assert np.isfinite(features).all(), "features have nan or inf; allowed: finite numbers"


SPACE_CHECKS: tuple[Callable[[Space], None], ...] = (
    check_sample,
    check_mutate,
    check_contains,
    check_key,
    check_codes,
    check_places,
    check_features,
)


def check_space(space: Space) -> None:
    """Runs all checks on a space.

    Raises:
        AssertionError: A sampler could not work with it; the message says what is wrong.
    """
    for check in SPACE_CHECKS:
        check(space)


def _sampled(space: Space) -> list[Params]:
    return [space.sample(np.random.default_rng(seed)) for seed in range(CANDIDATES)]


def _check_candidate(space: Space, params: Params, giver: str) -> None:
    unknown = sorted(params.keys() - space.distributions.keys())
    assert not unknown, f"{giver} gave {params} with {unknown}, of which there is no distribution"
    for name, value in params.items():
        distribution = space.distributions[name]
        assert allows(distribution, value), f"{giver} gave {name!r} {value!r}; allowed: {distribution}"
    assert space.contains(params), f"{giver} gave {params}, of which contains says that it is no candidate"


def _check_rows(space: Space, encode: Callable[[Sequence[Params]], NDArray[Any]], name: str) -> NDArray[Any]:
    candidates = _sampled(space)
    rows = np.asarray(encode(candidates))
    assert rows.ndim == 2 and len(rows) == CANDIDATES, f"{name} have shape {rows.shape}; allowed: ({CANDIDATES}, any)"
    for row, params in zip(rows, candidates, strict=True):
        alone = np.asarray(encode([params]))
        assert alone.shape == (1, rows.shape[1]), f"{name} of one candidate have shape {alone.shape}"
        same = np.array_equal(alone[0], row, equal_nan=np.issubdtype(rows.dtype, np.floating))
        assert same, f"{name} of {params} depend on the candidates beside it"
    return rows

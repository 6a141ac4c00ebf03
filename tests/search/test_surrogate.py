"""The surrogate against plain formulas, and the expected gain against sums over many drawn errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.surrogate import Surrogate, expected_gain


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Area between a staircase and the reference point, both axes to be small."""
    kept = points[(points < reference).all(1)]
    area, level = 0.0, reference[0]
    for error, cost in kept[np.argsort(kept[:, 1])]:
        area += max(0.0, level - error) * (reference[1] - cost)
        level = min(level, error)
    return area


def test_gain_of_a_sure_candidate_is_the_area_that_it_adds() -> None:
    """Beside (4, 1) and (2, 3) under (10, 5), an error of 3 at cost 2 adds 1 x 1; at cost 0 it adds 7 + 1 x 2."""
    front, reference = np.array([[4.0, 1.0], [2.0, 3.0]]), np.array([10.0, 5.0])
    sure = np.full(4, 1e-9)
    gain = expected_gain(np.log([3.0, 3.0, 5.0, 1.0]), sure, np.array([2.0, 0.0, 2.0, 6.0]), front, reference)
    assert gain == pytest.approx([1, 9, 0, 0], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 6))
def test_gain_is_the_integral_of_the_areas_that_errors_add(seed: int, count: int) -> None:
    """Over 4,001 errors up to 8 deviations away: what is rare counts too, which drawn errors may miss."""
    rng = np.random.default_rng(seed)
    front = rng.uniform(1, 9, (count, 2))
    reference = np.array([8.0, 8.0])
    mean, deviation, cost = rng.normal(1.2, 0.5), rng.uniform(0.1, 1.0), rng.uniform(0, 9)
    gain = expected_gain(np.array([mean]), np.array([deviation]), np.array([cost]), front, reference)[0]
    before = hypervolume(front, reference)
    z = np.linspace(-8, 8, 4001)
    errors = np.exp(mean + deviation * z)
    added = [hypervolume(np.vstack([front, [error, cost]]), reference) - before for error in errors]
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    assert gain == pytest.approx(np.trapezoid(np.array(added) * density, z), rel=1e-4, abs=1e-6)


def results(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six choices of three; the error falls with every choice of 2 and has 2 % of noise."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (count, 6))
    features = np.stack([(codes == value).sum(1) for value in range(3)], 1).astype(float)
    errors = np.exp(3 - 0.4 * (codes == 2).sum(1) + 0.02 * rng.standard_normal(count))
    return codes, features, errors


def test_prediction_is_that_of_the_textbook_formula() -> None:
    codes, features, errors = results(12)
    surrogate = Surrogate.fit(codes, features, errors)
    others, theirs, _ = results(5, seed=1)

    def kernel(a: np.ndarray, fa: np.ndarray, b: np.ndarray, fb: np.ndarray) -> np.ndarray:
        differing = (a[:, None] != b[None]).sum(-1)
        apart = ((fa[:, None] - fb[None]) ** 2).sum(-1)
        one, two = surrogate.scales
        return surrogate.share * np.exp(-differing / one) + (1 - surrogate.share) * np.exp(-apart / two)

    noisy = surrogate.lower @ surrogate.lower.T
    assert np.ptp(np.diag(noisy - kernel(codes, features, codes, features))) < 1e-12
    cross = kernel(others, theirs, codes, features)
    center = np.log(errors).mean()
    expected = center + cross @ np.linalg.inv(noisy) @ (np.log(errors) - center)
    variance = 1 - np.einsum("ij,jk,ik->i", cross, np.linalg.inv(noisy), cross)
    mean, deviation = surrogate.predict(others, theirs)
    assert mean == pytest.approx(expected, abs=1e-9)
    assert deviation == pytest.approx(surrogate.deviation * np.sqrt(variance), rel=1e-6)


def test_unseen_candidates_are_ranked() -> None:
    surrogate = Surrogate.fit(*results(60))
    codes, features, errors = results(200, seed=1)
    mean, deviation = surrogate.predict(codes, features)
    assert np.corrcoef(mean, np.log(errors))[0, 1] > 0.97
    assert (deviation > 0).all()


def test_equal_results_are_no_error() -> None:
    codes, features, errors = results(8)
    surrogate = Surrogate.fit(codes, features, np.ones_like(errors))
    mean, deviation = surrogate.predict(codes, features)
    assert mean == pytest.approx(0) and (deviation >= 0).all()

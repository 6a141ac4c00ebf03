"""The surrogate against plain formulas, and the expected improvement against sums over errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.pareto.distances import Points, Weights
from nas.pareto.front import hypervolume as volume
from nas.pareto.surrogate import Kernel, Posterior, Surrogate, expected_hypervolume_improvement


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Area between a staircase and the reference point, both axes to be small."""
    kept = points[(points < reference).all(1)]
    area, level = 0.0, reference[0]
    for error, cost in kept[np.argsort(kept[:, 1])]:
        area += max(0.0, level - error) * (reference[1] - cost)
        level = min(level, error)
    return area


def test_gain_of_a_sure_candidate_is_the_area_that_it_adds() -> None:
    """Beside (4, 1) and (2, 3) under (10, 5), an error of 3 at cost 2 adds 1 x 1; at cost 0 it adds
    7 + 1 x 2.
    """
    front, reference = np.array([[4.0, 1.0], [2.0, 3.0]]), np.array([10.0, 5.0])
    sure = np.full(4, 1e-9)
    costs = np.array([[2.0], [0.0], [2.0], [6.0]])
    for logarithmic in (True, False):
        errors = np.array([3.0, 3.0, 5.0, 1.0])
        posterior = Posterior(np.log(errors) if logarithmic else errors, sure, logarithmic)
        assert expected_hypervolume_improvement([posterior], costs, front, reference) == pytest.approx(
            [1, 9, 0, 0], abs=1e-6
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 6), logarithmic=st.booleans())
def test_gain_is_the_integral_of_the_areas_that_errors_add(seed: int, count: int, logarithmic: bool) -> None:
    """Over 4,001 errors up to 8 deviations away: what is rare counts too, which drawn errors may
    miss.
    """
    rng = np.random.default_rng(seed)
    front = rng.uniform(1, 9, (count, 2))
    reference = np.array([8.0, 8.0])
    mean, deviation, cost = rng.normal(1.2, 0.5), rng.uniform(0.1, 1.0), rng.uniform(0, 9)
    posterior = Posterior(np.array([mean]), np.array([deviation]), logarithmic)
    gain = expected_hypervolume_improvement([posterior], np.array([[cost]]), front, reference)[0]
    before = hypervolume(front, reference)
    z = np.linspace(-8, 8, 4001)
    errors = mean + deviation * z
    errors = np.exp(errors) if logarithmic else errors
    added = [hypervolume(np.vstack([front, [error, cost]]), reference) - before for error in errors]
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    assert gain == pytest.approx(np.trapezoid(np.array(added) * density, z), rel=1e-4, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 7), objectives=st.integers(1, 4), believed=st.integers(0, 4))
def test_a_sure_gain_is_the_hypervolume_added(seed: int, count: int, objectives: int, believed: int) -> None:
    """One to four objectives, of which any number is believed, against the hypervolume of another
    implementation.
    """
    rng = np.random.default_rng(seed)
    believed = min(believed, objectives)
    front, reference = rng.uniform(0, 9, (count, objectives)), np.full(objectives, 8.0)
    candidates = rng.uniform(0, 9, (5, objectives))
    maximise = [False] * objectives
    before = volume(front, reference, maximise)
    added = [volume(np.vstack([front, candidate]), reference, maximise) - before for candidate in candidates]
    posteriors = [Posterior(column, np.full(5, 1e-9), False) for column in candidates[:, :believed].T]
    gain = expected_hypervolume_improvement(posteriors, candidates[:, believed:], front, reference)
    assert gain == pytest.approx(added, abs=1e-5)


def results(count: int, seed: int = 0) -> tuple[Points, np.ndarray]:
    """Six choices of three; the error falls with every choice of 2 and has 2 % of noise."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (count, 6))
    features = np.stack([(codes == value).sum(1) for value in range(3)], 1).astype(float)
    errors = np.exp(3 - 0.4 * (codes == 2).sum(1) + 0.02 * rng.standard_normal(count))
    return Points(codes, np.full(codes.shape, np.nan), features), errors


def known(count: int) -> tuple[Points, np.ndarray, np.ndarray]:
    points, errors = results(count)
    return points, np.log(errors), np.zeros(count)


def fitted(points: Points, values: np.ndarray, extra: np.ndarray) -> Surrogate:
    weights = Weights.most_likely(points, values, extra)
    return Surrogate.fit(weights, Kernel.most_likely(weights, points, values, extra), points, values, extra)


def test_prediction_is_that_of_the_textbook_formula() -> None:
    """Of one kernel; and of two, the mean and variance of their mixture."""
    points, errors = results(12)
    values, extra = np.log(errors), np.linspace(0, 0.1, 12)
    others, _ = results(5, seed=1)
    weights = Weights(np.linspace(0.5, 2.0, 6), np.array([1.0, 0.0, 3.0]))

    def formula(kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
        def alike(a: Points) -> np.ndarray:
            differing = (weights.choices * (a.codes[:, None] != points.codes[None])).sum(-1)
            apart = (weights.features * (a.features[:, None] - points.features[None]) ** 2).sum(-1)
            one, two = kernel.scales
            return kernel.share * np.exp(-differing / one) + (1 - kernel.share) * np.exp(-apart / two)

        noisy = np.linalg.inv(alike(points) + np.diag(kernel.noise + extra / values.var()))
        cross, z = alike(others), values - values.mean()
        scale = z @ noisy @ z / len(z)
        variance = scale * (1 - np.einsum("ij,jk,ik->i", cross, noisy, cross))
        return values.mean() + cross @ noisy @ z, variance

    kernels = [Kernel((2.0, 3.0), 0.3, 0.02), Kernel((5.0, 1.0), 0.9, 0.1)]
    (first, spread), (second, wide) = map(formula, kernels)
    mean, deviation = Surrogate.fit(weights, {kernels[0]: 1.0}, points, values, extra).predict(others)
    assert mean == pytest.approx(first, abs=1e-9) and deviation == pytest.approx(np.sqrt(spread), rel=1e-6)
    shares = dict(zip(kernels, (0.25, 0.75), strict=True))
    mean, deviation = Surrogate.fit(weights, shares, points, values, extra).predict(others)
    assert mean == pytest.approx(0.25 * first + 0.75 * second, abs=1e-9)
    expected = 0.25 * spread + 0.75 * wide + 0.25 * 0.75 * (first - second) ** 2
    assert deviation == pytest.approx(np.sqrt(expected), rel=1e-6)


def test_likely_kernels_share_the_likelihood() -> None:
    """In the density of a normal distribution whose variance is the likeliest one."""
    points, values, extra = known(20)
    codes, features = points.codes, points.features
    kernels = Kernel.most_likely(Weights.equal(points), points, values, extra)
    assert sum(kernels.values()) == pytest.approx(1) and list(kernels.values()) == sorted(kernels.values())[::-1]
    logs = []
    for kernel in list(kernels)[:2]:
        differing = (codes[:, None] != codes[None]).sum(-1)
        apart = ((features[:, None] - features[None]) ** 2).sum(-1)
        (one, two), share = kernel.scales, kernel.share
        noisy = share * np.exp(-differing / one) + (1 - share) * np.exp(-apart / two) + kernel.noise * np.eye(20)
        z = values - values.mean()
        covariance = noisy * (z @ np.linalg.inv(noisy) @ z / 20)
        logs.append(-0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * z @ np.linalg.inv(covariance) @ z)
    first, second = list(kernels.values())[:2]
    assert np.log(first / second) == pytest.approx(logs[0] - logs[1], abs=1e-6)


def test_unseen_candidates_are_ranked() -> None:
    surrogate = fitted(*known(60))
    points, errors = results(200, seed=1)
    mean, deviation = surrogate.predict(points)
    assert np.corrcoef(mean, np.log(errors))[0, 1] > 0.97
    assert (deviation > 0).all()


def test_equal_results_are_no_error() -> None:
    points, errors = results(8)
    mean, deviation = fitted(points, np.zeros_like(errors), np.zeros_like(errors)).predict(points)
    assert mean == pytest.approx(0) and (deviation >= 0).all()


def test_an_uncertain_result_counts_less() -> None:
    points, values, extra = known(30)
    values[0] += 1
    doubted = extra.copy()
    doubted[0] = 10
    weights = Weights.equal(points)
    kernels = Kernel.most_likely(weights, points, values, extra)
    sure, unsure = (
        Surrogate.fit(weights, kernels, points, values, e).predict(points[slice(0, 1)]) for e in (extra, doubted)
    )
    assert unsure[0][0] < sure[0][0] - 0.3

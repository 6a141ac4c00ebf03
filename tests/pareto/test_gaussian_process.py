"""Gaussian process regression against the plain formulas, with inverses and determinants."""

from __future__ import annotations

import numpy as np
import pytest

from nas.pareto.gaussian_process import GaussianProcess, squared_distances


def test_posterior_and_likelihood_are_those_of_the_formulas() -> None:
    """Mean k K^-1 y and variance s (1 - k K^-1 k) with s = y K^-1 y / n (Rasmussen and Williams,
    equations 2.23 to 2.26), and the logarithm of the density of y at that s.
    """
    rng = np.random.default_rng(0)
    points, others, values = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), rng.normal(size=7)
    noise = rng.uniform(0.01, 0.5, 7)
    correlations, cross = np.exp(-squared_distances(points, points)), np.exp(-squared_distances(others, points))
    process = GaussianProcess.fit(correlations, noise, values)
    inverse = np.linalg.inv(correlations + np.diag(noise))
    variance = values @ inverse @ values / 7
    mean, spread = process.predictor().predict(cross)
    assert process.variance == pytest.approx(variance)
    assert mean == pytest.approx(cross @ inverse @ values)
    assert spread == pytest.approx(variance * (1 - np.einsum("ij,jk,ik->i", cross, inverse, cross)))
    covariance = variance * (correlations + np.diag(noise))
    density = -0.5 * (values @ np.linalg.inv(covariance) @ values + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert process.log_likelihood == pytest.approx(density + 7 / 2 * (1 + np.log(2 * np.pi)))


def test_one_observation_without_noise_by_hand() -> None:
    """A value 3, and a point of correlation 1/2 with it: mean 1.5, variance 9 (1 - 1/4)."""
    mean, variance = GaussianProcess.fit(np.eye(1), 0.0, np.array([3.0])).predictor().predict(np.array([[0.5]]))
    assert (mean[0], variance[0]) == pytest.approx((1.5, 6.75))


def test_equal_values_have_the_least_variance() -> None:
    process = GaussianProcess.fit(np.eye(2), 0.1, np.zeros(2), least_variance=1e-8)
    assert process.variance == 1e-8 and np.isfinite(process.log_likelihood)


def test_squared_distances_by_hand() -> None:
    assert squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])).tolist() == [[0.0], [25.0]]

"""What accuracy a candidate may have, and how much of the front it can be expected to add.

The error of a network is taken as log-normal: a Gaussian process over its logarithm. Candidates are near each other if
few of their choices differ, or if features such as costs and counts of operators are alike; which of the two counts how
much, and how noisy results are, is what makes the results at hand most likely. A known cost is never modelled: a
candidate's expected gain of hypervolume is an integral over its error alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Scales of distances, as shares of their mean among the results; share of the first kernel; variance of the noise.
_CHOICES = (0.35, 1.2, 4.0)
_FEATURES = (0.15, 0.3, 0.6, 1.2)
_SHARES = (0.05, 0.3, 0.6, 0.95)
_NOISES = (0.003, 0.02, 0.1)


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process of the logarithm of an error, fitted by `fit`.

    Attributes:
        codes, features: Of the results.
        scales: Of the two squared or plain distances in the kernel.
        share: Of the kernel of choices.
        center, deviation: Mean of the logarithms, and standard deviation of the process.
        lower: Cholesky factor of the kernel with noise.
        weights: Of each result in a mean.
    """

    codes: NDArray[np.int64]
    features: Array
    scales: tuple[float, float]
    share: float
    center: float
    deviation: float
    lower: Array
    weights: Array

    @classmethod
    def fit(cls, codes: NDArray[np.int64], features: Array, errors: Array) -> Surrogate:
        """Fits to results.

        Args:
            codes: (results, choices), the position of each choice, -1 where there is none.
            features: (results, features), of like scale.
            errors: (results), above zero.
        """
        values = np.log(errors)
        center = float(values.mean())
        z = values - center
        differing, apart = _differing(codes, codes), _apart(features, features)
        means = [max(float(distances.mean()), 1e-12) for distances in (differing, apart)]
        best = -np.inf
        found: tuple[tuple[float, float], float, float, Any, Any] | None = None
        for a, b, share, noise in product(_CHOICES, _FEATURES, _SHARES, _NOISES):
            scales = (a * means[0], 2 * b * b * means[1])
            lower = np.linalg.cholesky(_kernel(differing, apart, scales, share) + noise * np.eye(len(z)))
            half = np.linalg.solve(lower, z)
            variance = max(float(half @ half) / len(z), 1e-18)
            likelihood = -0.5 * len(z) * np.log(variance) - np.log(np.diag(lower)).sum()
            if likelihood > best:
                best, found = likelihood, (scales, share, variance, lower, half)
        assert found is not None
        scales, share, variance, lower, half = found
        return cls(
            codes, features, scales, share, center, float(np.sqrt(variance)), lower, np.linalg.solve(lower.T, half)
        )

    def predict(self, codes: NDArray[np.int64], features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the logarithm of each candidate's error, noise not included."""
        kernel = _kernel(_differing(codes, self.codes), _apart(features, self.features), self.scales, self.share)
        explained = (np.linalg.solve(self.lower, kernel.T) ** 2).sum(0)
        return self.center + kernel @ self.weights, self.deviation * np.sqrt(np.maximum(1 - explained, 1e-9))


def _differing(a: NDArray[np.int64], b: NDArray[np.int64]) -> Array:
    """Number of choices that differ, (len(a), len(b))."""
    return np.array([(b != row).sum(1) for row in a], float).reshape(len(a), len(b))


def _apart(a: Array, b: Array) -> Array:
    """Squared distances, (len(a), len(b))."""
    distances: Array = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
    return distances


def _kernel(differing: Array, apart: Array, scales: tuple[float, float], share: float) -> Array:
    return share * np.exp(-differing / scales[0]) + (1 - share) * np.exp(-apart / scales[1])


def expected_gain(mean: Array, deviation: Array, costs: Array, front: Array, reference: Array) -> Array:
    """Hypervolume of error and cost that each candidate is expected to add, both smaller is better.

    A candidate of cost c and error e adds the integral over c' from c to the reference of how far e lies below the
    smallest error that the front has up to c'. That is a staircase, so that the expectation is a sum over its steps of
    the width beyond c times the expected shortfall of a log-normal error below the step.

    Args:
        mean, deviation: Of the logarithm of each candidate's error.
        costs: Known, of each candidate.
        front: (points, 2), error and cost of what is known.
        reference: (2), the worst error and cost that count.
    """
    order = np.argsort(front[:, 1])
    levels = np.append(reference[0], np.minimum(np.minimum.accumulate(front[order, 0]), reference[0]))
    edges = np.concatenate([[-np.inf], np.minimum(front[order, 1], reference[1]), [reference[1]]])
    expected = np.exp(mean + deviation**2 / 2)
    gain = np.zeros(len(mean))
    for level, begin, end in zip(levels, edges, edges[1:], strict=False):
        width = np.maximum(end - np.maximum(begin, costs), 0)
        if level > 0 and width.any():
            below = (np.log(level) - mean) / deviation
            shortfall = level * _normal(below) - expected * _normal(below - deviation)
            gain += width * np.maximum(shortfall, 0)
    return gain


def _normal(z: Array) -> Array:
    result: Array = torch.special.ndtr(torch.from_numpy(z)).numpy()
    return result

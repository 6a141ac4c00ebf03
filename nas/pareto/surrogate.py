"""What a candidate may come to, and how much of the front it can be expected to add.

An objective that only training tells is a Gaussian process, over its logarithm where it is the
distance from an ideal such as an error. Candidates are near each other if few of their choices
differ, or if features such as costs and counts of operators are alike; which of the two counts how
much, and how noisy results are, is what makes the results at hand most likely. An objective that is
known is never modelled: the expected gain of hypervolume is an integral over the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray

from nas.pareto.front import non_dominated

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

# Scales of distances, as shares of their mean among the results; share of the first kernel;
# variance of the noise.
_CHOICES = (0.35, 1.2, 4.0)
_FEATURES = (0.15, 0.3, 0.6, 1.2)
_SHARES = (0.05, 0.3, 0.6, 0.95)
_NOISES = (0.003, 0.02, 0.1)
_KERNELS = 6  # that are averaged over
_BOXES = 512  # that are integrated over at once


@dataclass(frozen=True)
class Kernel:
    """How alike the objective of two candidates is: share exp(-choices / scale) + (1 - share)
    exp(-features / scale).

    Attributes:
        scales: Of the number of choices that differ, and of the squared distance of features.
        share: Of the first of the two.
        noise: Variance of a result beside that of the process, which is 1.
    """

    scales: tuple[float, float]
    share: float
    noise: float

    @classmethod
    def likely(cls, codes: Codes, features: Array, values: Array, extra: Array) -> dict[Kernel, float]:
        """The kernels of a grid under which results are most likely, and the share of each in their
        likelihood.

        For the arguments see `Surrogate.fit`.
        """
        differing, apart = _differing(codes, codes), _apart(features, features)
        means = [max(float(distances.mean()), 1e-12) for distances in (differing, apart)]
        found: dict[Kernel, float] = {}
        for a, b, share, noise in product(_CHOICES, _FEATURES, _SHARES, _NOISES):
            kernel = cls((a * means[0], 2 * b * b * means[1]), share, noise)
            lower, _, variance = kernel._factored(differing, apart, values - values.mean(), extra)
            found[kernel] = -0.5 * len(values) * np.log(variance) - np.log(np.diag(lower)).sum()
        best = sorted(found, key=lambda kernel: -found[kernel])[:_KERNELS]
        shares = np.exp([found[kernel] - found[best[0]] for kernel in best])
        return dict(zip(best, (shares / shares.sum()).tolist(), strict=True))

    def __call__(self, differing: Array, apart: Array) -> Array:
        return self.share * np.exp(-differing / self.scales[0]) + (1 - self.share) * np.exp(-apart / self.scales[1])

    def _factored(self, differing: Array, apart: Array, z: Array, extra: Array) -> tuple[Array, Array, float]:
        """Cholesky factor with noise, the factor's inverse times the values, and the variance that
        they tell.
        """
        spread = max(float(z.var()), 1e-18)
        lower = np.linalg.cholesky(self(differing, apart) + np.diag(self.noise + extra / spread))
        half: Array = np.linalg.solve(lower, z)
        return lower.astype(float, copy=False), half, max(float(half @ half) / len(z), 1e-18)


@dataclass(frozen=True)
class _Process:
    """A Gaussian process under one kernel.

    Attributes:
        kernel: How alike candidates are.
        center, deviation: Mean of the values, and standard deviation of the process.
        inverse: Of the Cholesky factor of the kernel with noise.
        weights: Of each result in a mean.
    """

    kernel: Kernel
    center: float
    deviation: float
    inverse: Array
    weights: Array

    def predict(self, differing: Array, apart: Array) -> tuple[Array, Array]:
        kernel = self.kernel(differing, apart)
        explained = ((kernel @ self.inverse.T) ** 2).sum(1)
        return self.center + kernel @ self.weights, self.deviation**2 * np.maximum(1 - explained, 1e-9)


@dataclass(frozen=True)
class Surrogate:
    """What results tell of one objective of other candidates: Gaussian processes, each with its
    share of the belief.

    One kernel alone, be it the likeliest, is too sure of itself while results are few.
    """

    codes: Codes
    features: Array
    processes: tuple[tuple[float, _Process], ...]

    @classmethod
    def fit(
        cls, kernels: Mapping[Kernel, float], codes: Codes, features: Array, values: Array, extra: Array
    ) -> Surrogate:
        """Fits to results.

        Args:
            kernels: How alike candidates may be, and how likely that is.
            codes: (results, choices), the position of each choice, -1 where there is none.
            features: (results, features), of like scale.
            values: (results), of the objective, or of its logarithm.
            extra: (results), variance of each value beyond the noise of all: 0 for what was trained
                to the end.
        """
        center = float(values.mean())
        differing, apart = _differing(codes, codes), _apart(features, features)
        processes = []
        for kernel, share in kernels.items():
            lower, half, variance = kernel._factored(differing, apart, values - center, extra)
            inverse = np.linalg.inv(lower).astype(float, copy=False)
            processes.append((share, _Process(kernel, center, float(np.sqrt(variance)), inverse, inverse.T @ half)))
        return cls(codes, features, tuple(processes))

    def predict(self, codes: Codes, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each candidate, noise not included."""
        differing, apart = _differing(codes, self.codes), _apart(features, self.features)
        first, second = np.zeros(len(codes)), np.zeros(len(codes))
        for share, process in self.processes:
            mean, variance = process.predict(differing, apart)
            first += share * mean
            second += share * (variance + mean**2)
        return first, np.sqrt(np.maximum(second - first**2, 1e-18))


def _differing(a: Codes, b: Codes) -> Array:
    """Number of choices that differ, (len(a), len(b))."""
    different = np.zeros((len(a), len(b)))
    for column in range(a.shape[1]):
        different += a[:, column, None] != b[:, column]
    return different


def _apart(a: Array, b: Array) -> Array:
    """Squared distances, (len(a), len(b))."""
    distances: Array = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
    return distances


@dataclass(frozen=True)
class Belief:
    """What one objective of some candidates is taken to be.

    Attributes:
        mean, deviation: (candidates), of a normal distribution of the objective, or of its
            logarithm.
        logarithmic: Which of the two.
    """

    mean: Array
    deviation: Array
    logarithmic: bool

    @property
    def middle(self) -> Array:
        """The median of the objective of each candidate."""
        return np.exp(self.mean) if self.logarithmic else self.mean

    def shortfall(self, level: Array) -> Array:
        """Expectation of how far each candidate lies below each level, (candidates, levels); 0
        where it is above.
        """
        mean, deviation = self.mean[:, None], self.deviation[:, None]
        bounded = np.where(np.isfinite(level), level, 0.0)
        if not self.logarithmic:
            below = (bounded - mean) / deviation
            found = (bounded - mean) * _normal(below) + deviation * np.exp(-(below**2) / 2) / np.sqrt(2 * np.pi)
            return np.where(np.isfinite(level), np.maximum(found, 0), 0.0)
        positive = np.maximum(bounded, 1e-300)
        below = (np.log(positive) - mean) / deviation
        found = positive * _normal(below) - np.exp(mean + deviation**2 / 2) * _normal(below - deviation)
        return np.where(bounded > 0, np.maximum(found, 0), 0.0)


def expected_gain(beliefs: Sequence[Belief], known: Array, front: Array, reference: Array) -> Array:
    """Hypervolume that each candidate is expected to add; every objective is better the smaller it
    is.

    What the front leaves is cut into boxes. What a candidate adds in a box is the product, over the
    objectives, of how far it lies below the box's upper end, at most the box's length; an expected
    one for an objective that is believed, which are independent of each other.

    Args:
        beliefs: Of the first objectives.
        known: (candidates, others), values of the other objectives.
        front: (points, objectives), what is there.
        reference: (objectives), the worst that counts.
    """
    lower, upper = _boxes(front[(front < reference).all(1)], reference)
    gain = np.zeros(len(known))
    for start in range(0, len(lower), _BOXES):
        part = slice(start, start + _BOXES)
        volume = np.ones((len(known), len(lower[part])))
        for objective, belief in enumerate(beliefs):
            volume *= belief.shortfall(upper[part, objective]) - belief.shortfall(lower[part, objective])
        for column, objective in enumerate(range(len(beliefs), len(reference))):
            begin = np.maximum(lower[part, objective], known[:, column, None])
            volume *= np.maximum(upper[part, objective] - begin, 0)
        gain += volume.sum(1)
    return gain


def _boxes(points: Array, reference: Array) -> tuple[Array, Array]:
    """Boxes without overlap, their lower and upper ends, that together are what lies below the
    reference undominated.

    Between two neighbouring values of the last objective, what dominates is a front of the other
    objectives.
    """
    if len(reference) == 1:
        return np.full((1, 1), -np.inf), np.array([[min(points[:, 0], default=reference[0])]])
    points = points[np.argsort(points[:, -1], kind="stable")]
    edges = np.concatenate([[-np.inf], points[:, -1], reference[-1:]])
    lowers, uppers = [], []
    for count, (begin, end) in enumerate(pairwise(edges)):
        if begin < end:
            lower, upper = _boxes(_undominated(points[:count, :-1]), reference[:-1])
            lowers.append(np.column_stack([lower, np.full(len(lower), begin)]))
            uppers.append(np.column_stack([upper, np.full(len(upper), end)]))
    return np.vstack(lowers), np.vstack(uppers)


def _undominated(points: Array) -> Array:
    return points[non_dominated(points, [False] * points.shape[1])]


def _normal(z: Array) -> Array:
    result: Array = torch.special.ndtr(torch.from_numpy(z)).numpy()
    return result

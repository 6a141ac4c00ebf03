"""What a candidate may come to, and by how much it can be expected to improve the front.

An objective that only training tells is modelled by Gaussian processes, over its logarithm where it
is the distance from an ideal such as an error. Two candidates are alike if few of their choices
differ, or if their features are close (`nas.pareto.distances`); which of the two counts how much,
and how noisy results are, is what makes the results at hand most likely. An objective that is known
is never modelled: the expected improvement of the hypervolume is an integral over the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray

from nas.pareto.distances import Points, Weights
from nas.pareto.front import non_dominated
from nas.pareto.gaussian_process import GaussianProcess, Predictor

Array = NDArray[np.float64]

# The grid of kernels: scales as shares of the mean distance among the results, share of the kernel
# of choices, variance of the noise. The largest scale of features is close to a linear trend.
_CHOICE_SCALES = (0.35, 1.2, 4.0)
_FEATURE_SCALES = (0.15, 0.3, 0.6, 1.2, 3.0)
_SHARES = (0.05, 0.3, 0.6, 0.95)
_NOISES = (0.003, 0.02, 0.1)
_KERNELS = 12  # that are averaged over, at most
_LEAST_LIKELY = 0.01  # of those, as a share of the likelihood of the likeliest
_BOXES = 512  # that are integrated over at once


@dataclass(frozen=True)
class Kernel:
    """Correlation of an objective at two candidates, of which d choices differ and whose features
    have the squared distance r, both weighted: share exp(-d / scale) + (1 - share) exp(-r / scale).

    Attributes:
        scales: Of the weighted number of differing choices, and of the squared distance.
        share: Of the first of the two terms.
        noise: Variance of a result as a share of that of the process.
    """

    scales: tuple[float, float]
    share: float
    noise: float

    @classmethod
    def most_likely(cls, weights: Weights, points: Points, values: Array, extra: Array) -> dict[Kernel, float]:
        """The kernels of a grid under which results are most likely, and the share of each in their
        likelihood.

        For the arguments see `Surrogate.fit`.
        """
        differing, distances = weights.distances(points, points)
        means = [max(float(apart.mean()), 1e-12) for apart in (differing, distances)]
        values, correlations = values - values.mean(), _Correlations(differing, distances)
        likelihoods: dict[Kernel, float] = {}
        for a, b, share, noise in product(_CHOICE_SCALES, _FEATURE_SCALES, _SHARES, _NOISES):
            kernel = cls((a * means[0], 2 * b * b * means[1]), share, noise)
            likelihoods[kernel] = kernel.process(correlations, values, extra).log_likelihood
        best = sorted(likelihoods, key=lambda kernel: -likelihoods[kernel])[:_KERNELS]
        shares = np.exp([likelihoods[kernel] - likelihoods[best[0]] for kernel in best])
        shares = shares[shares >= _LEAST_LIKELY]
        return dict(zip(best, (shares / shares.sum()).tolist(), strict=False))

    def process(self, correlations: _Correlations, values: Array, extra: Array) -> GaussianProcess:
        """The process under this kernel, given values of mean zero; see `Surrogate.fit` for
        `extra`.
        """
        spread = max(float(values.var()), 1e-18)
        return GaussianProcess.fit(correlations.under(self), self.noise + extra / spread, values)


@dataclass(frozen=True)
class _Correlations:
    """Those of some candidates with others under any kernel; kernels share scales, and the
    exponentials, which take most of the time, are computed once for each.

    Attributes:
        differing: Numbers of differing choices.
        distances: Squared distances of features, of the same shape.
    """

    differing: Array
    distances: Array
    _choices: dict[float, Array] = field(default_factory=dict)
    _features: dict[float, Array] = field(default_factory=dict)

    def under(self, kernel: Kernel) -> Array:
        choices, features = kernel.scales
        if choices not in self._choices:
            self._choices[choices] = np.exp(-self.differing / choices)
        if features not in self._features:
            self._features[features] = np.exp(-self.distances / features)
        return kernel.share * self._choices[choices] + (1 - kernel.share) * self._features[features]


@dataclass(frozen=True)
class Surrogate:
    """A model of one objective: Gaussian processes under several kernels, averaged by likelihood.

    One kernel alone, be it the likeliest, is too sure of itself while results are few.

    Attributes:
        weights: Of choices and features.
        points: The results.
        mean: Of the results' values.
        processes: Kernel, its share in the average, and the posterior under it.
    """

    weights: Weights
    points: Points
    mean: float
    processes: tuple[tuple[Kernel, float, Predictor], ...]

    @classmethod
    def fit(
        cls, weights: Weights, kernels: Mapping[Kernel, float], points: Points, values: Array, extra: Array
    ) -> Surrogate:
        """Fits to results.

        Args:
            weights: Of choices and features.
            kernels: Kernels to average over, and the share of each.
            points: The candidates with a result.
            values: (results,), of the objective, or of its logarithm.
            extra: (results,), variance of each value beyond the noise of all: 0 for what was
                trained to the end.
        """
        mean = float(values.mean())
        correlations = _Correlations(*weights.distances(points, points))
        processes = tuple(
            (kernel, share, kernel.process(correlations, values - mean, extra).predictor())
            for kernel, share in kernels.items()
        )
        return cls(weights, points, mean, processes)

    def predict(self, points: Points) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each candidate, (candidates,) each, noise not
        included.
        """
        correlations = _Correlations(*self.weights.distances(points, self.points))
        first, second = np.zeros(len(points)), np.zeros(len(points))  # moments of the mixture
        for kernel, share, process in self.processes:
            deviation, variance = process.predict(correlations.under(kernel))
            mean = self.mean + deviation
            first += share * mean
            second += share * (variance + mean**2)
        return first, np.sqrt(np.maximum(second - first**2, 1e-18))


@dataclass(frozen=True)
class Posterior:
    """What one objective of some candidates is predicted to be: a normal or log-normal distribution
    each.

    Attributes:
        mean, deviation: (candidates,), of the normal distribution of the objective, or of its
            logarithm.
        logarithmic: Whether they are of the logarithm.
    """

    mean: Array
    deviation: Array
    logarithmic: bool

    @property
    def median(self) -> Array:
        """Of the objective of each candidate, (candidates,)."""
        return np.exp(self.mean) if self.logarithmic else self.mean

    def of(self, places: Sequence[int]) -> Posterior:
        """That of some of the candidates, by their places."""
        return replace(self, mean=self.mean[places], deviation=self.deviation[places])

    def expected_improvement(self, level: Array) -> Array:
        """Expectation of max(0, level - objective) of each candidate under each level (levels,),
        (candidates, levels); 0 for an infinite level.
        """
        mean, deviation = self.mean[:, None], self.deviation[:, None]
        bounded = np.where(np.isfinite(level), level, 0.0)
        if not self.logarithmic:
            below = (bounded - mean) / deviation
            found = (bounded - mean) * _normal_cdf(below) + deviation * np.exp(-(below**2) / 2) / np.sqrt(2 * np.pi)
            return np.where(np.isfinite(level), np.maximum(found, 0), 0.0)
        positive = np.maximum(bounded, 1e-300)
        below = (np.log(positive) - mean) / deviation
        found = positive * _normal_cdf(below) - np.exp(mean + deviation**2 / 2) * _normal_cdf(below - deviation)
        return np.where(bounded > 0, np.maximum(found, 0), 0.0)


def expected_hypervolume_improvement(
    predicted: Sequence[Posterior], known: Array, front: Array, reference: Array
) -> Array:
    """Hypervolume that each candidate is expected to add to a front (Emmerich et al., 2006); every
    objective is better the smaller it is.

    The volume that the front does not dominate is cut into boxes. What a candidate adds in a box is
    the product, over the objectives, of how far it lies below the box's upper end, at most the
    box's length; of a predicted objective the expectation of that, predictions being independent of
    each other.

    Args:
        predicted: The first objectives.
        known: (candidates, others), values of the other objectives.
        front: (points, objectives), what is there.
        reference: (objectives,), the worst that counts.

    Returns:
        (candidates,), in the product of the objectives' units.
    """
    lower, upper = _boxes(front[(front < reference).all(1)], reference)
    improvement = np.zeros(len(known))
    for start in range(0, len(lower), _BOXES):
        part = slice(start, start + _BOXES)
        volume = np.ones((len(known), len(lower[part])))
        for objective, posterior in enumerate(predicted):
            below = posterior.expected_improvement
            volume *= below(upper[part, objective]) - below(lower[part, objective])
        for column, objective in enumerate(range(len(predicted), len(reference))):
            begin = np.maximum(lower[part, objective], known[:, column, None])
            volume *= np.maximum(upper[part, objective] - begin, 0)
        improvement += volume.sum(1)
    return improvement


def _boxes(points: Array, reference: Array) -> tuple[Array, Array]:
    """Boxes without overlap that together are what lies below the reference and is not dominated;
    their lower and upper ends, (boxes, objectives) each.

    Between two neighbouring values of the last objective, the points that dominate are a front of
    the other objectives.
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


def _normal_cdf(z: Array) -> Array:
    result: Array = torch.special.ndtr(torch.from_numpy(z)).numpy()
    return result

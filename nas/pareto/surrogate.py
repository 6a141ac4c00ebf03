"""What a candidate may come to, and by how much it can be expected to improve the front.

An objective that only training tells is modelled by Gaussian processes, over its logarithm where it
is the distance from an ideal such as an error. Two candidates are alike if few of their choices
differ, or if their features are close; which of the two counts how much, and how noisy results are,
is what makes the results at hand most likely. An objective that is known is never modelled: the
expected improvement of the hypervolume is an integral over the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray

from nas.pareto.front import non_dominated
from nas.pareto.gaussian_process import GaussianProcess, Predictor, squared_distances

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

# The grid of kernels: scales as shares of the mean distance among the results, share of the kernel
# of choices, variance of the noise.
_CHOICE_SCALES = (0.35, 1.2, 4.0)
_FEATURE_SCALES = (0.15, 0.3, 0.6, 1.2)
_SHARES = (0.05, 0.3, 0.6, 0.95)
_NOISES = (0.003, 0.02, 0.1)
_KERNELS = 6  # that are averaged over
_BOXES = 512  # that are integrated over at once


@dataclass(frozen=True)
class Kernel:
    """Correlation of an objective at two candidates, of which d choices differ and whose features
    have the squared distance r: share exp(-d / scale) + (1 - share) exp(-r / scale).

    Attributes:
        scales: Of the number of differing choices, and of the squared distance.
        share: Of the first of the two terms.
        noise: Variance of a result as a share of that of the process.
    """

    scales: tuple[float, float]
    share: float
    noise: float

    @classmethod
    def most_likely(cls, codes: Codes, features: Array, values: Array, extra: Array) -> dict[Kernel, float]:
        """The kernels of a grid under which results are most likely, and the share of each in their
        likelihood.

        For the arguments see `Surrogate.fit`.
        """
        differing, distances = _differing_choices(codes, codes), squared_distances(features, features)
        means = [max(float(apart.mean()), 1e-12) for apart in (differing, distances)]
        values = values - values.mean()
        likelihoods: dict[Kernel, float] = {}
        for a, b, share, noise in product(_CHOICE_SCALES, _FEATURE_SCALES, _SHARES, _NOISES):
            kernel = cls((a * means[0], 2 * b * b * means[1]), share, noise)
            likelihoods[kernel] = kernel.process(differing, distances, values, extra).log_likelihood
        best = sorted(likelihoods, key=lambda kernel: -likelihoods[kernel])[:_KERNELS]
        shares = np.exp([likelihoods[kernel] - likelihoods[best[0]] for kernel in best])
        return dict(zip(best, (shares / shares.sum()).tolist(), strict=True))

    def __call__(self, differing: Array, distances: Array) -> Array:
        """Correlations from numbers of differing choices and squared distances of features."""
        return self.share * np.exp(-differing / self.scales[0]) + (1 - self.share) * np.exp(-distances / self.scales[1])

    def process(self, differing: Array, distances: Array, values: Array, extra: Array) -> GaussianProcess:
        """The process under this kernel, given values of mean zero; see `Surrogate.fit` for
        `extra`.
        """
        spread = max(float(values.var()), 1e-18)
        return GaussianProcess.fit(self(differing, distances), self.noise + extra / spread, values)


@dataclass(frozen=True)
class Surrogate:
    """A model of one objective: Gaussian processes under several kernels, averaged by likelihood.

    One kernel alone, be it the likeliest, is too sure of itself while results are few.

    Attributes:
        codes, features: Of the results.
        mean: Of the results' values.
        processes: Kernel, its share in the average, and the posterior under it.
    """

    codes: Codes
    features: Array
    mean: float
    processes: tuple[tuple[Kernel, float, Predictor], ...]

    @classmethod
    def fit(
        cls, kernels: Mapping[Kernel, float], codes: Codes, features: Array, values: Array, extra: Array
    ) -> Surrogate:
        """Fits to results.

        Args:
            kernels: Kernels to average over, and the share of each.
            codes: (results, choices), the position of each choice, -1 where there is none.
            features: (results, features), of like scale.
            values: (results,), of the objective, or of its logarithm.
            extra: (results,), variance of each value beyond the noise of all: 0 for what was
                trained to the end.
        """
        mean = float(values.mean())
        differing, distances = _differing_choices(codes, codes), squared_distances(features, features)
        processes = tuple(
            (kernel, share, kernel.process(differing, distances, values - mean, extra).predictor())
            for kernel, share in kernels.items()
        )
        return cls(codes, features, mean, processes)

    def predict(self, codes: Codes, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each candidate, (candidates,) each, noise not
        included.
        """
        differing = _differing_choices(codes, self.codes)
        distances = squared_distances(features, self.features)
        first, second = np.zeros(len(codes)), np.zeros(len(codes))  # moments of the mixture
        for kernel, share, process in self.processes:
            deviation, variance = process.predict(kernel(differing, distances))
            mean = self.mean + deviation
            first += share * mean
            second += share * (variance + mean**2)
        return first, np.sqrt(np.maximum(second - first**2, 1e-18))


def _differing_choices(a: Codes, b: Codes) -> Array:
    """Number of choices in which each of (n, choices) differs from each of (m, choices), (n, m)."""
    different = np.zeros((len(a), len(b)))
    for column in range(a.shape[1]):
        different += a[:, column, None] != b[:, column]
    return different


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

"""How far apart two candidates are, with a weight for each choice and each feature.

The weights are learnt from results (automatic relevance determination: Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, section 5.1). A prior holds them together, so that
few results leave them nearly equal and many tell which choices matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nas.pareto.gaussian_process import squared_distances

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

_STEPS = 16  # of the search for the likeliest weights
_FIRST_STEP, _LONGER, _SHORTER = 0.2, 1.3, 0.5  # of Rprop, in logarithms
_NUMBER = -2  # the code of every number: its place tells numbers apart
# Normal priors of deviation 1: of every logarithmic weight about 0; of the scale of choices and of
# features, each over the mean distance; of the logit of the share of choices; of log noise.
_PRIOR_MEANS = (0.0, 1.1, 0.0, -4.0)


@dataclass(frozen=True)
class Points:
    """Candidates as a surrogate sees them.

    Attributes:
        codes: (candidates, choices), the position of each choice, -1 where there is none.
        places: (candidates, choices), from 0 to 1 where the choice is a number; nan where not.
        features: (candidates, features), of like scale.
    """

    codes: Codes
    places: Array
    features: Array

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, which: slice | NDArray[np.intp]) -> Points:
        return Points(self.codes[which], self.places[which], self.features[which])

    def _labels(self) -> Codes:
        return np.where(np.isnan(self.places), self.codes, _NUMBER)


@dataclass(frozen=True)
class Weights:
    """What a difference counts.

    Attributes:
        choices: (choices,), of a choice that differs; of numbers times their squared distance.
        features: (features,), of squared distances.
    """

    choices: Array
    features: Array

    @classmethod
    def equal(cls, points: Points) -> Weights:
        """All 1."""
        return cls(np.ones(points.codes.shape[1]), np.ones(points.features.shape[1]))

    @classmethod
    def most_likely(cls, points: Points, values: Array, extra: Array) -> Weights:
        """Those under which results are most likely, given the prior.

        The kernel is the one of `nas.pareto.surrogate.Kernel`; for the arguments see
        `nas.pareto.surrogate.Surrogate.fit`.
        """
        equal = cls.equal(points)
        mean_distances = [max(float(apart.mean()), 1e-12) for apart in equal.distances(points, points)]
        spread = max(float(values.var()), 1e-18)
        choice, onehot, _ = _one_hot(points, points)
        varies = np.flatnonzero(onehot.std(0) > 0)
        numbers = np.nan_to_num(points.places)
        moves = np.flatnonzero(numbers.std(0) > 0)
        y, noise, onehot_t, numbers_t, features_t = (
            torch.from_numpy(np.ascontiguousarray(array, float))
            for array in (
                (values - values.mean()) / np.sqrt(spread),
                extra / spread + 1e-6,
                onehot[:, varies],
                numbers[:, moves],
                points.features,
            )
        )
        choice_of, number_of = torch.from_numpy(choice[varies]), torch.from_numpy(moves)
        count, globally = len(equal.choices), len(_PRIOR_MEANS)
        prior = torch.tensor(_PRIOR_MEANS, dtype=torch.float64)
        logs = torch.zeros(count + len(equal.features) + globally, dtype=torch.float64)

        def loss(logs: torch.Tensor) -> torch.Tensor:
            weights, scales = logs[:-globally].exp(), logs[-globally:] + prior
            differing = _torch_distances(onehot_t * (weights[choice_of] / 2).sqrt())
            differing = differing + _torch_distances(numbers_t * weights[number_of].sqrt())
            distances = _torch_distances(features_t * weights[count:].sqrt())
            share = torch.sigmoid(1.5 * scales[2])
            correlations = share * torch.exp(-scales[0].exp() * differing / mean_distances[0])
            correlations = correlations + (1 - share) * torch.exp(-scales[1].exp() * distances / mean_distances[1])
            factor = torch.linalg.cholesky_ex(correlations + torch.diag(scales[3].exp() + noise))[0]
            whitened = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
            likelihood = -0.5 * len(y) * whitened.square().mean().log() - factor.diagonal().log().sum()
            negative: torch.Tensor = 0.5 * logs.square().sum() - likelihood
            return negative

        found = _minimum(loss, logs)[:-globally].exp().numpy()
        return cls(found[:count], found[count:]) if np.isfinite(found).all() else equal

    def distances(self, a: Points, b: Points) -> tuple[Array, Array]:
        """Weighted numbers of differing choices, and weighted squared distances of features, of
        each of n candidates from each of m, (n, m) each.
        """
        choice, of_a, of_b = _one_hot(a, b)
        differing = self.choices.sum() - (of_a * self.choices[choice]) @ of_b.T
        places = np.sqrt(self.choices)
        differing += squared_distances(np.nan_to_num(a.places) * places, np.nan_to_num(b.places) * places)
        features = np.sqrt(self.features)
        return np.maximum(differing, 0), squared_distances(a.features * features, b.features * features)


def _one_hot(a: Points, b: Points) -> tuple[NDArray[np.intp], Array, Array]:
    """The choice of each column, (columns,), and whether each of n and of m candidates has the
    value of the column, (n, columns) and (m, columns); a column for each value that one of b has.
    """
    labels_a, labels_b = a._labels(), b._labels()
    values = [np.unique(column) for column in labels_b.T]
    choice = np.repeat(np.arange(len(values)), [len(found) for found in values])
    value = np.concatenate([np.empty(0, np.int64), *values])
    of_a, of_b = ((labels[:, choice] == value).astype(float) for labels in (labels_a, labels_b))
    return choice, of_a, of_b


def _minimum(loss: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> torch.Tensor:
    """Where a loss is least, near a start: signs of the gradient alone decide (Rprop, Riedmiller
    and Braun, 1993). torch.optim would import a compiler, with its seconds and side effects.
    """
    place, step, before = start, torch.full_like(start, _FIRST_STEP), torch.zeros_like(start)
    for _ in range(_STEPS):
        place = place.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(place), place)
        turned = gradient * before
        step = step * torch.where(turned > 0, _LONGER, torch.where(turned < 0, _SHORTER, 1.0))
        before = torch.where(turned < 0, 0.0, gradient)
        place = place - step * before.sign()
    return place.detach()


def _torch_distances(x: torch.Tensor) -> torch.Tensor:
    """Squared distances of all rows of (n, d) from each other, (n, n)."""
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * x @ x.T).clamp_min(0)

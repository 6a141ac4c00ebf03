"""Exact Gaussian process regression for a given matrix of correlations; numpy alone.

Who uses it chooses the correlation function and the trend. Notation as in Rasmussen and Williams,
Gaussian Processes for Machine Learning (2006), algorithm 2.1; the process variance is the one that
maximises the likelihood, in closed form (section 5.4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances of rows (n, d) and (m, d), shape (n, m)."""
    distances: Array = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
    return distances


@dataclass(frozen=True)
class GaussianProcess:
    """A process of mean zero, given n observations.

    Attributes:
        factor: (n, n), lower Cholesky factor of the correlations with noise.
        whitened: (n,), the factor's inverse times the observed values.
        variance: Of the process.
    """

    factor: Array
    whitened: Array
    variance: float

    @classmethod
    def fit(
        cls, correlations: Array, noise: ArrayLike, values: Array, least_variance: float = 1e-18
    ) -> GaussianProcess:
        """Conditions the process on observations.

        Args:
            correlations: (n, n), between the observed points; 1 on the diagonal.
            noise: (n,) or one number, variance of the observations as a share of that of the
                process.
            values: (n,), observed, the trend taken off.
            least_variance: What the variance is at least, for values that are all equal.

        Raises:
            numpy.linalg.LinAlgError: Correlations with noise are not positive definite.
        """
        factor = np.linalg.cholesky(correlations + np.diag(np.broadcast_to(noise, values.shape)))
        whitened: Array = np.linalg.solve(factor, values)
        variance = max(float(whitened @ whitened) / len(values), least_variance)
        return cls(factor.astype(float, copy=False), whitened, variance)

    @property
    def log_likelihood(self) -> float:
        """Of the observations at the likeliest variance, but for a constant of their number."""
        return float(-0.5 * len(self.whitened) * np.log(self.variance) - np.log(np.diag(self.factor)).sum())

    def predictor(self) -> Predictor:
        """What many predictions need, computed once."""
        inverse = np.linalg.inv(self.factor).astype(float, copy=False)
        return Predictor(inverse, inverse.T @ self.whitened, self.variance)


@dataclass(frozen=True)
class Predictor:
    """The posterior of a Gaussian process.

    Attributes:
        inverse: (n, n), of the Cholesky factor.
        weights: (n,), of each observation's correlation in a mean.
        variance: Of the process.
    """

    inverse: Array
    weights: Array
    variance: float

    def predict(self, correlations: Array) -> tuple[Array, Array]:
        """Mean and variance of the process at m points, noise not included.

        Args:
            correlations: (m, n), of each point with each observed one.

        Returns:
            (m,) each; the trend is not in the mean.
        """
        explained = ((correlations @ self.inverse.T) ** 2).sum(1)
        return correlations @ self.weights, self.variance * np.maximum(1 - explained, 1e-9)

"""The maths behind a predicted latency: layers that were not measured, the overhead of a network,
the interval.

Numbers in, numbers out: nothing here knows torch, files or devices. `nas.profiler.tables.predictor`
brings the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from nas.pareto.gaussian_process import Array, GaussianProcess, squared_distances

COVERAGE = 0.9  # of the interval of a prediction
NORMAL_QUANTILE = 1.645  # half of that interval in standard deviations
UNFITTED = 0.3  # half width, in logarithms, where too few networks were measured to know better
MOST_LABELS = 12  # of one option: more are told apart by their size alone
LENGTHS = (0.5, 1.0, 2.0, 4.0)  # of the kernel, in units of the root of the number of features
NOISES = (1e-3, 1e-2, 1e-1, 1.0)  # variance of the noise over that of the function


@dataclass(frozen=True)
class Prediction:
    """Latency of a network that was not timed.

    Attributes:
        ms: Milliseconds of one forward of the batch.
        low, high: Ends of the interval that holds nine of ten networks.
        covered: Share of the layers that the table holds; the others were interpolated.
    """

    ms: float
    low: float
    high: float
    covered: float


# ------------------------------------------------------------------------------ layers not measured


class Encoding:
    """Features of layers: logarithms of their numbers, and one column per label of their options.

    Columns are learnt from the layers that it is made for, and standardised; a label that none of
    them has is zero in all columns of its option, and where all of them have a number, a layer
    without one counts as their mean.
    """

    def __init__(self, numbers: Array, options: Sequence[Mapping[str, str]]) -> None:
        names = sorted({name for option in options for name in option})
        self.numeric = [
            name for name in names if not any(math.isnan(_number(option.get(name, ""))) for option in options)
        ]
        self.labels: list[tuple[str, str]] = []
        for name in names:
            labels = sorted({option.get(name, "") for option in options})
            if name not in self.numeric and len(labels) <= MOST_LABELS:
                self.labels += [(name, label) for label in labels]
        raw = self._raw(numbers, options)
        self.mean, spread = raw.mean(axis=0), raw.std(axis=0)
        self.used = spread > 1e-9
        self.spread = spread[self.used]

    def _raw(self, numbers: Array, options: Sequence[Mapping[str, str]]) -> Array:
        columns = [np.log1p(numbers)]
        if self.numeric:
            values = [[_number(option.get(name, "")) for name in self.numeric] for option in options]
            columns.append(np.log1p(np.array(values, dtype=float)))
        if self.labels:
            marks = [[float(option.get(name, "") == label) for name, label in self.labels] for option in options]
            columns.append(np.array(marks))
        return np.hstack(columns)

    def __call__(self, numbers: Array, options: Sequence[Mapping[str, str]]) -> Array:
        """Returns (layers, features)."""
        standard: Array = (self._raw(numbers, options) - self.mean)[:, self.used] / self.spread
        return np.nan_to_num(standard, nan=0.0)


def _number(text: str) -> float:
    """A number from 0; NaN for any other text, such as that of an option that is not set."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value < math.inf else math.nan


class ProcessWithTrend:
    """Regression of a number on features: a linear trend, and a Gaussian process for what it
    leaves.

    The kernel is the squared exponential; its length and noise maximise the likelihood over a small
    grid.

    Args:
        features: (n, d), standardised; n >= 2.
        targets: (n,).
    """

    def __init__(self, features: Array, targets: Array) -> None:
        n, d = features.shape
        self.features = features
        trend = np.hstack([np.ones((n, 1)), features])
        # A weak prior keeps columns that say the same from taking opposite weights.
        penalty = np.diag([0.0, *[0.1] * d])
        self.weights = np.linalg.solve(trend.T @ trend + penalty, trend.T @ targets)
        rest = targets - trend @ self.weights
        distances = squared_distances(features, features)
        fits = (
            (GaussianProcess.fit(np.exp(-distances / (2 * scale)), noise, rest, least_variance=1e-8), scale, noise)
            for scale, noise in product([length**2 * max(1, d) for length in LENGTHS], NOISES)
        )
        likeliest, self.scale, self.noise = max(fits, key=lambda fit: fit[0].log_likelihood)
        self.process = likeliest.predictor()

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, (m,) each, of new observations at (m, d) features."""
        mean, variance = self.process.predict(np.exp(-squared_distances(features, self.features) / (2 * self.scale)))
        deviation: Array = np.sqrt(variance + self.noise * self.process.variance)
        return self.weights[0] + features @ self.weights[1:] + mean, deviation


class LayerRegression:
    """Milliseconds of layers from features of layers that were measured.

    Args:
        numbers: (n, k), sizes of the layers, zero or more: multiply-adds, parameters, tokens,
            channels.
        options: Their options by name.
        ms: (n,), measured.
        most: Layers that are used at most, evenly chosen: the cost of the fit grows with the third
            power.
    """

    def __init__(
        self, numbers: Array, options: Sequence[Mapping[str, str]], ms: Sequence[float], most: int = 500
    ) -> None:
        chosen = np.unique(np.linspace(0, len(ms) - 1, min(len(ms), most)).round().astype(int))
        kept = [options[i] for i in chosen]
        self.encode = Encoding(numbers[chosen], kept)
        self.process = ProcessWithTrend(self.encode(numbers[chosen], kept), np.log(np.array(ms)[chosen]))

    def predict(self, numbers: Array, options: Sequence[Mapping[str, str]]) -> tuple[Array, Array]:
        """Returns milliseconds and their standard deviation in logarithms, (m,) each."""
        mean, deviation = self.process.predict(self.encode(numbers, options))
        return np.exp(mean), deviation


# ------------------------------------------------------------------------- from layers to a network


@dataclass(frozen=True)
class Overhead:
    """Latency of a network from the sum over its layers: `fixed + scale * sum`.

    Attributes:
        fixed: Milliseconds that every network costs beside its layers.
        scale: Milliseconds per millisecond of layers.
        spread: Half width of the interval in logarithms.
    """

    fixed: float = 0.0
    scale: float = 1.0
    spread: float = UNFITTED

    @classmethod
    def fit(cls, sums_ms: Sequence[float], measured_ms: Sequence[float]) -> Self:
        """Fits the least sum of absolute relative errors, which a few disturbed measurements do not
        move.

        The spread is the conformal quantile of the absolute logarithmic errors of each network as
        predicted from the others (the jackknife of arXiv 1905.02928). Below 3 networks nothing is
        fitted; below 9 the quantile does not exist and the spread is at least `UNFITTED`.
        """
        sums, measured = np.array(sums_ms, dtype=float), np.array(measured_ms, dtype=float)
        n = len(sums)
        if n < 3:
            return cls()
        fixed, scale = _line(sums, measured)
        others = [_line(np.delete(sums, i), np.delete(measured, i)) for i in range(n)]
        predicted = np.array([[1.0, own] @ np.array(line) for own, line in zip(sums, others, strict=True)])
        errors = np.sort(np.abs(np.log(measured / predicted)))
        rank = math.ceil((n + 1) * COVERAGE)
        return cls(fixed, scale, float(errors[rank - 1]) if rank <= n else max(UNFITTED, float(errors[-1])))

    def predict(self, ms: Sequence[float], deviations: Sequence[float]) -> Prediction:
        """Predicts a network.

        Args:
            ms: Milliseconds of its layers.
            deviations: Their standard deviations in logarithms; zero for a layer that was measured.
                Errors of one operator go the same way, so that they add up and do not average out.
        """
        total = sum(ms)
        unseen = sum(d * t for d, t in zip(deviations, ms, strict=True)) / total
        width = math.hypot(self.spread, NORMAL_QUANTILE * unseen)
        predicted = self.fixed + self.scale * total
        covered = sum(d == 0 for d in deviations) / len(deviations)
        return Prediction(predicted, predicted * math.exp(-width), predicted * math.exp(width), covered)


def _line(sums: Array, measured: Array) -> tuple[float, float]:
    """The fixed part and the scale that fit best."""
    fixed, scale = _least_absolute(np.stack([np.ones(len(sums)), sums], axis=1) / measured[:, None])
    if fixed < 0 or scale <= 0:  # a forward cannot cost less than nothing beside its layers
        return 0.0, float(np.median(measured / sums))
    return fixed, scale


def _least_absolute(rows: Array, steps: int = 50) -> tuple[float, float]:
    """Weights (2,) with the least sum of |rows @ weights - 1|, by iteratively reweighted least
    squares.
    """
    weight = np.ones(len(rows))
    for _ in range(steps):
        solution = np.linalg.lstsq(rows * weight[:, None], weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.abs(rows @ solution - 1).clip(min=1e-4))
    return float(solution[0]), float(solution[1])

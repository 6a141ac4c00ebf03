"""What the networks of a search are compared by: accuracy, and one to three costs that are known
before training.

A cost is any computed metric of `nas.limits.metrics`, or a measured one that is predicted. Networks
are compared by the logarithm of a cost where the table of metrics says that they differ in it by
factors, and turned so that less is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import NasError, brief
from nas.limits.metrics import ACCURACY, METRICS, Metric, metrics

if TYPE_CHECKING:
    import pandas as pd

    from nas.limits.budget import Budget

DEFAULT_COST = "macs"
MOST = 4  # objectives: the expected gain of hypervolume in more takes too long


@dataclass(frozen=True)
class Objectives:
    """The objectives of a search: accuracy, and these.

    Attributes:
        costs: The metrics that are compared beside accuracy, in the order asked for.
    """

    costs: tuple[Metric, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """The objectives of some names, those of the table of metrics or their short ones.

        Raises:
            NasError: A name is none, stands there twice, or is not known before training; accuracy
                is missing, or there are fewer than two or more than four.
        """
        given = [name.strip() for name in names]
        text, known = brief(",".join(given)), _allowed()
        allowed = f"accuracy and one to three of {', '.join(metric.short or metric.name for metric in known.values())}"
        spelt = {name: metric for metric in known.values() for name in (metric.name, metric.short) if name}
        for name in given:
            if name != ACCURACY and name not in spelt:
                raise NasError(f"objective {brief(name)} is unknown; allowed: {allowed}")
        costs = [spelt[name] for name in given if name != ACCURACY]
        if len({metric.name for metric in costs}) < len(costs) or given.count(ACCURACY) > 1:
            raise NasError(f"objectives {text} name one twice; allowed: {allowed}")
        if ACCURACY not in given:
            raise NasError(f"objectives {text} lack accuracy; allowed: {allowed}")
        if not 2 <= len(given) <= MOST:
            raise NasError(f"objectives {text} are {len(given)}; allowed: {allowed}")
        return cls(tuple(costs))

    @classmethod
    def asked(cls, text: str | None, budget: Budget) -> Self:
        """The objectives that a search was asked for, such as `accuracy,latency`; else accuracy and
        the first cost that the budget limits.

        Raises:
            NasError: As `of`.
        """
        if text is not None:
            return cls.of(text.split(","))
        limited = [limit.metric for limit in budget.limits if limit.metric in _allowed()]
        return cls.of((ACCURACY, limited[0] if limited else DEFAULT_COST))

    @classmethod
    def recorded(cls, names: Iterable[str]) -> Self:
        """The objectives that a run was of, as far as this program has their metrics; multiply-adds
        where it has none.
        """
        known = _allowed()
        costs = tuple(known[name] for name in dict.fromkeys(names) if name in known)
        return cls(costs or (METRICS[DEFAULT_COST],))

    def __str__(self) -> str:
        """Them in words, such as `accuracy and latency`."""
        *first, last = (METRICS[ACCURACY].title, *(metric.title for metric in self.costs))
        return f"{', '.join(first)} and {last}"

    @property
    def names(self) -> tuple[str, ...]:
        """Their names in the table of metrics, accuracy first."""
        return (ACCURACY, *(metric.name for metric in self.costs))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of `points` are, such as `log10_macs`; with a minus where more of it is
        better.
        """
        logs = (f"log10_{metric.name}" if metric.logarithmic else metric.name for metric in self.costs)
        signs = ("" if metric.less_is_better else "-" for metric in self.costs)
        return (ACCURACY, *(f"{sign}{log}" for sign, log in zip(signs, logs, strict=True)))

    @property
    def maximise(self) -> tuple[bool, ...]:
        """Of the columns of `points`, whether more is better."""
        return (True, *(False for _ in self.costs))

    def compared(self, figures: ArrayLike) -> NDArray[np.float64]:
        """Costs as they are compared: log10 of those that differ by factors, less is better.

        Args:
            figures: (networks, costs), in the stored units.

        Raises:
            NasError: A cost whose logarithm is asked for is not above 0.
        """
        values = np.array(figures, np.float64).reshape(-1, len(self.costs))
        for column, metric in zip(values.T, self.costs, strict=True):
            if metric.logarithmic:
                if (column <= 0).any():
                    raise NasError(
                        f"objective {metric.name!r} of a network is {column.min():g}; allowed: figures above 0, or a "
                        "metric that is not logarithmic"
                    )
                np.log10(column, out=column)
            if not metric.less_is_better:
                np.negative(column, out=column)
        return values

    def costs_of(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """The costs of one network as they are compared.

        Args:
            figures: Its figures by name, before training.

        Raises:
            NasError: As `compared`, or a figure is missing.
        """
        missing = [metric for metric in self.costs if metric.name not in figures]
        if missing:
            raise NasError(f"objective {missing[0].name!r} is not predicted; allowed: a gate that is handed its figure")
        return tuple(self.compared([figures[metric.name] for metric in self.costs])[0].tolist())

    def figures(self, trials: pd.DataFrame, measured: bool = True) -> NDArray[np.float64]:
        """The costs of trials in the stored units, (trials, costs); nan where one is not known.

        Args:
            trials: With the columns of `trials.csv`.
            measured: Whether what was measured of a trial takes the place of what was known of it
                before.
        """
        found = [_column(trials, metric.before) for metric in self.costs]
        if measured:
            taken = [_column(trials, metric.after) for metric in self.costs]
            found = [np.where(np.isnan(own), before, own) for own, before in zip(taken, found, strict=True)]
        return np.column_stack(found)

    def points(self, trials: pd.DataFrame, accuracy: str = ACCURACY, measured: bool = True) -> NDArray[np.float64]:
        """Trials as they are compared: accuracy, and costs of which less is better, (trials,
        objectives); nan where one is not known.

        Args:
            trials: With the columns of `trials.csv`.
            accuracy: The column that holds it.
            measured: As of `figures`.
        """
        costs = self.compared(self.figures(trials, measured))
        return np.column_stack([trials[accuracy].to_numpy(float), costs])

    def ordered(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Trials by their first cost, the best first, and those where it is not known last."""
        first = self.points(trials)[:, 1]
        return trials.iloc[np.argsort(first, kind="stable")].reset_index(drop=True)


def _allowed() -> dict[str, Metric]:
    """The metrics that are known before training, by name."""
    known = (*metrics("computed"), *metrics("measured"))
    return {metric.name: metric for metric in known if metric.before}


def _column(trials: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return trials[name].to_numpy(float) if name in trials else np.full(len(trials), np.nan)

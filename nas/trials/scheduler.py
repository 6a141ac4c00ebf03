"""Rungs: which trainings are worth going on with.

A trial is judged whenever it reaches a rung and is stopped or goes on at once (the stopping type of
asynchronous successive halving): no worker waits, nothing is paused and no weights are kept.
`benchmarks/rungs.py` compares the decision with Ray's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.pareto.front import pareto_rank
from nas.trials.results import Assignment, Report

SPACING = 2  # a rung is this many times as far as the one before
# Before this a training is not judged. With rungs after one epoch and more a search ends behind one
# without any, at the same device time: what is stopped was often slow, not bad, and the sampler
# learns it (`benchmarks/search_video.py proxies`).
LEAST_EPOCHS = 6
REDUCTION = 2  # one in so many goes on


def rungs(epochs: int, spacing: int = SPACING, least: int = LEAST_EPOCHS) -> tuple[int, ...]:
    """The epochs at which a training is evaluated, and but for the last may be stopped: `epochs`
    divided by the spacing while at least `least` remain.

    11 epochs are evaluated at their end alone; 30 after 7, 15 and 30.
    """
    steps = [epochs]
    while steps[0] // spacing >= least:
        steps.insert(0, steps[0] // spacing)
    return tuple(steps)


def crowding(values: ArrayLike, span: ArrayLike) -> NDArray[np.float64]:
    """How far apart the neighbours of each point of a front are (Deb et al., 2002), shape
    (points,).

    The sum over objectives of the distance between the neighbours on either side, in spans;
    infinite at the ends of an objective. Equal points count once and have equal crowding.

    Args:
        values: Finite numbers of shape (points, objectives), at least one point.
        span: What counts as 1 in each objective, shape (objectives,); 0 where nothing differs.
    """
    points, place = np.unique(np.asarray(values, dtype=np.float64), axis=0, return_inverse=True)
    scaled = points / np.where(np.asarray(span) > 0, span, 1.0)
    distance = np.zeros(len(points))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += column[order[2:]] - column[order[:-2]]
    return distance[place.ravel()]


def promoted(others: Sequence[Sequence[float]], point: Sequence[float], reduction: int = REDUCTION) -> bool:
    """Whether a candidate goes on past a rung: by non-dominated rank, then by spread.

    Args:
        others: (accuracy, each known cost as it is compared) of the others at the rung.
        point: The candidate's own.
        reduction: One in so many goes on, rounded up; everything does while fewer than `reduction`
            others are known.
    """
    if len(others) < reduction:
        return True
    values = np.array([*others, point])
    ranks = pareto_rank(values, (True, *(False for _ in point[1:])))
    spread = crowding(values[ranks == ranks[-1]], np.ptp(values, axis=0))
    better = int((ranks < ranks[-1]).sum() + (spread > spread[-1]).sum())
    return better < math.ceil(len(values) / reduction)


class ParetoRungs(FIFOScheduler):
    """Asynchronous successive halving by the whole Pareto front of accuracy at the rung and known
    costs.

    A trial is compared with all that were at the rung before it: with several workers, decisions
    depend on which trial is faster. With a lag, only with those so many candidates before it, all
    of which are known by then: decisions follow from the seed, but waiting for slower ones takes
    nearly twice the device time (`benchmarks/rungs.py`).

    Ray calls `on_trial_result` with each report of a trial, which is judged by the last accuracy of
    its curve, and `on_trial_complete` when a training has come to its end.

    Args:
        lag: As the proposer's.
        reduction: One in so many is promoted at each rung.
        known: Of a resumed search, per trial: its accuracy at every rung that it passed, and its
            costs.
    """

    def __init__(
        self,
        lag: int | None = None,
        reduction: int = REDUCTION,
        known: Mapping[int, tuple[Sequence[float], Sequence[float]]] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lag, self._reduction = lag, reduction
        self._reached: dict[int, dict[int, tuple[float, ...]]] = {}
        for index, (curve, figures) in (known or {}).items():
            self._remember(index, curve, figures)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        assignment, report = Assignment.of(trial.config), Report.of(result)
        if report is None or not report.curve:  # a training that failed is not judged
            return str(TrialScheduler.CONTINUE)
        index = assignment.index
        self._remember(index, report.curve, assignment.costs)
        reached = self._reached[len(report.curve) - 1]
        others = [point for other, point in reached.items() if self._counts(other, index)]
        goes_on = promoted(others, reached[index], self._reduction)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _counts(self, other: int, index: int) -> bool:
        return other != index if self._lag is None else other <= index - self._lag

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Takes note of a training that came to its end; there is nothing to decide any more."""
        assignment, report = Assignment.of(trial.config), Report.of(result)
        if report:
            self._remember(assignment.index, report.curve, assignment.costs)

    def _remember(self, index: int, curve: Sequence[float], costs: Sequence[float]) -> None:
        for rung, accuracy in enumerate(curve):
            self._reached.setdefault(rung, {})[index] = (float(accuracy), *costs)

"""Rungs: which trainings are worth going on with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.search.front import pareto_rank


def rungs(epochs: int, reduction: int = 3, least: int = 1) -> tuple[int, ...]:
    """The epochs at which a training is judged: `epochs` divided by the reduction while at least `least` remain.

    3 epochs are judged after 1 and 3; 18 after 2, 6 and 18.
    """
    steps = [epochs]
    while steps[0] // reduction >= least:
        steps.insert(0, steps[0] // reduction)
    return tuple(steps)


def promoted(points: Sequence[tuple[float, float]], point: tuple[float, float], reduction: int) -> bool:
    """Whether a candidate goes on past a rung.

    Args:
        points: (accuracy, multiply-adds) of the others at the rung.
        point: The candidate's own.
        reduction: One in so many goes on, counted by non-dominated rank; ties go on, and so does everything while
            fewer than `reduction` others are known.
    """
    if len(points) < reduction:
        return True
    ranks = pareto_rank([*points, point], (True, False))
    better = int((ranks < ranks[-1]).sum())
    return better < math.ceil((len(points) + 1) / reduction)


class ParetoRungs(FIFOScheduler):
    """Asynchronous successive halving by the Pareto front of accuracy and multiply-adds.

    A trial is compared with the trials that were `lag` or more before it, whose results at the rung are all known: the
    decision does not depend on the order in which parallel trials report.

    Args:
        lag: As the proposer's.
        reduction: One in so many is promoted at each rung.
        known: Of a resumed search, per trial: its accuracy at every rung that it reached, and its multiply-adds.
    """

    def __init__(
        self, lag: int, reduction: int = 3, known: Mapping[int, tuple[Sequence[float], float]] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lag, self._reduction = lag, reduction
        self._reached: dict[int, dict[int, tuple[float, float]]] = {}
        for index, (curve, macs) in (known or {}).items():
            for rung, accuracy in enumerate(curve):
                self._reached.setdefault(rung, {})[index] = (accuracy, macs)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if "error" in result:
            return str(TrialScheduler.CONTINUE)
        index, rung = int(trial.config["index"]), int(result["rung"])
        reached = self._reached.setdefault(rung, {})
        point = reached[index] = (float(result["accuracy"]), float(trial.config["macs"]))
        if result["last"]:
            return str(TrialScheduler.CONTINUE)
        earlier = [other for at, other in reached.items() if at <= index - self._lag]
        return str(TrialScheduler.CONTINUE if promoted(earlier, point, self._reduction) else TrialScheduler.STOP)

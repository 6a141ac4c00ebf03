"""How long the steps of a training take, by stage, whose clips differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nas.training.loop import Training
from nas.training.recipe import Recipe, Stage

MOST_TIMED = 4  # steps of a stage


class Pace:
    """Seconds of the steps of a session."""

    def __init__(self, recipe: Recipe, timed: Mapping[Stage, float]) -> None:
        """Begins without a step.

        Args:
            recipe: Says how many epochs each stage has.
            timed: Seconds of a step in stages that were timed before; they count until the stage
                has its turn.
        """
        self._turn, self._timed = recipe.turn, timed
        self._seconds, self._steps = dict.fromkeys(self._turn, 0.0), dict.fromkeys(self._turn, 0)

    def add(self, stage: Stage, seconds: float) -> None:
        """Counts a step."""
        self._seconds[stage] += seconds
        self._steps[stage] += 1

    @property
    def steps(self) -> int:
        """That were taken."""
        return sum(self._steps.values())

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return sum(self._seconds.values())

    @property
    def step(self) -> float:
        """Seconds of a step in the mean of a turn, stages of which nothing is known left out."""
        means = {stage: self._seconds[stage] / steps for stage, steps in self._steps.items() if steps}
        known = {**self._timed, **means}
        counted = [stage for stage in self._turn if stage in known]
        return sum(known[stage] * stage.epochs for stage in counted) / sum(stage.epochs for stage in counted)


def timed(trial: Training, longest: float, agreed: Callable[[float], float]) -> dict[Stage, float]:
    """Seconds of a step in each stage: the second and further ones.

    Args:
        trial: A training that may be used up.
        longest: Seconds after which no further step of a stage is begun.
        agreed: Makes a value the first worker's.
    """
    found: dict[Stage, float] = {}
    epoch = 0
    for stage in trial.recipe.turn:
        taken, started = -1, 0.0
        while taken < 1 or agreed(taken < MOST_TIMED and time.monotonic() - started < longest):
            trial.epochs_done = epoch
            trial.step()
            taken += 1
            if taken == 0:
                trial.epoch_loss.item()  # waits for a GPU, which is behind with the first step
                started = time.monotonic()
        trial.epoch_loss.item()
        found[stage] = agreed((time.monotonic() - started) / taken)
        epoch += stage.epochs
    return found

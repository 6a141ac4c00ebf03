"""How long the steps of a training take."""

from __future__ import annotations

from typing import Any

import pytest

import nas.trained.pace as module
from nas.trained.pace import Pace, timed
from nas.training.recipe import Recipe, Stage

SMALL, SHORT = Stage(size=0.5, epochs=2), Stage(frames=0.5)
STAGED = Recipe(6, stages=(SMALL, SHORT))


def test_a_step_is_the_mean_over_the_epochs_of_a_turn() -> None:
    """Of three epochs two are small: (1 + 1 + 4) / 3, whatever was timed before."""
    pace = Pace(STAGED, {SMALL: 9.0, SHORT: 9.0})
    for stage, seconds in ((SMALL, 0.5), (SMALL, 1.5), (SHORT, 4.0)):
        pace.add(stage, seconds)
    assert (pace.step, pace.seconds, pace.steps) == (2.0, 6.0, 3)


def test_a_stage_that_had_no_turn_counts_as_timed_or_not_at_all() -> None:
    for before, expected in (({SHORT: 7.0}, 3.0), ({}, 1.0)):
        pace = Pace(STAGED, before)
        pace.add(SMALL, 1.0)
        assert pace.step == expected


class Trial:
    """Steps of 1 s in the first two epochs of a turn, of 3 s in the third; the very first of a
    stage takes 10 s more. An epoch has two steps.
    """

    recipe = STAGED
    epochs_done = 0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.taken = 0.0, [0, 0]
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.epoch_loss: Any = type("Loss", (), {"item": lambda _: 0.0})()

    def step(self) -> None:
        short = self.epochs_done % 3 == 2
        self.now += (3 if short else 1) + (0 if self.taken[short] else 10)
        self.taken[short] += 1
        self.epochs_done += self.taken[short] % 2 == 0


@pytest.mark.parametrize(("longest", "taken"), [(100.0, [5, 5]), (2.5, [4, 2]), (0.0, [2, 2])])
def test_every_stage_is_timed_after_a_first_step(
    monkeypatch: pytest.MonkeyPatch, longest: float, taken: list[int]
) -> None:
    trial: Any = Trial(monkeypatch)
    assert timed(trial, longest, lambda value: value) == {SMALL: 1.0, SHORT: 3.0}
    assert trial.taken == taken


def test_the_first_step_of_a_stage_is_waited_for_where_a_device_computes_behind_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a device whose steps take no time of the host, and 2 s of whoever reads a loss."""
    trial: Any = Trial(monkeypatch)
    queued: list[float] = []

    def wait() -> float:
        trial.now += sum(queued)
        queued.clear()
        return 0.0

    trial.step = lambda: queued.append(2.0)
    trial.epoch_loss.item = wait
    assert timed(trial, 100.0, lambda value: value) == {SMALL: 2.0, SHORT: 2.0}

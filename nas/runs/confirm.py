"""Confirming a front: its networks are trained again with further seeds, for means and standard
errors.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nas.limits.metrics import DEFAULT_PICK
from nas.limits.objectives import Objectives
from nas.runs.confirmations import Confirmation
from nas.runs.picks import by_accuracy, choose
from nas.trials.results import Report

OVERHEAD = 1.15  # of a training over its epochs: building and evaluation
SEED_OFFSET = 1_000_000  # between the seeds of repetitions; a search has fewer candidates


@dataclass(frozen=True)
class Repeat:
    """One training that is to be done.

    Attributes:
        trial: Its candidate's number.
        repeat: 0 trains with the seed of the search, 1, 2, ... with others.
        seconds: How long it is expected to take.
    """

    trial: int
    repeat: int
    seconds: float

    @property
    def label(self) -> str:
        """What it is of, for lines of progress."""
        return f"#{self.trial} seed {self.repeat + 1}"

    @property
    def figures(self) -> dict[str, Any]:
        """The same for events."""
        return {"trial": self.trial, "repeat": self.repeat}

    def seed(self, first: int) -> int:
        """Its seed, in a search whose candidates 0, 1, ... were trained with the seeds `first`,
        `first` + 1, ...
        """
        return first + self.trial + SEED_OFFSET * self.repeat


def repeats(
    front: pd.DataFrame, objectives: Objectives, seeds: int, epochs: int, done: Collection[tuple[int, int]] = ()
) -> list[Repeat]:
    """The trainings that confirm a front, in the order in which they count: its knee, its best,
    then by accuracy.

    What was stopped early is first trained to its end with its own seed.

    Args:
        front: `trial`, `state`, `accuracy`, `epochs`, `seconds` and the costs as the search saw
            them; at least one row.
        objectives: What the front is of.
        seeds: Further seeds of each.
        epochs: Of a whole training.
        done: (trial, repeat) of those that are known.
    """
    first = [choose(front, name, objectives) for name in ("knee", DEFAULT_PICK)]
    rows: dict[int, dict[Any, Any]] = {row["trial"]: row for row in by_accuracy(front, objectives).to_dict("records")}
    found = []
    for trial in dict.fromkeys([*first, *rows]):
        row = rows[trial]
        seconds = OVERHEAD * row["seconds"] * epochs / row["epochs"]
        for repeat in range(1 if row["state"] == "finished" else 0, seeds + 1):
            if (trial, repeat) not in done:
                found.append(Repeat(trial, repeat, seconds))
    return found


def confirmation_of(repeat: Repeat, seed: int, report: Report) -> Confirmation:
    """What is written down of a training that came to its end.

    Args:
        repeat: The training.
        seed: Of it.
        report: What came of it; it has an accuracy.
    """
    assert report.accuracy is not None
    return Confirmation(
        trial=repeat.trial,
        repeat=repeat.repeat,
        seed=seed,
        accuracy=report.accuracy,
        test_accuracy=report.test_accuracy,
        epochs=report.epochs,
        seconds=report.seconds,
    )

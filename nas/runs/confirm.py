"""Confirming a front: its networks are trained again with further seeds, for means and standard
errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.limits.metrics import DEFAULT_PICK
from nas.limits.objectives import Objectives
from nas.runs.confirmations import Confirmation, append_confirmation
from nas.runs.picks import by_accuracy, choose
from nas.trials.answers import AnswerBook
from nas.trials.proposer import Proposer
from nas.trials.results import Report
from nas.trials.tuning import StatelessSearcher

TIME_SHARE = 0.25  # of a limited time that is kept back
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


def expected_seconds(queue: Collection[Repeat], workers: int) -> float:
    """How long some trainings are expected to take, so many at a time: whoever is free takes the
    next.
    """
    busy = [0.0] * workers
    for repeat in queue:
        earliest = busy.index(min(busy))
        busy[earliest] += repeat.seconds
    return max(busy)


def pop_fitting(queue: list[Repeat], left: float) -> Repeat | None:
    """Takes out the first training of a queue that is expected to end in the time left; None if
    none is.
    """
    for repeat in queue:
        if repeat.seconds <= left:
            queue.remove(repeat)
            return repeat
    return None


class ConfirmSearcher(StatelessSearcher):
    """Ray Tune's view of a queue of confirmations; each is written down when it ends.

    Args:
        proposer: Of the search.
        queue: What is to be trained; what is left in it at the end did not fit into the time.
        folder: The run folder.
        seed: Of the search.
        workers: Trainings at a time; one that is suggested beyond them waits for the first to end.
        seconds: How long there is, or None.
        on_result: Called with each that ended and its accuracy (None if it failed).
        answers: Takes what the networks called the clips.
    """

    def __init__(
        self,
        proposer: Proposer,
        queue: list[Repeat],
        folder: Path,
        seed: int,
        workers: int,
        seconds: float | None,
        on_result: Callable[[Repeat, float | None], None],
        answers: AnswerBook,
    ) -> None:
        super().__init__()
        self._proposer, self._queue, self._folder, self._seed = proposer, queue, folder, seed
        self._ends = float("inf") if seconds is None else time.monotonic() + seconds
        self._on_result, self._answers = on_result, answers
        self._workers = workers
        self._running: dict[str, tuple[Repeat, float]] = {}  # with the time at which it is expected to end

    def fits(self) -> bool:
        """Whether there is time for any of them."""
        return min((repeat.seconds for repeat in self._queue), default=float("inf")) <= self._ends - time.monotonic()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        begins, waits = time.monotonic(), len(self._running) >= self._workers
        if waits:
            begins = max(begins, min(ends for _, ends in self._running.values()))
        repeat = pop_fitting(self._queue, self._ends - begins)
        if repeat is None:  # one that ends sooner than expected may leave time for another
            return None if waits and self._queue else str(StatelessSearcher.FINISHED)
        self._running[trial_id] = repeat, begins + repeat.seconds
        return self._proposer.candidates[repeat.trial].assignment(repeat.seed(self._seed)).config()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        repeat, _ = self._running.pop(trial_id)
        report = Report.of(result)
        accuracy = report.accuracy if report and report.last and not error else None
        if report and accuracy is not None:
            confirmation = Confirmation(
                trial=repeat.trial,
                repeat=repeat.repeat,
                seed=repeat.seed(self._seed),
                accuracy=accuracy,
                test_accuracy=report.test_accuracy,
                epochs=report.epochs,
                seconds=report.seconds,
            )
            append_confirmation(self._folder, confirmation)
            if report.called:
                self._answers.add(repeat.trial, repeat.repeat, report.called)
        self._on_result(repeat, accuracy)

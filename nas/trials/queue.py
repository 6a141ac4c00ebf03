"""A list of trainings that are to be done, as Ray Tune's searcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

from nas.trials.results import Assignment, Report
from nas.trials.tuning import StatelessSearcher


class Queued(Protocol):
    """A training that is to be done."""

    @property
    def seconds(self) -> float:
        """How long it is expected to take."""
        ...

    @property
    def label(self) -> str:
        """What it is of, for lines of progress."""
        ...

    @property
    def figures(self) -> dict[str, Any]:
        """The same for events."""
        ...


Item = TypeVar("Item", bound=Queued)


def expected_seconds(queue: Collection[Queued], workers: int) -> float:
    """How long some trainings are expected to take, so many at a time: whoever is free takes the
    next.
    """
    busy = [0.0] * workers
    for training in queue:
        earliest = busy.index(min(busy))
        busy[earliest] += training.seconds
    return max(busy)


def pop_fitting(queue: list[Item], left: float) -> Item | None:
    """Takes out the first training of a queue that is expected to end in the time left; None if
    none is.
    """
    for training in queue:
        if training.seconds <= left:
            queue.remove(training)
            return training
    return None


class QueueSearcher(StatelessSearcher, Generic[Item]):
    """Ray Tune's view of a queue of trainings.

    Args:
        queue: What is to be trained; what is left in it at the end did not fit into the time.
        assignment: What a trial is told of one.
        workers: Trainings at a time; one that is suggested beyond them waits for the first to end.
        seconds: How long there is, or None.
        on_result: Called with each that ended and what came of it, None if it failed.
    """

    def __init__(
        self,
        queue: list[Item],
        assignment: Callable[[Item], Assignment],
        workers: int,
        seconds: float | None,
        on_result: Callable[[Item, Report | None], None],
    ) -> None:
        super().__init__()
        self._queue, self._assignment, self._workers, self._on_result = queue, assignment, workers, on_result
        self._ends = float("inf") if seconds is None else time.monotonic() + seconds
        self._running: dict[str, tuple[Item, float]] = {}  # with the time at which it is expected to end
        self._again: list[Item] = []  # whose process was lost before their training began

    def fits(self) -> bool:
        """Whether there is time for any of them."""
        return min((each.seconds for each in self._queue), default=float("inf")) <= self._ends - time.monotonic()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        begins, waits = time.monotonic(), len(self._running) >= self._workers
        if waits:
            begins = max(begins, min(ends for _, ends in self._running.values()))
        training = pop_fitting(self._queue, self._ends - begins)
        if training is None:  # one that ends sooner than expected may leave time for another
            unsure = any(name not in self.begun for name in self._running)  # its process may be lost
            return None if unsure or (waits and self._queue) else str(StatelessSearcher.FINISHED)
        self._running[trial_id] = training, begins + training.seconds
        return self._assignment(training).config()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        training, _ = self._running.pop(trial_id)
        report = Report.of(result)
        if error and trial_id not in self.begun and training not in self._again:
            self._again.append(training)
            self._queue.insert(0, training)
            return
        whole = report is not None and report.last and report.accuracy is not None and not error
        self._on_result(training, report if whole else None)

"""What a search shows while it runs: how it stands, a bar with the time left and a table of the
latest and best candidates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from nas.runs.progress.news import Display, EventConsole, Heartbeat, announce
from nas.runs.progress.standing import BLOCKS, PLAIN, Standing, sparkline
from nas.trials.proposer import Proposer
from nas.trials.queue import Queued, expected_seconds
from nas.units import duration, plural

ROWS = 12
MOMENTS = 32  # of the line of hypervolumes


class _Bar(Display):
    """A bar that is live on a terminal while its context lasts; elsewhere a line or an event every
    few seconds, and nothing on a quiet console.
    """

    def __init__(self, console: Console, total: int | None, what: str) -> None:
        self._console, self._total, self._what = console, total, what
        self._started, self._done = time.monotonic(), 0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task: TaskID = self._bar.add_task(what, total=total)
        self._live = Live(self._bar, console=console, refresh_per_second=2)
        events = isinstance(console, EventConsole)
        animated = console.is_terminal and not console.quiet and not events
        super().__init__(self._live, animated, Heartbeat(self._beat) if events or not console.quiet else None)

    def _advance(self, completed: int, left: float | None) -> str:
        """Moves the bar and returns what is said beside it."""
        self._done = completed
        note = self._what if left is None else f"{self._what}, {duration(left)} left"
        self._bar.update(self._task, completed=completed, description=note)
        return note

    def _announce(self, text: str, event: str, **facts: Any) -> None:
        """Tells a result, where no bar does."""
        if not self._animated:
            announce(self._console, text, event, what=self._what, done=self._done, of=self._total, **facts)
        self._told()

    def _beat(self, seconds: float) -> None:
        text = f"{self._what}, {self._done}{self._of} done, {seconds:.0f} s"
        announce(
            self._console, text, "busy", what=self._what, seconds=round(seconds, 1), done=self._done, of=self._total
        )

    @property
    def _of(self) -> str:
        return "" if self._total is None else f" of {self._total}"


class SearchProgress(_Bar):
    """A live table on a terminal, a line or an event per trained candidate elsewhere.

    Args:
        console: Where to show it.
        trials: How many candidates are to be trained, if limited.
        seconds: How long the search may train, if limited.
        what: What goes on.
        chance: Accuracy of guessing.
    """

    def __init__(
        self,
        console: Console,
        trials: int | None,
        seconds: float | None,
        what: str = "training",
        chance: float = 0.0,
    ) -> None:
        super().__init__(console, trials, what)
        self._trials, self._seconds, self._chance = trials, seconds, chance
        self._at_start = 0

    def resumed(self, trained: int) -> None:
        """Takes note of candidates that an earlier session trained."""
        self._done = self._at_start = trained

    def update(self, proposer: Proposer) -> None:
        """Shows what is known now."""
        results, before = proposer.results, self._done
        left = self.time_left(len(results))
        note = self._advance(len(results), left)
        if self._animated:
            standing = Standing.of(proposer, self._chance, MOMENTS)
            ramp = BLOCKS if self._console.encoding.startswith("utf") else PLAIN
            shown = _standing(proposer, standing, ramp)
            self._live.update(Group(_table(proposer, standing.front), Text(shown), self._bar))
        elif len(results) > before:
            index = next(reversed(results))
            standing = Standing.of(proposer, self._chance)
            candidate, result = proposer.candidates[index], results[index]
            self._announce(
                f"[{len(results)}{self._of}] {' '.join(_cells(proposer, index))} ({note})",
                "trained",
                trial=index,
                state=result.state,
                accuracy=result.accuracy,
                macs=candidate.cost.macs,
                costs={name: candidate.priced.figures[name] for name in proposer.gate.objectives.names[1:]},
                epochs=result.epochs,
                seconds=result.seconds,
                left_s=left,
                front=len(standing.front),
                hypervolume=standing.volumes[-1] if standing.volumes else 0.0,
                running=standing.running,
                failed=standing.failed,
                proposed=standing.proposed,
                rejected=standing.rejected,
                unreached=standing.unreached,
                duplicates=standing.duplicates,
            )

    def time_left(self, trained: int) -> float | None:
        """Seconds until the limit that comes first, once a candidate was trained."""
        passed = time.monotonic() - self._started
        limits = []
        if self._seconds is not None:
            limits.append(max(0.0, self._seconds - passed))
        if self._trials is not None and trained > self._at_start:
            limits.append(passed / (trained - self._at_start) * max(0, self._trials - trained))
        return min(limits, default=None)


class QueueProgress(_Bar):
    """A bar on a terminal, a line or an event per training elsewhere.

    Args:
        console: Where to show it.
        queue: What is to be trained.
        workers: How many at a time.
        seconds: How long there is, or None.
        what: What they are for, as the bar says it.
        event: The name of their events.
    """

    def __init__(
        self, console: Console, queue: Sequence[Queued], workers: int, seconds: float | None, what: str, event: str
    ) -> None:
        super().__init__(console, len(queue), what)
        self._open, self._workers, self._seconds, self._event = list(queue), workers, seconds, event
        self._expected = sum(repeat.seconds for repeat in queue)

    def update(self, training: Queued, accuracy: float | None) -> None:
        """Shows a training that ended, and its accuracy (None if it failed)."""
        self._open.remove(training)
        left = self.time_left()
        note = self._advance((self._total or 0) - len(self._open), left)
        outcome = "failed" if accuracy is None else f"{100 * accuracy:.1f} %"
        self._announce(
            f"[{self._done}{self._of}] {training.label}: {outcome} ({note})",
            self._event,
            **training.figures,
            accuracy=accuracy,
            left_s=left,
        )

    def time_left(self) -> float:
        """Seconds until all is done, at the pace so far, or until the limit if that comes first."""
        passed = time.monotonic() - self._started
        left = expected_seconds(self._open, self._workers)
        if done := self._expected - sum(repeat.seconds for repeat in self._open):
            left *= passed * self._workers / done
        return left if self._seconds is None else min(left, max(0.0, self._seconds - passed))


def _cells(proposer: Proposer, index: int) -> list[str]:
    candidate, result = proposer.candidates[index], proposer.results[index]
    operators = " ".join(f"{op}*{n}" for op, n in candidate.architecture.operators.items())
    costs = ", ".join(metric.text(candidate.priced.figures[metric.name]) for metric in proposer.gate.objectives.costs)
    if result.accuracy is None:
        return [f"#{candidate.index}", "failed", costs, operators]
    accuracy = f"{100 * result.accuracy:.1f} %"
    return [
        f"#{candidate.index}",
        accuracy,
        costs,
        plural(result.epochs or 0, "epoch"),
        f"{result.seconds or 0:.0f} s",
        operators,
    ]


def _standing(proposer: Proposer, standing: Standing, ramp: str) -> str:
    """The best of each objective, how much the front has grown, and what became of proposals."""
    best = []
    for number, index in enumerate(standing.best):
        candidate, result = proposer.candidates[index], proposer.results[index]
        metric = proposer.gate.objectives.costs[number - 1]
        figure = (
            metric.text(candidate.priced.figures[metric.name]) if number else f"{100 * (result.accuracy or 0):.1f} %"
        )
        best.append(f"{figure} (#{index})")
    lines = [f"best of the front: {', '.join(best)}"] if best else []
    if standing.volumes:
        size, volume = plural(len(standing.front), "network"), 100 * standing.volumes[-1]
        lines.append(f"front: {size}, hypervolume {volume:.1f} % {sparkline(standing.volumes, ramp)}")
    return "\n".join([*lines, standing.fates])


def _table(proposer: Proposer, front: Sequence[int]) -> Table:
    """The front by its first cost, then the latest."""
    table = Table("trial", "accuracy", "cost", "trained", "time", "operators", title="front, then the latest")
    for i in front[:ROWS]:
        table.add_row(*_cells(proposer, i), style="bold green")
    for i in [i for i in reversed(proposer.results) if i not in front][: max(3, ROWS - len(front))]:
        table.add_row(*_cells(proposer, i))
    return table

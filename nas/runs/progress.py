"""What a search shows while it runs: a bar with the time left and a table of the latest and best
candidates.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nas.pareto.front import non_dominated
from nas.runs.confirm import Repeat, expected_seconds
from nas.trials.proposer import Candidate, Proposer
from nas.trials.results import TrialResult
from nas.units import plural

ROWS = 12


class _Bar:
    """A bar that is live on a terminal while its context lasts."""

    def __init__(self, console: Console, total: int | None, quiet: bool, what: str) -> None:
        self._console, self._quiet, self._what = console, quiet, what
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task: TaskID = self._bar.add_task(what, total=total)
        self._live = Live(self._bar, console=console, refresh_per_second=2)
        self._animated = console.is_terminal and not quiet

    def __enter__(self) -> Self:
        if self._animated:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._animated:
            self._live.stop()

    def _advance(self, completed: int, left: float | None) -> str:
        """Moves the bar and returns what is said beside it."""
        note = self._what if left is None else f"{self._what}, {left / 60:.1f} min left"
        self._bar.update(self._task, completed=completed, description=note)
        return note


class SearchProgress(_Bar):
    """A live table on a terminal, a line per trained candidate elsewhere; nothing when quiet.

    Args:
        console: Where to print.
        trials: How many candidates are to be trained, if limited.
        seconds: How long the search may train, if limited.
        quiet: Show nothing.
        what: What goes on.
    """

    def __init__(
        self, console: Console, trials: int | None, seconds: float | None, quiet: bool, what: str = "training"
    ) -> None:
        super().__init__(console, trials, quiet, what)
        self._trials, self._seconds = trials, seconds
        self._shown = 0
        self._at_start = 0

    def resumed(self, trained: int) -> None:
        """Takes note of candidates that an earlier session trained."""
        self._shown = self._at_start = trained

    def update(self, proposer: Proposer) -> None:
        """Shows what is known now."""
        results = proposer.results
        note = self._advance(len(results), self.time_left(len(results)))
        if self._animated:
            self._live.update(Group(_table(proposer), self._bar))
        elif not self._quiet and len(results) > self._shown:
            index = next(reversed(results))
            of = f" of {self._trials}" if self._trials else ""
            self._console.print(
                f"[{len(results)}{of}] {' '.join(_cells(proposer.candidates[index], results[index]))} ({note})",
                highlight=False,
            )
        self._shown = len(results)

    def time_left(self, trained: int) -> float | None:
        """Seconds until the limit that comes first, once a candidate was trained."""
        passed = time.monotonic() - self._started
        limits = []
        if self._seconds is not None:
            limits.append(max(0.0, self._seconds - passed))
        if self._trials is not None and trained > self._at_start:
            limits.append(passed / (trained - self._at_start) * max(0, self._trials - trained))
        return min(limits, default=None)


class ConfirmProgress(_Bar):
    """A bar on a terminal, a line per confirmation elsewhere; nothing when quiet.

    Args:
        console: Where to print.
        queue: The confirmations that are to be trained.
        workers: How many at a time.
        seconds: How long there is, or None.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, queue: list[Repeat], workers: int, seconds: float | None, quiet: bool) -> None:
        super().__init__(console, len(queue), quiet, "confirming")
        self._open, self._workers, self._seconds = list(queue), workers, seconds
        self._total = len(queue)
        self._expected = sum(repeat.seconds for repeat in queue)

    def update(self, repeat: Repeat, accuracy: float | None) -> None:
        """Shows a confirmation that ended, and its accuracy (None if it failed)."""
        self._open.remove(repeat)
        done = self._total - len(self._open)
        note = self._advance(done, self.time_left())
        if not self._animated and not self._quiet:
            outcome = "failed" if accuracy is None else f"{100 * accuracy:.1f} %"
            self._console.print(
                f"[{done} of {self._total}] #{repeat.trial} seed {repeat.repeat + 1}: {outcome} ({note})",
                highlight=False,
            )

    def time_left(self) -> float:
        """Seconds until all is done, at the pace so far, or until the limit if that comes first."""
        passed = time.monotonic() - self._started
        left = expected_seconds(self._open, self._workers)
        if done := self._expected - sum(repeat.seconds for repeat in self._open):
            left *= passed * self._workers / done
        return left if self._seconds is None else min(left, max(0.0, self._seconds - passed))


def _cells(candidate: Candidate, result: TrialResult) -> list[str]:
    operators = " ".join(f"{op}*{n}" for op, n in candidate.architecture.operators.items())
    macs = f"{candidate.cost.macs / 1e9:.3g} GFLOPs"
    if result.accuracy is None:
        return [f"#{candidate.index}", "failed", macs, operators]
    accuracy = f"{100 * result.accuracy:.1f} %"
    return [
        f"#{candidate.index}",
        accuracy,
        macs,
        plural(result.epochs or 0, "epoch"),
        f"{result.seconds or 0:.0f} s",
        operators,
    ]


def _table(proposer: Proposer) -> Table:
    """The front by multiply-adds, then the latest."""
    accuracies = {i: result.accuracy for i, result in proposer.results.items() if result.accuracy is not None}
    front: list[int] = []
    if accuracies:
        values = [(accuracy, proposer.candidates[i].cost.macs) for i, accuracy in accuracies.items()]
        mask = non_dominated(values, (True, False))
        front = sorted(
            (i for i, on in zip(accuracies, mask, strict=True) if on), key=lambda i: proposer.candidates[i].cost.macs
        )
    table = Table("trial", "accuracy", "cost", "trained", "time", "operators", title="front, then the latest")
    for i in front[:ROWS]:
        table.add_row(*_cells(proposer.candidates[i], proposer.results[i]), style="bold green")
    for i in [i for i in reversed(proposer.results) if i not in front][: max(3, ROWS - len(front))]:
        table.add_row(*_cells(proposer.candidates[i], proposer.results[i]))
    return table

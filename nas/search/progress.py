"""What a search shows while it runs: a bar with the time left and a table of the latest and best candidates."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nas.search.front import non_dominated
from nas.search.proposer import Candidate, Proposer, Result

ROWS = 12


class SearchProgress:
    """A live table on a terminal, a line per trained candidate elsewhere; nothing when quiet.

    Args:
        console: Where to print.
        trials: How many candidates are to be trained, if limited.
        seconds: How long the search may train, if limited.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, trials: int | None, seconds: float | None, quiet: bool) -> None:
        self._console, self._trials, self._seconds, self._quiet = console, trials, seconds, quiet
        self._started = time.monotonic()
        self._shown = 0
        self._at_start = 0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task: TaskID = self._bar.add_task("training", total=trials)
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

    def resumed(self, trained: int) -> None:
        """Takes note of candidates that an earlier session trained."""
        self._shown = self._at_start = trained

    def update(self, proposer: Proposer) -> None:
        """Shows what is known now."""
        results = proposer.results
        left = self.time_left(len(results))
        note = f"training, {left / 60:.1f} min left" if left is not None else "training"
        self._bar.update(self._task, completed=len(results), description=note)
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


def _cells(candidate: Candidate, result: Result) -> list[str]:
    operators = " ".join(f"{op}*{n}" for op, n in candidate.architecture.operators.items())
    macs = f"{candidate.cost.macs / 1e9:.3g} GFLOPs"
    if result["state"] == "failed":
        return [f"#{candidate.index}", "failed", macs, operators]
    accuracy = f"{100 * result['accuracy']:.1f} %"
    return [
        f"#{candidate.index}",
        accuracy,
        macs,
        f"{result['epochs']} epochs",
        f"{result['seconds']:.0f} s",
        operators,
    ]


def _table(proposer: Proposer) -> Table:
    """The front by multiply-adds, then the latest."""
    known = [i for i, result in proposer.results.items() if result["state"] != "failed"]
    front: list[int] = []
    if known:
        values = [(proposer.results[i]["accuracy"], proposer.candidates[i].cost.macs) for i in known]
        mask = non_dominated(values, (True, False))
        front = sorted(
            (i for i, on in zip(known, mask, strict=True) if on), key=lambda i: proposer.candidates[i].cost.macs
        )
    table = Table("trial", "accuracy", "cost", "trained", "time", "operators", title="front, then the latest")
    for i in front[:ROWS]:
        table.add_row(*_cells(proposer.candidates[i], proposer.results[i]), style="bold green")
    for i in [i for i in reversed(proposer.results) if i not in front][: max(3, ROWS - len(front))]:
        table.add_row(*_cells(proposer.candidates[i], proposer.results[i]))
    return table

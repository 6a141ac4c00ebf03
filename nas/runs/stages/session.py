"""What the stages of one session of a run share: what to do, what is known, and how it is kept."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nas.limits.gate import Gate
from nas.profiler.tables.predictor import Predictor
from nas.runs.folder.measurements import read_measurements
from nas.runs.folder.record import (
    Counts,
    RunRecord,
    write_record,
)
from nas.runs.folder.tables import TRIALS, trials_table, write_table
from nas.runs.planning.plan import Plan
from nas.runs.progress.display import QueueProgress
from nas.runs.progress.news import announce
from nas.runs.stages.measuring import predicted
from nas.trials.proposer import Proposer
from nas.trials.queue import Item, QueueSearcher
from nas.trials.results import Assignment, Report
from nas.trials.trainable import ProxyData, ProxyTrial
from nas.trials.tuning import run_trials


@dataclass
class Session:
    """One session of a run, from its start or resumption to its end or interruption.

    Attributes:
        plan: What to do.
        folder: The run folder.
        data: The clips that all trainings share.
        gate: The space, the budget and the objectives.
        predictor: Of latencies, where the budget limits latency or it is an objective.
        proposer: What is known of the candidates.
        record: `run.json` as it was last written.
        started: When the session began, by the monotonic clock.
        spent: Seconds of the sessions before it.
    """

    plan: Plan
    folder: Path
    data: ProxyData
    gate: Gate
    predictor: Predictor | None
    proposer: Proposer
    record: RunRecord
    started: float
    spent: float
    _phase: tuple[str, float] | None = None  # the one that goes on, and when it began

    def note(self, **changes: Any) -> None:
        """Writes what has come out into `run.json`, with the time up to now."""
        now = clock.monotonic()
        self.record = replace(self.record, wall_s=self.spent + now - self.started, **changes)
        record = self.record
        if self._phase:
            name, since = self._phase
            record = record.spending(name, now - since)
        write_record(record, self.folder)

    def trials(self, proposer: Proposer | None = None, measured: bool = False) -> pd.DataFrame:
        """The trials as `trials.csv` has them.

        Args:
            proposer: Of the control; that of the search by default.
            measured: Whether with what was measured of them.
        """
        taken = read_measurements(self.folder, self.plan.device_name) if measured else {}
        return trials_table(proposer or self.proposer, predicted(self.predictor), taken)

    def keep(self) -> None:
        """Writes what the search has come to, for who looks into the folder while it goes on."""
        save_architectures(self.proposer, self.folder)
        write_table(self.folder / TRIALS, self.trials(measured=True))
        self.note(counts=counts_of(self.proposer))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the time of its context as that of a phase, however it ends; a note in between
        writes what it took so far.
        """
        started = clock.monotonic()
        self._phase = name, started
        try:
            yield
        finally:
            self._phase = None
            self.record = self.record.spending(name, clock.monotonic() - started)
            self.note()

    def say(self, text: str) -> None:
        """Tells something, unless the run is quiet."""
        announce(self.plan.console, text)


def save_architectures(proposer: Proposer, folder: Path) -> None:
    """Writes the architectures that have a result and are not there."""
    (folder / "architectures").mkdir(exist_ok=True)
    for index in proposer.results:
        path = folder / "architectures" / f"{index}.yaml"
        if not path.exists():
            proposer.candidates[index].architecture.save(path)


def counts_of(proposer: Proposer) -> Counts:
    """How many candidates were proposed, and what became of them."""
    states = [result.state for result in proposer.results.values()]
    failed, stopped = states.count("failed"), states.count("stopped")
    return Counts(
        proposed=proposer.proposed,
        rejected=proposer.rejected,
        unreached=proposer.unreached,
        duplicates=proposer.duplicates,
        trained=len(states) - failed,
        stopped_early=stopped,
        failed=failed,
    )


def train_queue(
    run: Session,
    queue: list[Item],
    assignment: Callable[[Item], Assignment],
    seconds: float | None,
    progress: QueueProgress,
    keep: Callable[[Item, Report], None],
) -> bool:
    """Trains what of a queue fits into the time, whole, and keeps what comes to its end; returns
    whether the user interrupted it.
    """
    plan = run.plan

    def ended(item: Item, report: Report | None) -> None:
        if report is not None:
            keep(item, report)
        progress.update(item, report.accuracy if report else None)
        run.note()

    searcher = QueueSearcher(queue, assignment, plan.workers, seconds, ended)
    # Nobody is judged on the way, so there is one evaluation, at the end.
    proxy = replace(plan.proxy, rungs=(plan.proxy.recipe.epochs,), rung_seconds=None)
    with progress:
        parameters = {"proxy": proxy, "data": run.data, "start": plan.start}
        place, longest = plan.place(run.folder), plan.settings.trial_timeout
        return (
            searcher.fits() and run_trials(ProxyTrial, parameters, place, searcher, trial_seconds=longest).interrupted
        )

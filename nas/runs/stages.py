"""The stages of a run: search, random control, confirmation of the front, published networks beside
the pick, measurement.

A stage is a function of a `Session`. It takes up what is left of it in the run folder and returns
when that is done, so a run that was cut short anywhere goes on from its folder alone. What a stage
finds out it writes with `Session.note` before the next one begins.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nas.data.strips import write_strips
from nas.data.unreadable import UNREADABLE, write_unreadable
from nas.errors import Interrupted, NasError
from nas.limits.gate import Gate
from nas.limits.metrics import DEFAULT_PICK
from nas.limits.survey import check_budget
from nas.profiler.measured.device import available_cores
from nas.profiler.tables.predictor import Predictor
from nas.resources import replacing
from nas.runs.baseline_trainings import Planned, cut_to, training_of, trainings
from nas.runs.baselines import FOLDER, append_training, read_trainings
from nas.runs.confirm import Repeat, confirmation_of, repeats
from nas.runs.confirmations import append_confirmation, read_confirmations
from nas.runs.control import CONTROL, CURVES, SEED_OFFSET, curves
from nas.runs.export import BEST, write_picks
from nas.runs.folder import Run
from nas.runs.measurements import read_measurements
from nas.runs.measuring import confirmed_front, latency_predictor, measure_front, predicted, predicted_latency
from nas.runs.news import Seldom, announce, busy
from nas.runs.picks import choose
from nas.runs.plan import Plan
from nas.runs.progress import QueueProgress, SearchProgress
from nas.runs.ranking import eligible, front_of, keeping
from nas.runs.record import (
    BASELINES,
    CONFIRMING,
    GROWING,
    MEASURING,
    PLANNING,
    READING,
    RECORD,
    TRAINING,
    Counts,
    RunRecord,
    read_record,
    workers_busy,
    write_record,
)
from nas.runs.record import CONTROL as RANDOM_CONTROL
from nas.runs.tables import FRONT, TRIALS, trials_table, write_table
from nas.trials.answers import AnswerBook
from nas.trials.cluster import session
from nas.trials.proposer import LOST, Proposer, ProposerSearcher
from nas.trials.queue import Item, QueueSearcher, expected_seconds
from nas.trials.results import Assignment, Report
from nas.trials.scheduler import ParetoRungs
from nas.trials.trainable import ProxyData, ProxyTrial
from nas.trials.tuning import run_trials
from nas.units import plural


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
        _save_architectures(self.proposer, self.folder)
        write_table(self.folder / TRIALS, self.trials(measured=True))
        self.note(counts=_counts(self.proposer))

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


def run_stages(plan: Plan, folder: Path, more: bool, planning: float = 0.0) -> Run:
    """Goes through the stages of a run, from where its folder says that it stands.

    Args:
        plan: What to do.
        folder: The run folder.
        more: Whether a search that came to its end before goes on.
        planning: Seconds that the plan took.

    Raises:
        NasError: Nothing was trained.
        Interrupted: The user stopped the trainings.
        KeyboardInterrupt: The user stopped something else.
    """
    started = clock.monotonic()
    announce(plan.console, f"{plan.describe()}; run folder {folder}", "plan", run=str(folder))
    for doubt in plan.doubts:
        announce(plan.console, f"warning: {doubt}", "warning")
    with busy(plan.console, "reading clips"):
        data = ProxyData.read(plan.data, plan.proxy, plan.settings.seed, available_cores())
    reading = clock.monotonic() - started
    write_unreadable(folder, data.unreadable)
    write_strips(folder, data.train)
    if plan.settings.strict and data.unreadable:
        raise NasError(
            f"{plural(len(data.unreadable), 'clip')} of data {plan.data.name!r} cannot be read, listed in "
            f"{folder / UNREADABLE}; allowed: data without, or a search without strict"
        )
    with replacing(folder / "space.yaml") as draft:
        plan.space.save(draft)
    before = read_record(folder) if (folder / RECORD).exists() else RunRecord()
    record = plan.record(before).spending(PLANNING, planning).spending(READING, reading)
    if more:
        record = replace(record, searched=False, spent_s={})
    # Until the front is made again there is none under this budget or of this machine.
    if before.budget not in (None, record.budget) or before.device not in (None, record.device):
        for name in (FRONT, BEST):
            (folder / name).unlink(missing_ok=True)
    write_record(record, folder)
    growing = clock.monotonic()
    predictor = latency_predictor(plan, folder)
    if predictor:
        record = record.spending(GROWING, clock.monotonic() - growing)
    figures, refusal = predicted_latency(predictor), plan.start.misfit if plan.start else None
    gate = Gate(plan.space, plan.budget, figures, plan.objectives, plan.reach, refusal)
    if predictor:
        check_budget(gate)
    settings = plan.settings
    proposer = Proposer(gate, folder, seed=settings.seed, sampler=settings.sampler, lag=plan.lag)
    run = Session(plan, folder, data, gate, predictor, proposer, record, started, record.wall_s)
    # Ray is gone before anything is measured.
    with session():
        # Where nothing is searched any more, all of the time is for the confirmation.
        shares = plan.shares()
        seconds, kept = (settings.time, 0.0) if record.searched else (shares.confirmation, shares.baselines)
        interrupted = _search(run)
        trials = run.trials(measured=True)
        write_table(folder / TRIALS, trials)
        run.note(counts=_counts(proposer), clips=data.sizes())
        confirming = clock.monotonic()
        with run.phase(CONFIRMING):
            interrupted = interrupted or _confirm(run, seconds)
        # What the confirmation left of its time is for the next, too.
        left = None if kept is None or seconds is None else kept + max(0.0, seconds - clock.monotonic() + confirming)
        with run.phase(BASELINES):
            interrupted = interrupted or _hold_against_baselines(run, left)
    if interrupted:
        raise Interrupted(
            f"interrupted after {len(trials)} candidates, which are kept; allowed: nas search --resume {folder}"
        )
    if (trials["state"] == "failed").all():
        reason = trials["error"].iloc[0] if len(trials) else "the time was too short for the first one"
        raise NasError(f"no candidate was trained: {reason}; allowed: nas search --resume {folder} --time 10m")
    with run.phase(MEASURING):
        measure_front(plan, folder, proposer, predictor)
    run.note(front_of=len(trials))
    return write_picks(folder)


def _search(run: Session) -> bool:
    """Trains candidates, and then those of the control; returns whether the user interrupted it."""
    plan, folder, proposer, searched = run.plan, run.folder, run.proposer, run.record.searched
    (trials, control_trials), shares = plan.trainings(), plan.shares()
    interrupted = not searched and _train(run, proposer, trials, shares.search, TRAINING)
    _keep(proposer, folder)
    if plan.settings.control is not None and proposer.results:
        control_folder = folder / CONTROL
        control_folder.mkdir(exist_ok=True)
        seed = plan.settings.seed + SEED_OFFSET
        control = Proposer(run.gate, control_folder, seed=seed, sampler="random", lag=plan.lag)
        if not (interrupted or searched):
            interrupted = _train(run, control, control_trials, shares.control, RANDOM_CONTROL)
        _keep(control, control_folder)
        both = curves(run.trials(), run.trials(control), plan.data.chance, plan.objectives)
        write_table(folder / CURVES, both)
    run.record = replace(run.record, searched=not interrupted)
    return interrupted


def _train(run: Session, proposer: Proposer, trials: int | None, seconds: float | None, what: str) -> bool:
    """Trains candidates until so many are known or the time is over; returns whether the user
    interrupted it.

    Time that was spent on the same before an interruption counts.

    Args:
        run: The session.
        proposer: Of the candidates, the search's or its control's.
        trials: How many are to be known; None for any number.
        seconds: How long it may take in all sessions; None for any time.
        what: The name of the stage, under which its seconds are in the record.
    """
    plan = run.plan
    left = None if trials is None else trials - len(proposer.results)
    before, started = run.record.spent_s.get(what, 0.0), clock.monotonic()
    seconds = None if seconds is None else seconds - before
    if (left is not None and left <= 0) or (seconds is not None and seconds <= 0):
        return False
    known = {index: (result.curve, proposer.candidates[index].costs) for index, result in proposer.results.items()}
    progress = SearchProgress(plan.console, trials, seconds, what, plan.data.chance)
    progress.resumed(len(proposer.results))
    keep = Seldom(run.keep)

    def told() -> None:
        progress.update(proposer)
        if proposer is run.proposer:
            keep()

    folder = run.folder if proposer is run.proposer else run.folder / CONTROL
    searcher = ProposerSearcher(proposer, told, AnswerBook(folder, run.data.labels()))
    with run.phase(what), progress:
        parameters = {"proxy": plan.proxy, "data": run.data, "start": plan.start}
        scheduler = ParetoRungs(plan.lag, known=known)
        place, longest = plan.place(run.folder), plan.settings.trial_timeout
        outcome = run_trials(ProxyTrial, parameters, place, searcher, scheduler, left, seconds, longest)
        if not outcome.interrupted:
            searcher.time_is_over()
    if outcome.slot_seconds:
        run.say(workers_busy(outcome.step_seconds, outcome.slot_seconds))
    took = clock.monotonic() - started
    run.note(
        spent_s={**run.record.spent_s, what: before + took},
        step_s=run.record.step_s + outcome.step_seconds,
        slot_s=run.record.slot_s + outcome.slot_seconds,
    )
    if searcher.device_failed:
        raise NasError(
            f"the last {LOST} trainings lost their process, so the device {plan.device} is taken to have failed; what "
            f"was trained is kept; allowed: nas search --resume {run.folder} on a device that works"
        )
    return outcome.interrupted


def _keep(proposer: Proposer, folder: Path) -> None:
    """Tells the study what it was not told yet, and writes architectures as `_save_architectures`
    does.
    """
    proposer.learn()
    _save_architectures(proposer, folder)


def _save_architectures(proposer: Proposer, folder: Path) -> None:
    """Writes the architectures that have a result and are not there."""
    (folder / "architectures").mkdir(exist_ok=True)
    for index in proposer.results:
        path = folder / "architectures" / f"{index}.yaml"
        if not path.exists():
            proposer.candidates[index].architecture.save(path)


def _counts(proposer: Proposer) -> Counts:
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


def _confirm(run: Session, seconds: float | None) -> bool:
    """Trains the front with further seeds, as many as fit into the time; returns whether the user
    interrupted it.
    """
    plan, folder, settings = run.plan, run.folder, run.plan.settings
    epochs = plan.proxy.recipe.epochs
    # What was measured already and breaks a limit has left the front, and others have taken its
    # place.
    trials = run.trials(measured=True)
    front = front_of(eligible(keeping(trials, plan.budget), plan.data.chance), plan.objectives)
    if not settings.confirm_seeds or front.empty:
        return False
    confirmed = read_confirmations(folder)
    done = set(zip(confirmed["trial"].tolist(), confirmed["repeat"].tolist(), strict=True))
    queue = repeats(front, plan.objectives, settings.confirm_seeds, epochs, done)
    if not queue:
        return False
    takes = expected_seconds(queue, plan.workers)
    total, short = len(queue), seconds is not None and takes > seconds
    kept = f", of which {(seconds or 0) / 60:.1f} min are there: the knee and the most accurate first" if short else ""
    run.say(
        f"Confirming {plural(len(front), 'network')} of the front with "
        f"{plural(settings.confirm_seeds, 'further seed')}: {plural(len(queue), 'training')}, about "
        f"{takes / 60:.1f} min{kept}"
    )
    seed = plan.proxy.recipe.seed

    def assignment(repeat: Repeat) -> Assignment:
        return run.proposer.candidates[repeat.trial].assignment(repeat.seed(seed))

    answers = AnswerBook(folder, run.data.labels())

    def keep(repeat: Repeat, report: Report) -> None:
        append_confirmation(folder, confirmation_of(repeat, repeat.seed(seed), report))
        if report.called:
            answers.add(repeat.trial, repeat.repeat, report.called)

    progress = QueueProgress(plan.console, queue, plan.workers, seconds, "confirming", "confirmed")
    interrupted = _train_queue(run, queue, assignment, seconds, progress, keep)
    if queue and not interrupted:
        run.say(
            f"The time was too short for {len(queue)} of {total} confirmations; nas search --resume {folder} "
            "trains them"
        )
    return interrupted


def _hold_against_baselines(run: Session, seconds: float | None) -> bool:
    """Trains published networks of the size of the pick, as many as fit into the time; returns
    whether the user interrupted it.
    """
    plan, folder, settings = run.plan, run.folder, run.plan.settings
    front = confirmed_front(plan, run.trials(measured=True), read_confirmations(folder))
    if not settings.baseline_names or front.empty:
        return False
    trial = choose(front, DEFAULT_PICK, plan.objectives)
    pick = front[front["trial"] == trial].iloc[0]
    like = run.proposer.candidates[trial].architecture
    with busy(plan.console, "cutting published networks to the multiply-adds of the pick"):
        baselines = cut_to(pick["macs"], settings.baseline_names, like)
    done = {(training.hash, training.repeat) for training in read_trainings(folder)}
    recipe = plan.proxy.recipe
    takes = pick["seconds"] * recipe.epochs / pick["epochs"]
    queue = trainings(baselines, int(pick["seeds"]), recipe.seed, takes, done)
    if not queue:
        return False
    total = len(queue)
    run.say(
        f"Training {plural(len(baselines), 'published network')} with as many multiply-adds as the pick, #{trial}, "
        f"to hold it against them: {plural(total, 'training')}, about "
        f"{expected_seconds(queue, plan.workers) / 60:.1f} min"
    )
    (folder / FOLDER).mkdir(exist_ok=True)
    for baseline in baselines:
        baseline.architecture.save(folder / FOLDER / f"{baseline.name}.yaml")

    def assignment(training: Planned) -> Assignment:
        of_the_pick = run.proposer.candidates[trial].assignment(training.seed)
        return replace(of_the_pick, architecture=training.baseline.architecture.document())

    answers = AnswerBook(folder / FOLDER, run.data.labels())

    def keep(training: Planned, report: Report) -> None:
        append_training(folder, training_of(training, report))
        if report.called:
            answers.add(training.seed, training.repeat, report.called)

    progress = QueueProgress(plan.console, queue, plan.workers, seconds, "published networks", "baseline")
    interrupted = _train_queue(run, queue, assignment, seconds, progress, keep)
    if queue and not interrupted:
        run.say(
            f"The time was too short for {len(queue)} of {total} trainings of published networks; nas search "
            f"--resume {folder} does them"
        )
    return interrupted


def _train_queue(
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

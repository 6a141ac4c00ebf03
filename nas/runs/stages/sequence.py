"""The stages of a run: search, random control, confirmation of the front, published networks beside
the pick, measurement.

A stage is a function of a `Session`. It takes up what is left of it in the run folder and returns
when that is done, so a run that was cut short anywhere goes on from its folder alone. What a stage
finds out it writes with `Session.note` before the next one begins.
"""

from __future__ import annotations

import time as clock
from dataclasses import replace
from pathlib import Path

from nas.data.strips import write_strips
from nas.data.unreadable import UNREADABLE, write_unreadable
from nas.errors import Interrupted, NasError
from nas.limits.gate import Gate
from nas.limits.survey import check_budget
from nas.profiler.measured.device import available_cores
from nas.resources import replacing
from nas.runs.folder.export import BEST, write_picks
from nas.runs.folder.record import (
    BASELINES,
    CONFIRMING,
    GROWING,
    MEASURING,
    PLANNING,
    READING,
    RECORD,
    TRAINING,
    RunRecord,
    read_record,
    workers_busy,
    write_record,
)
from nas.runs.folder.record import CONTROL as RANDOM_CONTROL
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS, write_table
from nas.runs.planning.plan import Plan
from nas.runs.progress.display import SearchProgress
from nas.runs.progress.news import Seldom, announce, busy
from nas.runs.selection.control import CONTROL, CURVES, SEED_OFFSET, curves
from nas.runs.stages.baseline_trainings import hold_against_baselines
from nas.runs.stages.confirm import confirm_front
from nas.runs.stages.measuring import latency_predictor, measure_front, predicted_latency
from nas.runs.stages.session import Session, counts_of, save_architectures
from nas.trials.answers import AnswerBook
from nas.trials.cluster import session
from nas.trials.proposer import LOST, Proposer, ProposerSearcher
from nas.trials.scheduler import ParetoRungs
from nas.trials.trainable import ProxyData, ProxyTrial
from nas.trials.tuning import run_trials
from nas.units import plural


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
    announce(plan.console, f"{plan.describe()}\n  run folder {folder}", "plan", run=str(folder))
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
        run.note(counts=counts_of(proposer), clips=data.sizes())
        confirming = clock.monotonic()
        with run.phase(CONFIRMING):
            interrupted = interrupted or confirm_front(run, seconds)
        # What the confirmation left of its time is for published networks, too.
        left = None if kept is None or seconds is None else kept + max(0.0, seconds - clock.monotonic() + confirming)
    cut_off = Interrupted(
        f"interrupted after {len(trials)} candidates, which are kept; allowed: nas search --resume {folder}"
    )
    if interrupted:
        raise cut_off
    if (trials["state"] == "failed").all():
        reason = trials["error"].iloc[0] if len(trials) else "the time was too short for the first one"
        raise NasError(f"no candidate was trained: {reason}; allowed: nas search --resume {folder} --time 10m")
    with run.phase(MEASURING):
        measure_front(plan, folder, proposer, predictor)
    run.note(front_of=len(trials))
    found = write_picks(folder)
    if settings.baseline_names:
        with session(), run.phase(BASELINES):
            if hold_against_baselines(run, found, left):
                raise cut_off
        return Run(folder)  # with the record as it is now
    return found


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
        # Ray counts as a trial of its own what is tried once more, so others are still to come.
        counted = 0
        while left and len(searcher.reopened) > counted and not (outcome.interrupted or searcher.device_failed):
            left, counted = (trials or 0) - len(proposer.results), len(searcher.reopened)
            time_left = None if seconds is None else seconds - (clock.monotonic() - started)
            if left <= 0 or (time_left is not None and time_left <= 0):
                break
            outcome += run_trials(ProxyTrial, parameters, place, searcher, scheduler, left, time_left, longest)
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
    """Tells the study what it was not told yet, and writes architectures as `save_architectures`
    does.
    """
    proposer.learn()
    save_architectures(proposer, folder)

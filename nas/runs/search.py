"""One search from end to end: plan, propose and train, measure the front, fill the run folder."""

from __future__ import annotations

import json
import time as clock
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from nas.architecture.edits import DEFAULT_EDITS
from nas.errors import Interrupted, NasError
from nas.limits.gate import Gate
from nas.profiler.measured.device import available_cores
from nas.resources import replacing
from nas.runs.confirm import ConfirmSearcher, expected_seconds, repeats
from nas.runs.control import APART, CONTROL, CURVES, curves
from nas.runs.folder import Run
from nas.runs.measuring import latency_predictor, measure_front, measured_latencies, predicted
from nas.runs.plan import Plan, Settings, check_budget
from nas.runs.progress import ConfirmProgress, SearchProgress
from nas.runs.ranking import eligible, front_of, read_confirmations
from nas.runs.record import counts, trials_table, write_settings, write_table
from nas.trials.cluster import session
from nas.trials.proposer import Proposer, ProposerSearcher
from nas.trials.scheduler import ParetoRungs
from nas.trials.trainable import ProxyData, ProxyTrial
from nas.trials.tuning import run_trials
from nas.units import plural


def search(
    space: str | Path = "hybrid",
    budget: str = "100gflops",
    data: str | Path = "motion",
    *,
    around: str | Path | None = None,
    edits: int = DEFAULT_EDITS,
    trials: int | None = None,
    time: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    sampler: str = "pareto",
    device: str = "auto",
    workers: int | None = None,
    gpus_per_trial: float | Literal["auto"] | None = None,
    epochs: int | None = None,
    rung_seconds: float | None = None,
    proxy_frames: int | None = None,
    proxy_size: int | None = None,
    train_clips: int = 512,
    val_clips: int = 256,
    measure_seconds: float = 5.0,
    confirm_seeds: int = 2,
    control: str | None = None,
    address: str | None = None,
    storage: str | None = None,
    reproducible: bool = False,
    quiet: bool = False,
) -> Run:
    """Searches a space for the networks that are worth having under a budget.

    Args:
        space: Name or path of a search space.
        around: Name or path of an architecture: what is within some edits of it is searched, and no
            space.
        edits: How many, 1 to 20: of a layer's operator or ratio, a stage's width or depth each.
        budget: Hard limits at the space's input: `100gflops`, `80..100gflops`, `30ms`, `4gb`,
            `30mparams`, or several with commas.
        data: `motion`, a folder per class, a CSV or a list of videos.
        trials: How many candidates to train.
        time: How many seconds to train, the confirmation and the control included; six and a half
            minutes if neither is given.
        out: The run folder, which must not hold a run yet; `runs/<space>-<data>-<number>` by
            default.
        seed: Of proposals, data and training.
        sampler: pareto, which knows cost, or one of Optuna's: tpe, nsga2, gp or random.
        device: auto, cpu, cuda or cuda:0.
        workers: Trials in parallel.
        gpus_per_trial: Share of a GPU per trial; `auto`: what nine of ten candidates need to train.
        epochs: Of a proxy that is never stopped; by default as many as let the median candidate
            train for 300 giga multiply-adds (15000 on a GPU), 3 to 30.
        rung_seconds: Judge proxies after so many seconds of training and every doubling; by default
            after epochs.
        proxy_frames: Frames of a proxy's clips.
        proxy_size: Height and width of a proxy's clips; by default the smallest that leaves stems a
            map of 4x4 cells.
        train_clips: At most so many training clips per proxy.
        val_clips: At most so many clips to select on, and as many to test on.
        measure_seconds: Time for measuring each network of the front.
        confirm_seeds: With how many further seeds the front is trained again, from 0. A quarter of
            a limited time is kept back for it; what does not fit into that is left out, the knee
            and the most accurate come first.
        control: `random` or `random:SHARE`: this share of the trainings and of the time (a quarter
            unless given) goes to random search behind the same limits, which the search is compared
            with.
        address: Of a running Ray cluster that this machine is a node of, and whose nodes train:
            `auto` or `host:port`.
        storage: Folder or URI that every node of the cluster reaches, for what Ray stores; the run
            folder by default.
        reproducible: The seed decides every candidate with several workers too; they wait for each
            other at times. With one worker it always does.
        quiet: Print nothing.

    Returns:
        The finished run.

    Raises:
        NasError: An argument is not allowed, the data cannot be read, or nothing in the space meets
            the budget.
    """
    settings = Settings(
        space=str(space),
        budget=budget,
        data=str(data),
        trials=trials,
        time=time,
        seed=seed,
        sampler=sampler,
        device=device,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        epochs=epochs,
        rung_seconds=rung_seconds,
        proxy_frames=proxy_frames,
        proxy_size=proxy_size,
        train_clips=train_clips,
        val_clips=val_clips,
        measure_seconds=measure_seconds,
        around=None if around is None else str(around),
        edits=edits,
        confirm_seeds=confirm_seeds,
        control=control,
        address=address,
        storage=storage,
        reproducible=reproducible,
    ).checked()
    plan = Plan.of(settings, Console(quiet=quiet))
    folder = Path(out) if out else _free_folder(plan)
    if (folder / "run.json").exists():
        raise NasError(f"out {str(folder)!r} holds a run already; allowed: a new folder, or --resume {folder}")
    return _run(plan, folder)


def resume(
    path: str | Path,
    *,
    trials: int | None = None,
    time: float | None = None,
    measure_seconds: float | None = None,
    confirm_seeds: int | None = None,
    address: str | None = None,
    storage: str | None = None,
    quiet: bool = False,
) -> Run:
    """Goes on with an interrupted run, or with a finished one when more trials or time are given.

    A search that had come to its end is not prolonged unless one of them is given, but what was
    left to confirm is. What is trained stays the same proxy, whatever machine goes on with it.

    Args:
        path: The run folder.
        trials: Candidates to train in all; as the run was started if neither this nor time is
            given.
        time: Further seconds to train.
        measure_seconds: Time for measuring each network of the front; as the run was started unless
            given.
        confirm_seeds: With how many further seeds the front is trained again; as the run was
            started unless given.
        address: Of a running Ray cluster; as the run was started unless given.
        storage: For what Ray stores; as the run was started unless given.
        quiet: Print nothing.

    Raises:
        NasError: No such run, or its space or data have gone or have other classes.
    """
    known = Run(path).settings
    try:
        proxy, classes = known["proxy"], known["classes"]
        settings = replace(
            Settings(**known["settings"]),
            epochs=int(proxy["epochs"]),
            proxy_frames=int(proxy["frames"]),
            proxy_size=max(map(int, proxy["size"])),
        )
    except (KeyError, TypeError, ValueError):
        raise NasError(f"run {str(path)!r} was written by another version of nas; allowed: a new run") from None
    more = trials is not None or time is not None
    if more:
        settings = replace(settings, trials=trials, time=time)
    given: dict[str, Any] = {
        "measure_seconds": measure_seconds,
        "confirm_seeds": confirm_seeds,
        "address": address,
        "storage": storage,
    }
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    plan = Plan.of(settings.checked(), Console(quiet=quiet), Path(path) / "space.yaml")
    if list(plan.data.classes) != classes:
        raise NasError(
            f"data {settings.data!r} has other classes than run {str(path)!r} began with "
            f"({len(plan.data.classes)}, and {len(classes)} before); allowed: the same classes, or a new run"
        )
    return _run(plan, Path(path), more)


def _free_folder(plan: Plan) -> Path:
    stem = f"{plan.space.name}-{plan.data.name}"
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


def _run(plan: Plan, folder: Path, more: bool = False) -> Run:
    """Trains, measures and writes; a run that is cut short anywhere can be resumed from its folder.

    Args:
        plan: What to do.
        folder: The run folder.
        more: Whether a search that came to its end before goes on.

    Raises:
        NasError: The folder cannot be made, or nothing was trained.
        Interrupted: The user stopped it.
    """
    try:
        (folder / "architectures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(
            f"out {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder in one that can be written to"
        ) from None
    try:
        return _stages(plan, folder, more)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was trained is kept; allowed: nas search --resume {folder}") from None


def _stages(plan: Plan, folder: Path, more: bool) -> Run:
    started = clock.monotonic()
    settings, file = plan.settings, folder / "run.json"
    plan.console.print(f"{plan.describe()}; run folder {folder}", highlight=False)
    with plan.console.status("reading clips"):
        data = ProxyData.read(plan.data, plan.proxy, settings.seed, available_cores())
    with replacing(folder / "space.yaml") as draft:
        plan.space.save(draft)
    facts = json.loads(file.read_text()) if file.exists() else {}
    if more:
        facts |= {"searched": False, "spent_s": {}}
    spent = facts.get("wall_s", 0.0)
    write_settings(plan, folder, facts)
    latency = latency_predictor(plan, folder)
    gate = Gate(plan.space, plan.budget)
    if latency:
        gate = Gate(plan.space, plan.budget, lambda found: {"latency_ms": latency.predict(found).ms})
        check_budget(gate)
    proposer = Proposer(gate, folder, seed=settings.seed, sampler=settings.sampler, lag=plan.lag)
    # Ray is gone before anything is measured.
    with session():
        # Where nothing is searched any more, all of the time is for the confirmation.
        confirmation = settings.time if facts.get("searched") else plan.seconds()[2]
        interrupted = _search(plan, gate, proposer, data, folder, facts)
        trials = trials_table(proposer, predicted(latency))
        write_table(folder / "trials.csv", trials)
        sizes = {"train": data.train, "val": data.val, "test": data.test}
        facts |= {
            "counts": counts(proposer),
            "clips": {name: len(clips.labels) if clips else 0 for name, clips in sizes.items()},
            "wall_s": spent + clock.monotonic() - started,
        }
        write_settings(plan, folder, facts)
        interrupted = interrupted or _confirm(plan, proposer, data, folder, confirmation)
    facts["wall_s"] = spent + clock.monotonic() - started
    write_settings(plan, folder, facts)
    if interrupted:
        raise Interrupted(
            f"interrupted after {len(trials)} candidates, which are kept; allowed: nas search --resume {folder}"
        )
    if (trials["state"] == "failed").all():
        reason = trials["error"].iloc[0] if len(trials) else "the time was too short for the first one"
        raise NasError(f"no candidate was trained: {reason}; allowed: nas search --resume {folder} --time 10m")
    measure_front(plan, folder, proposer, latency)
    facts |= {"wall_s": spent + clock.monotonic() - started, "front_of": len(trials)}
    write_settings(plan, folder, facts)
    return Run(folder)


def _search(plan: Plan, gate: Gate, proposer: Proposer, data: ProxyData, folder: Path, facts: dict[str, Any]) -> bool:
    """Trains candidates, and those of the control; returns whether the user interrupted it."""
    (trials, controls), (seconds, control_seconds, _) = plan.trainings(), plan.seconds()
    searched = facts.get("searched", False)
    interrupted = not searched and _train(plan, proposer, data, folder, facts, trials, seconds)
    _keep(proposer, folder)
    if plan.settings.control is None or not proposer.results:
        facts["searched"] = not interrupted
        return interrupted
    apart = folder / CONTROL
    apart.mkdir(exist_ok=True)
    random = Proposer(gate, apart, seed=plan.settings.seed + APART, sampler="random", lag=plan.lag)
    if not (interrupted or searched):
        interrupted = _train(plan, random, data, folder, facts, controls, control_seconds, "random control")
    _keep(random, apart)
    table = curves(trials_table(proposer), trials_table(random), plan.data.chance)
    write_table(folder / CURVES, table)
    facts["searched"] = not interrupted
    return interrupted


def _keep(proposer: Proposer, folder: Path) -> None:
    """Tells the study what it was not told yet, and writes the architectures that have a result."""
    proposer.learn()
    (folder / "architectures").mkdir(exist_ok=True)
    for index in proposer.results:
        proposer.candidates[index].architecture.save(folder / "architectures" / f"{index}.yaml")


def _confirm(plan: Plan, proposer: Proposer, data: ProxyData, folder: Path, seconds: float | None) -> bool:
    """Trains the front with further seeds, as many as fit into the time; returns whether the user
    interrupted it.
    """
    settings, epochs = plan.settings, plan.proxy.recipe.epochs
    # What was measured already and breaks a limit has left the front, and others have taken its
    # place.
    slow = [i for i, ms in measured_latencies(folder).items() if plan.budget.violation({"latency_ms": ms})]
    trials = trials_table(proposer)
    front = front_of(eligible(trials[~trials["trial"].isin(slow)], plan.data.chance))
    if not settings.confirm_seeds or front.empty:
        return False
    known = read_confirmations(folder)
    done = set(zip(known["trial"].tolist(), known["repeat"].tolist(), strict=True))
    queue = repeats(front, settings.confirm_seeds, epochs, done)
    if not queue:
        return False
    takes = expected_seconds(queue, plan.workers)
    total, short = len(queue), seconds is not None and takes > seconds
    kept = f", of which {(seconds or 0) / 60:.1f} min are there: the knee and the most accurate first" if short else ""
    plan.console.print(
        f"Confirming {plural(len(front), 'network')} of the front with "
        f"{plural(settings.confirm_seeds, 'further seed')}: {plural(len(queue), 'training')}, about "
        f"{takes / 60:.1f} min{kept}",
        highlight=False,
    )
    progress = ConfirmProgress(plan.console, queue, plan.workers, seconds, plan.console.quiet)
    seed = plan.proxy.recipe.seed
    searcher = ConfirmSearcher(proposer, queue, folder, seed, plan.workers, seconds, progress.update)
    # Nobody is judged on the way, so there is one evaluation, at the end.
    proxy = replace(plan.proxy, rungs=(epochs,), rung_seconds=None)
    with progress:
        parameters = {"proxy": proxy, "data": data}
        interrupted = searcher.fits() and run_trials(ProxyTrial, parameters, plan.place(folder), searcher).interrupted
    if queue and not interrupted:
        plan.console.print(
            f"The time was too short for {len(queue)} of {total} confirmations; nas search --resume {folder} "
            "trains them",
            highlight=False,
        )
    return interrupted


def _train(
    plan: Plan,
    proposer: Proposer,
    data: ProxyData,
    folder: Path,
    facts: dict[str, Any],
    trials: int | None,
    seconds: float | None,
    what: str = "training",
) -> bool:
    """Trains candidates until so many are known or the time is over; returns whether the user
    interrupted it.

    Time that was spent on the same before an interruption counts.
    """
    left = None if trials is None else trials - len(proposer.results)
    spent = facts.setdefault("spent_s", {})
    before, started = spent.get(what, 0.0), clock.monotonic()
    seconds = None if seconds is None else seconds - before
    if (left is not None and left <= 0) or (seconds is not None and seconds <= 0):
        return False
    known = {i: (r["curve"], [proposer.candidates[i].cost.macs]) for i, r in proposer.results.items() if "curve" in r}
    progress = SearchProgress(plan.console, trials, seconds, plan.console.quiet, what)
    progress.resumed(len(proposer.results))
    searcher = ProposerSearcher(proposer, lambda: progress.update(proposer))
    with progress:
        parameters = {"proxy": plan.proxy, "data": data}
        scheduler = ParetoRungs(plan.lag, known=known)
        outcome = run_trials(ProxyTrial, parameters, plan.place(folder), searcher, scheduler, left, seconds)
        if not outcome.interrupted:
            searcher.time_is_over()
    spent[what] = before + clock.monotonic() - started
    facts["step_s"] = facts.get("step_s", 0.0) + outcome.step_seconds
    facts["slot_s"] = facts.get("slot_s", 0.0) + outcome.slot_seconds
    busy = 100 * outcome.step_seconds / max(outcome.slot_seconds, 1e-9)
    plan.console.print(f"Workers spent {busy:.0f} % of the time in training steps", highlight=False)
    write_settings(plan, folder, facts)
    return outcome.interrupted

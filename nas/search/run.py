"""One search from end to end: plan, propose and train, measure the front, fill the run folder."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time as clock
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from nas.data.datasets import Clips, Split, load_clips
from nas.errors import NasError
from nas.neighbourhood import DEFAULT_EDITS
from nas.profiler.device import available_cores
from nas.search.gate import Gate
from nas.search.measuring import latency_predictor, measure_front, predicted
from nas.search.plan import DEFAULT_SECONDS, Plan, Settings, check_budget
from nas.search.progress import SearchProgress
from nas.search.proposer import Proposer, ProposerSearcher
from nas.search.record import counts, trials_table, write_settings
from nas.search.run_folder import Run
from nas.search.scheduler import ParetoRungs
from nas.search.trainable import ProxyData, ProxyTrial

CROP_ROOM = 8 / 7  # clips are kept this much larger than the proxy's input, for random crops


class Interrupted(NasError):
    """The user stopped a search; what was trained is kept."""


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
    quiet: bool = False,
) -> Run:
    """Searches a space for the networks that are worth having under a budget.

    Args:
        space: Name or path of a search space.
        around: Name or path of an architecture: what is within some edits of it is searched, and no space.
        edits: How many, 1 to 20: of a layer's operator or ratio, a stage's width or depth each.
        budget: Hard limits at the space's input: `100gflops`, `80..100gflops`, `30ms`, `4gb`, `30mparams`, or several
            with commas.
        data: `motion`, a folder per class, a CSV or a list of videos.
        trials: How many candidates to train.
        time: How many seconds to train; six and a half minutes if neither is given.
        out: The run folder, which must not hold a run yet; `runs/<space>-<data>-<number>` by default.
        seed: Of proposals, data and training.
        sampler: pareto, which knows cost, or one of Optuna's: tpe, nsga2, gp or random.
        device: auto, cpu, cuda or cuda:0.
        workers: Trials in parallel.
        gpus_per_trial: Share of a GPU per trial; `auto`: what nine of ten candidates need to train.
        epochs: Of a proxy that is never stopped; by default as many as let the median candidate train for 300 giga
            multiply-adds (15000 on a GPU), 3 to 30.
        rung_seconds: Judge proxies after so many seconds of training and every doubling; by default after epochs.
        proxy_frames: Frames of a proxy's clips.
        proxy_size: Height and width of a proxy's clips; by default the smallest that leaves stems a map of 4x4 cells.
        train_clips: At most so many training clips per proxy.
        val_clips: At most so many clips to select on, and as many to test on.
        measure_seconds: Time for measuring each network of the front.
        quiet: Print nothing.

    Returns:
        The finished run.

    Raises:
        NasError: An argument is not allowed, the data cannot be read, or nothing in the space meets the budget.
    """
    settings = Settings(
        space=str(space),
        budget=budget,
        data=str(data),
        trials=trials,
        time=DEFAULT_SECONDS if trials is None and time is None else time,
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
    quiet: bool = False,
) -> Run:
    """Goes on with an interrupted run, or with a finished one when more trials or time are given.

    Args:
        path: The run folder.
        trials: Candidates to train in all; as the run was started if neither this nor time is given.
        time: Further seconds to train.
        measure_seconds: Time for measuring each network of the front; as the run was started unless given.
        quiet: Print nothing.

    Raises:
        NasError: No such run, or its space or data have gone.
    """
    settings = Settings(**Run(path).settings["settings"])
    if trials is not None or time is not None:
        settings = replace(settings, trials=trials, time=time)
    if measure_seconds is not None:
        settings = replace(settings, measure_seconds=measure_seconds)
    stored = Path(path) / "space.yaml"
    return _run(Plan.of(settings.checked(), Console(quiet=quiet), stored), Path(path))


def _free_folder(plan: Plan) -> Path:
    stem = f"{plan.space.name}-{plan.data.name}"
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


def _run(plan: Plan, folder: Path) -> Run:
    """Trains, measures and writes; a run that is cut short anywhere can be resumed from its folder."""
    started = clock.monotonic()
    settings, file = plan.settings, folder / "run.json"
    plan.console.print(f"{plan.describe()}; run folder {folder}", highlight=False)
    data = _load(plan)
    (folder / "architectures").mkdir(parents=True, exist_ok=True)
    plan.space.save(folder / "space.yaml")
    facts = json.loads(file.read_text()) if file.exists() else {}
    spent = facts.get("wall_s", 0.0)
    write_settings(plan, folder, facts)
    latency = latency_predictor(plan, folder)
    gate = Gate(plan.space, plan.budget)
    if latency:
        gate = Gate(plan.space, plan.budget, lambda found: {"latency_ms": latency.predict(found).ms})
        check_budget(gate)
    proposer = Proposer(gate, folder, seed=settings.seed, sampler=settings.sampler, lag=plan.lag)
    interrupted = _train(plan, proposer, data)
    proposer.finish()
    for index in proposer.results:
        proposer.candidates[index].architecture.save(folder / "architectures" / f"{index}.yaml")
    trials = trials_table(proposer, predicted(latency))
    trials.to_csv(folder / "trials.csv", index=False)
    sizes = {"train": data.train, "val": data.val, "test": data.test}
    facts |= {
        "counts": counts(proposer),
        "clips": {name: len(clips.labels) if clips else 0 for name, clips in sizes.items()},
        "wall_s": spent + clock.monotonic() - started,
    }
    write_settings(plan, folder, facts)
    if interrupted:
        raise Interrupted(
            f"interrupted after {len(trials)} trained candidates, which are kept; allowed: nas search --resume {folder}"
        )
    if (trials["state"] == "failed").all():
        reason = trials["error"].iloc[0] if len(trials) else "the time was too short for the first one"
        raise NasError(f"no candidate was trained: {reason}; allowed: nas search --resume {folder} --time 10m")
    measure_front(plan, folder, proposer, latency)
    write_settings(plan, folder, facts | {"wall_s": spent + clock.monotonic() - started})
    return Run(folder)


def _load(plan: Plan) -> ProxyData:
    """Decodes the clips of the proxies once, a little larger than their input."""
    proxy, data = plan.proxy, plan.data
    height, width = (int(np.ceil(n * CROP_ROOM)) for n in proxy.size)

    def read(split: Split, limit: int) -> Clips:
        seed, workers = plan.settings.seed, available_cores()
        return load_clips(split, proxy.frames, (height, width), limit=limit, seed=seed, workers=workers)

    with plan.console.status("reading clips"):
        return ProxyData(
            train=read(data.train, proxy.train_clips),
            val=read(data.val, proxy.val_clips),
            test=read(data.test, proxy.val_clips) if data.test else None,
            flip=data.flip,
        )


def _train(plan: Plan, proposer: Proposer, data: ProxyData) -> bool:
    """Runs the trials with Ray Tune; returns whether the user interrupted them."""
    # Read when Ray starts: no usage report, no handler that swallows an interrupt, no log files beside the run.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray
    from ray import tune

    settings, proxy = plan.settings, plan.proxy
    left = None if settings.trials is None else settings.trials - len(proposer.results)
    if left is not None and left <= 0:
        return False
    gpus = plan.gpus_per_trial if plan.device.type == "cuda" else 0.0
    own = not ray.is_initialized()
    if own:
        ray.init(
            num_cpus=plan.workers * proxy.threads,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    known = {i: (r["curve"], [proposer.candidates[i].cost.macs]) for i, r in proposer.results.items() if "curve" in r}
    progress = SearchProgress(plan.console, settings.trials, settings.time, plan.console.quiet)
    progress.resumed(len(proposer.results))
    interrupted = False
    with progress, tempfile.TemporaryDirectory(prefix="nas-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(ProxyTrial, proxy=proxy, data=data), {"cpu": proxy.threads, "gpu": gpus}
            ),
            tune_config=tune.TuneConfig(
                search_alg=ProposerSearcher(proposer, lambda: progress.update(proposer)),
                scheduler=ParetoRungs(known=known),
                num_samples=-1 if left is None else left,
                time_budget_s=settings.time,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="trials", storage_path=scratch, verbose=0),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            interrupted = True
    if own:
        ray.shutdown()
    return interrupted

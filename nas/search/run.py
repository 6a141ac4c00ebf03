"""One search from end to end: check, propose and train, measure the front, write the run folder."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time as clock
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from nas.architecture import Architecture, ArchitectureError
from nas.data.datasets import Clips, VideoData, load_clips, open_data
from nas.errors import NasError
from nas.profiler.cost import cost
from nas.profiler.device import available_cores, device_name, resolve_device
from nas.profiler.measure import Measurement, measure
from nas.search.budget import Budget, budgeted
from nas.search.front import non_dominated
from nas.search.latency_model import LatencyModel
from nas.search.progress import SearchProgress
from nas.search.proposer import SAMPLERS, Candidate, Proposer, ProposerSearcher, Result
from nas.search.run_folder import PICKS, Run, choose
from nas.search.scheduler import ParetoRungs, rungs
from nas.search.survey import nearest
from nas.search.trainable import Proxy, ProxyData, ProxyTrial
from nas.space import SearchSpace
from nas.training.loop import Recipe

DEFAULT_SECONDS = 300.0  # of training, when neither trials nor time are given
SURVEYED = 16  # candidates that say what proxies of the space cost
PROXY_MACS = (300e9, 15000e9)  # multiply-adds to train the median candidate, on a CPU and on a GPU
PROXY_SIDES = (28, 32, 48, 64, 112)  # 28 is 224 / 8, so that maps stay whole windows
PROXY_CELLS = 4  # fewer cells along a side leave nothing to see motion in
CROP_ROOM = 8 / 7  # clips are kept this much larger than the proxy's input, for random crops


@dataclass(frozen=True)
class Settings:
    """What a search was asked for; kept in `run.json`, so that a run can be resumed.

    Attributes:
        space: A space's name or path.
        budget: Limits, such as `100gflops,30ms`.
        data: `motion`, or a path that `nas.data.datasets.open_data` reads.
        trials: How many candidates to train, or None.
        time_s: How many seconds to train, or None.
        seed: Of proposals, data and training.
        sampler: tpe, nsga2 or random.
        device: auto, cpu, cuda or cuda:0.
        workers: Trials in parallel; by default one per CPU core, or as many as fit the GPU's fractions.
        gpus_per_trial: Share of a GPU per trial; 1 by default on a GPU.
        epochs: Of a proxy that is never stopped; by default as many as the proxies' share of computing allows.
        proxy_frames, proxy_size: Input of a proxy.
        train_clips, val_clips: At most so many clips per proxy.
        measure_seconds: Time for measuring each network of the front.
    """

    space: str
    budget: str
    data: str
    trials: int | None
    time_s: float | None
    seed: int
    sampler: str
    device: str
    workers: int | None
    gpus_per_trial: float | None
    epochs: int | None
    proxy_frames: int | None
    proxy_size: int | None
    train_clips: int
    val_clips: int
    measure_seconds: float

    def checked(self) -> Settings:
        """Returns the settings.

        Raises:
            NasError: A number is outside what is allowed, or a name is unknown.
        """
        for name in ("trials", "time_s", "workers", "epochs", "proxy_frames", "proxy_size", "train_clips", "val_clips"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise NasError(f"{name} {value} is not allowed; allowed: numbers above 0")
        if self.gpus_per_trial is not None and not 0 < self.gpus_per_trial <= 1:
            raise NasError(f"gpus_per_trial {self.gpus_per_trial} is not allowed; allowed: above 0, up to 1")
        if self.sampler not in SAMPLERS:
            raise NasError(f"sampler {self.sampler!r} is unknown; allowed: {', '.join(SAMPLERS)}")
        return self


def search(
    space: str | Path = "hybrid",
    budget: str = "100gflops",
    data: str | Path = "motion",
    *,
    trials: int | None = None,
    time: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    sampler: str = "tpe",
    device: str = "auto",
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    epochs: int | None = None,
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
        budget: Hard limits at the space's input: `100gflops`, `80..100gflops`, `30ms`, `4gb`, `30mparams`, or several
            with commas.
        data: `motion`, a folder per class, a CSV or a list of videos.
        trials: How many candidates to train.
        time: How many seconds to train; five minutes if neither is given.
        out: The run folder, which must not hold a run yet; `runs/<space>-<data>-<number>` by default.
        seed: Of proposals, data and training.
        sampler: tpe, nsga2 or random.
        device: auto, cpu, cuda or cuda:0.
        workers: Trials in parallel.
        gpus_per_trial: Share of a GPU per trial.
        epochs: Of a proxy that is never stopped; by default as many as let the median candidate train for 300 giga
            multiply-adds (15000 on a GPU), 3 to 30.
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
        time_s=DEFAULT_SECONDS if trials is None and time is None else time,
        seed=seed,
        sampler=sampler,
        device=device,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        epochs=epochs,
        proxy_frames=proxy_frames,
        proxy_size=proxy_size,
        train_clips=train_clips,
        val_clips=val_clips,
        measure_seconds=measure_seconds,
    ).checked()
    plan = Plan.of(settings, Console(quiet=quiet))
    folder = Path(out) if out else _free_folder(plan)
    if (folder / "run.json").exists():
        raise NasError(f"out {str(folder)!r} holds a run already; allowed: a new folder, or --resume {folder}")
    return _run(plan, folder)


def resume(path: str | Path, *, trials: int | None = None, time: float | None = None, quiet: bool = False) -> Run:
    """Goes on with an interrupted run, or with a finished one when more trials or time are given.

    Args:
        path: The run folder.
        trials: Candidates to train in all; as the run was started if neither this nor time is given.
        time: Further seconds to train.
        quiet: Print nothing.

    Raises:
        NasError: No such run, or its space or data have gone.
    """
    settings = Settings(**Run(path).settings["settings"])
    if trials is not None or time is not None:
        settings = replace(settings, trials=trials, time_s=time)
    stored = Path(path) / "space.yaml"
    return _run(Plan.of(settings.checked(), Console(quiet=quiet), stored), Path(path))


@dataclass(frozen=True)
class Plan:
    """A search whose every argument has been found good, before anything is trained."""

    settings: Settings
    console: Console
    space: SearchSpace
    budget: Budget
    data: VideoData
    device: torch.device
    proxy: Proxy
    workers: int

    @classmethod
    def of(cls, settings: Settings, console: Console, stored: Path | None = None) -> Plan:
        """Reads space, budget and data, and decides what is left to decide.

        Raises:
            NasError: Something is not allowed, or nothing in the space meets the budget.
        """
        budget = Budget.parse(settings.budget)
        space = SearchSpace.load(stored or settings.space)
        device = resolve_device(settings.device)
        data = open_data(settings.data, seed=settings.seed)
        space = SearchSpace(space.with_classes(len(data.classes)).document, Path(settings.space).stem)
        _check_budget(space, budget)
        on_gpu = device.type == "cuda"
        workers = settings.workers or (
            int(torch.cuda.device_count() / (settings.gpus_per_trial or 1)) if on_gpu else available_cores()
        )
        sample = [space.sample(settings.seed + i) for i in range(SURVEYED)]
        frames, size = _proxy_input(sample, settings, on_gpu)
        clips = min(settings.train_clips, len(data.train))
        epochs = settings.epochs or _proxy_epochs(sample, frames * size[0] * size[1], clips, on_gpu)
        proxy = Proxy(
            frames=frames,
            size=size,
            rungs=rungs(epochs),
            train_clips=settings.train_clips,
            val_clips=settings.val_clips,
            recipe=Recipe(epochs=epochs, seed=settings.seed),
            threads=max(1, available_cores() // workers),
            device=device.type,
        )
        return cls(settings, console, space, budget, data, device, proxy, max(1, workers))

    @property
    def lag(self) -> int:
        """How many candidates may be under way; a spare one per worker keeps workers busy while the oldest ends."""
        return 1 if self.workers == 1 else 2 * self.workers


def _proxy_input(sample: list[Architecture], settings: Settings, on_gpu: bool) -> tuple[int, tuple[int, int]]:
    """Frames and size of the proxies: as asked, else the smallest that every sampled stem takes with a useful map."""
    target = sample[0].input
    frames = settings.proxy_frames or min(8, target.frames)
    asked = settings.proxy_size
    error: NasError | None = None
    for side in (asked,) if asked else (PROXY_SIDES[on_gpu:] + target.size):
        size = (min(side, target.size[0]), min(side, target.size[1]))
        try:
            stems = [architecture.resized(frames, size).parts()[0].output for architecture in sample]
        except ArchitectureError as refused:
            error = refused
            continue
        if asked or all(min(stem.height, stem.width) >= PROXY_CELLS for stem in stems if stem.grid):
            return frames, size
    if error:
        raise error
    return frames, target.size


def _proxy_epochs(sample: list[Architecture], pixels: int, clips: int, on_gpu: bool) -> int:
    """Epochs that spend the proxies' share of computing on the median candidate; backward costs twice forward."""
    target = sample[0].input
    median = float(np.median([cost(architecture).macs for architecture in sample]))
    per_epoch = 3 * median * pixels / (target.frames * target.size[0] * target.size[1]) * clips
    return int(np.clip(round(PROXY_MACS[on_gpu] / per_epoch), 3, 30))


def _check_budget(space: SearchSpace, budget: Budget) -> None:
    """Refuses a budget that nothing in the space meets, naming the cheapest candidate and how far it is off."""
    _, figures, violation = nearest(space, budget)
    if violation > 0:
        known = budgeted(figures)
        missed = [limit for limit in budget.limits if limit.metric in known and limit.violation(known[limit.metric])]
        misses = " and ".join(
            f"{_shown(known[limit.metric], limit.metric)}, which misses {limit.text} by "
            f"{100 * limit.violation(known[limit.metric]):.0f} %"
            for limit in missed
        )
        raise NasError(
            f"budget {str(budget)!r} cannot be met in space {space.name!r}: its nearest candidate has {misses}; "
            f"allowed: a limit that includes it"
        )


def _shown(value: float, metric: str) -> str:
    scale, unit = {
        "macs": (1e9, "GFLOPs"),
        "params": (1e6, "M params"),
        "memory_bytes": (1e9, "GB of training memory"),
    }[metric]
    return f"{value / scale:.3g} {unit}"


def _free_folder(plan: Plan) -> Path:
    stem = f"{plan.space.name}-{plan.data.name}"
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


def _run(plan: Plan, folder: Path) -> Run:
    """Trains, measures and writes; a run that is cut short anywhere can be resumed from its folder."""
    started = clock.monotonic()
    console, settings = plan.console, plan.settings
    (folder / "architectures").mkdir(parents=True, exist_ok=True)
    plan.space.save(folder / "space.yaml")
    earlier = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else {}
    _write_settings(plan, folder, earlier)
    console.print(
        f"Searching space [bold]{plan.space.name}[/] ({plan.space.size:.3g} networks) under {plan.budget} on "
        f"{plan.data.describe()}; run folder {folder}",
        highlight=False,
    )
    data = _load(plan)
    latency = _calibrated(plan, folder)
    proposer = Proposer(
        plan.space,
        plan.budget,
        folder,
        seed=settings.seed,
        sampler=settings.sampler,
        lag=plan.lag,
        figures=(lambda c: {"latency_ms": latency.predict(c)}) if latency else (lambda _: {}),
    )
    interrupted = _train(plan, folder, proposer, data)
    proposer.finish()
    for index in proposer.results:
        proposer.candidates[index].architecture.save(folder / "architectures" / f"{index}.yaml")
    trials = _trials(proposer, latency)
    trials.to_csv(folder / "trials.csv", index=False)
    facts = {
        "counts": _counts(proposer),
        "clips": {
            "train": len(data.train.labels),
            "val": len(data.val.labels),
            "test": len(data.test.labels) if data.test else 0,
        },
        "wall_s": earlier.get("wall_s", 0.0) + clock.monotonic() - started,
    }
    _write_settings(plan, folder, {**earlier, **facts})
    if interrupted:
        raise NasError(
            f"interrupted after {len(proposer.results)} trained candidates, which are kept; "
            f"allowed: nas search --resume {folder}"
        )
    if (trials["state"] == "failed").all():
        reasons = [result["error"] for result in proposer.results.values() if result.get("error")]
        raise NasError(
            f"no candidate was trained ({reasons[0] if reasons else 'the time was too short'}); "
            f"allowed: more time or trials, with nas search --resume {folder}"
        )
    _measure_front(plan, folder, proposer, trials)
    _write_settings(plan, folder, {**earlier, **facts, "wall_s": facts["wall_s"] + 0.0})
    return Run(folder)


def _write_settings(plan: Plan, folder: Path, facts: Mapping[str, Any]) -> None:
    settings, target = plan.settings, plan.space.sample(plan.settings.seed).input
    threads = available_cores()
    document = {
        **facts,
        "space": plan.space.name,
        "budget": str(plan.budget),
        "data": settings.data,
        "data_description": plan.data.describe(),
        "classes": list(plan.data.classes),
        "chance": plan.data.chance,
        "proxy": {
            "frames": plan.proxy.frames,
            "size": list(plan.proxy.size),
            "epochs": plan.proxy.recipe.epochs,
            "rungs": list(plan.proxy.rungs),
            "recipe": asdict(plan.proxy.recipe),
        },
        "target": {"frames": target.frames, "size": list(target.size)},
        "trials": settings.trials,
        "time_s": settings.time_s,
        "seed": settings.seed,
        "workers": plan.workers,
        "device": device_name(plan.device, "fp32", 1, threads),
        "objectives": ["accuracy", "macs"],
        "versions": {name: version(name) for name in ("video-nas", "torch", "ray", "optuna")},
        "settings": asdict(settings),
    }
    (folder / "run.json").write_text(json.dumps(document, indent=2) + "\n")


def _load(plan: Plan) -> ProxyData:
    """Decodes the clips of the proxies once, a little larger than their input."""
    proxy, data = plan.proxy, plan.data
    height, width = (int(np.ceil(n * CROP_ROOM)) for n in proxy.size)

    def read(split: str, limit: int) -> Clips:
        source = getattr(data, split)
        return load_clips(
            source, proxy.frames, (height, width), limit=limit, seed=plan.settings.seed, workers=available_cores()
        )

    with plan.console.status("reading clips"):
        return ProxyData(
            train=read("train", proxy.train_clips),
            val=read("val", proxy.val_clips),
            test=read("test", proxy.val_clips) if data.test is not None else None,
            flip=data.flip,
        )


def _calibrated(plan: Plan, folder: Path) -> LatencyModel | None:
    """A latency model from a few measured candidates, where the budget limits latency; kept for a resumed run."""
    if "latency_ms" not in plan.budget.metrics():
        return None
    stored = folder / "calibration.json"
    if not stored.exists():
        rng = np.random.default_rng(plan.settings.seed)
        drawn = sorted(
            (plan.space.decode(plan.space.sample_params(rng)) for _ in range(32)), key=lambda a: cost(a).macs
        )
        chosen = [drawn[i] for i in np.linspace(0, len(drawn) - 1, 6).astype(int)]
        rows = [
            {
                "architecture": architecture.document(),
                "latency_ms": measure(
                    architecture, str(plan.device), max_seconds=plan.settings.measure_seconds
                ).latency_ms.median,
            }
            for architecture in track(chosen, "measuring six candidates", console=plan.console)
        ]
        stored.write_text(json.dumps(rows))
    rows = json.loads(stored.read_text())
    return LatencyModel.fit(
        [cost(Architecture.parse(row["architecture"])) for row in rows], [row["latency_ms"] for row in rows]
    )


def _train(plan: Plan, folder: Path, proposer: Proposer, data: ProxyData) -> bool:
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
    gpus = (settings.gpus_per_trial or 1.0) if plan.device.type == "cuda" else 0.0
    own = not ray.is_initialized()
    if own:
        ray.init(
            num_cpus=plan.workers * proxy.threads,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    known = {i: (r["curve"], proposer.candidates[i].cost.macs) for i, r in proposer.results.items() if "curve" in r}
    progress = SearchProgress(plan.console, settings.trials, settings.time_s, plan.console.quiet)
    progress.resumed(len(proposer.results))
    interrupted = False
    with progress, tempfile.TemporaryDirectory(prefix="nas-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(ProxyTrial, proxy=proxy, data=data), {"cpu": proxy.threads, "gpu": gpus}
            ),
            tune_config=tune.TuneConfig(
                search_alg=ProposerSearcher(proposer, lambda: progress.update(proposer)),
                scheduler=ParetoRungs(plan.lag, known=known),
                num_samples=-1 if left is None else left,
                time_budget_s=settings.time_s,
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


def _counts(proposer: Proposer) -> dict[str, int]:
    states = [result["state"] for result in proposer.results.values()]
    return {
        "proposed": proposer.proposed,
        "rejected": proposer.rejected,
        "duplicates": proposer.duplicates,
        "trained": len(states) - states.count("failed"),
        "stopped_early": states.count("stopped"),
        "failed": states.count("failed"),
    }


def _row(candidate: Candidate, result: Result, latency: LatencyModel | None) -> dict[str, Any]:
    architecture, figures = candidate.architecture, candidate.cost
    return {
        "trial": candidate.index,
        "state": result["state"],
        "accuracy": result.get("accuracy"),
        "test_accuracy": result.get("test_accuracy"),
        "epochs": result.get("epochs"),
        "seconds": result.get("seconds"),
        "macs": figures.macs,
        "params": figures.params,
        "activation_bytes": figures.activation_bytes,
        "latency_ms_predicted": latency.predict(figures) if latency else None,
        "operators": " ".join(f"{op}*{n}" for op, n in architecture.operators.items()),
        "hash": architecture.hash,
    }


def _trials(proposer: Proposer, latency: LatencyModel | None) -> pd.DataFrame:
    rows = [_row(proposer.candidates[i], proposer.results[i], latency) for i in sorted(proposer.results)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS = (
    "trial",
    "state",
    "accuracy",
    "test_accuracy",
    "epochs",
    "seconds",
    "macs",
    "params",
    "activation_bytes",
    "latency_ms_predicted",
    "operators",
    "hash",
)


def _measure_front(plan: Plan, folder: Path, proposer: Proposer, trials: pd.DataFrame) -> None:
    """Measures the front with nothing else running, until every network on it keeps the limits as measured.

    Writes `front.csv`, `trials.csv` with latencies predicted from what was measured, `measurements.json`, `best.yaml`.
    """
    measured: dict[int, Measurement] = {}
    open_trials = trials[trials["state"] != "failed"]
    while True:
        mask = non_dominated(open_trials[["accuracy", "macs"]].to_numpy(), (True, False))
        front = open_trials[mask].sort_values("macs")
        missing = [int(i) for i in front["trial"] if int(i) not in measured]
        for index in track(missing, "measuring the front", console=plan.console, disable=plan.console.quiet):
            measured[index] = measure(
                proposer.candidates[index].architecture, str(plan.device), max_seconds=plan.settings.measure_seconds
            )
        slow = [
            i for i in front["trial"] if plan.budget.violation({"latency_ms": measured[int(i)].latency_ms.median}) > 0
        ]
        if not slow:
            break
        open_trials = open_trials[~open_trials["trial"].isin(slow)]
        if open_trials.empty:
            raise NasError(
                f"none of the trained candidates keeps {plan.budget} as measured; allowed: a wider limit, or more "
                f"trials with nas search --resume {folder}"
            )
    indices = list(measured)
    model = LatencyModel.fit(
        [proposer.candidates[i].cost for i in indices], [measured[i].latency_ms.median for i in indices]
    )
    table = _trials(proposer, model)
    front = table[table["trial"].isin(front["trial"])].sort_values("macs")
    taken = [measured[int(i)] for i in front["trial"]]
    front = front.assign(
        latency_ms=[m.latency_ms.median for m in taken],
        latency_iqr_ms=pd.array([m.latency_ms.iqr for m in taken], dtype="Float64"),
        latency_p95_ms=pd.array([m.latency_ms.p95 for m in taken], dtype="Float64"),
        peak_memory_bytes=[m.peak_memory_bytes for m in taken],
    )
    picks = {pick: choose(front, pick) for pick in PICKS}
    front["pick"] = [",".join(p for p, trial in picks.items() if trial == i) for i in front["trial"]]
    table.to_csv(folder / "trials.csv", index=False)
    front.to_csv(folder / "front.csv", index=False)
    (folder / "measurements.json").write_text(
        json.dumps({i: m.to_dict() for i, m in sorted(measured.items())}, indent=2) + "\n"
    )
    proposer.candidates[picks["accuracy"]].architecture.save(folder / "best.yaml")

"""A live search against random search of the same wall time."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

import nas
from nas.pareto.front import hypervolume, non_dominated
from nas.runs.folder.run import Run
from nas.trials.results import STUDY
from video.page import markdown, publish
from video.table import CLASSES, DATA, HERE, SPACE

FOLDER = HERE.parent / "runs" / "search_video_live"
BUDGET, MOST_MACS = "5gflops", 5e9
FIGURES = ("trained", "finished", "minutes", "hypervolume", "of finished", "on test", "best", "its test")


def searched(folder: Path, sampler: str, seed: int, options: argparse.Namespace, seconds: float | None) -> Run:
    """The run of a folder, begun anew unless it has been finished: a wall time has no pauses."""
    if (folder / "front.csv").exists():
        return Run(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return nas.search(
        SPACE,
        BUDGET,
        DATA / "nagoya_fir16" / "mp4.csv",
        trials=options.trials if seconds is None else None,
        time=seconds,
        out=folder,
        seed=seed,
        sampler=sampler,
        device="cpu",
        workers=options.workers,
        measure_seconds=0.1,
        confirm_seeds=0,
    )


def training_seconds(folder: Path) -> float:
    """From the first proposal until the last result was known."""
    path = str(folder / STUDY)
    storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    trials = optuna.load_study(study_name="nas", storage=storage).get_trials(deepcopy=False)
    starts = [trial.datetime_start for trial in trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    return (max(ends) - min(starts)).total_seconds()


def volume(trials: pd.DataFrame, accuracy: str = "accuracy") -> float:
    """Accuracy above chance times decades of multiply-adds below the budget."""
    points = np.column_stack([trials[accuracy], np.log10(trials["macs"])])
    return hypervolume(points, [1 / CLASSES, np.log10(MOST_MACS)], [True, False])


def figures(run: Run) -> list[float]:
    """What `FIGURES` names; the test accuracies are of the front by validation, and of its best."""
    trials = run.trials[run.trials["state"] != "failed"]
    finished = trials[trials["state"] == "finished"]
    points = np.column_stack([trials["accuracy"], np.log10(trials["macs"])])
    front, best = trials[non_dominated(points, [True, False])], trials.iloc[trials["accuracy"].argmax()]
    volumes = [volume(trials), volume(finished), volume(front, "test_accuracy")]
    counts = [len(trials), len(finished), training_seconds(run.path) / 60]
    return [*counts, *volumes, best["accuracy"], best["test_accuracy"]]


def live(options: argparse.Namespace) -> None:
    """Searches, and prints what was found by both samplers."""
    found: dict[str, list[list[float]]] = {"pareto": [], "random": []}
    for seed in range(options.seeds):
        folders = {sampler: options.runs / f"{sampler}-{options.trials}-{seed}" for sampler in found}
        found["pareto"].append(figures(searched(folders["pareto"], "pareto", seed, options, None)))
        seconds = training_seconds(folders["pareto"])
        found["random"].append(figures(searched(folders["random"], "random", seed, options, seconds)))
    lines = [
        [f"{sampler}, seed {seed}", *_shown(row)] for sampler, rows in found.items() for seed, row in enumerate(rows)
    ]
    lines += [[f"{sampler}, mean", *_shown(list(np.mean(rows, 0)))] for sampler, rows in found.items()]
    gain = np.array(found["pareto"]) - np.array(found["random"])
    if options.seeds > 1:
        errors = gain.std(0, ddof=1) / np.sqrt(len(gain))
        cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(gain.mean(0)[3:], errors[3:], strict=True)]
        lines.append(["difference, ± its standard error", "", "", "", *cells])
    note = (
        f"`nas search {SPACE} --budget {BUDGET}` on nagoya_fir16/mp4.csv: {options.trials} trials with sampler pareto, "
        "then sampler random for the same time, behind the same gate and rungs. Hypervolume: accuracy above chance "
        "times decades of multiply-adds below the budget; a network that was stopped counts with the accuracy it had. "
        "Minutes are from the first proposal to the last result."
    )
    publish(options, "live", f"{note}\n\n{markdown(['run', *FIGURES], lines)}")


def _shown(row: list[float]) -> list[str]:
    trained, finished, minutes, *others = row
    return [f"{trained:.0f}", f"{finished:.0f}", f"{minutes:.1f}", *(f"{value:.3f}" for value in others)]

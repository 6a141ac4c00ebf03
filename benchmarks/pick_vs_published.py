"""The pick of a search beside published networks cut to the same limit, and beside the pick of a
random search.

    OMP_NUM_THREADS=1 nice python benchmarks/pick_vs_published.py [--out runs/pick] [--only WORDS]
    python benchmarks/pick_vs_published.py --dry-run    # what is left, and how long it takes
    python benchmarks/pick_vs_published.py --table      # writes docs/results/pick_vs_published.md

A cell is a data set under a limit of multiply-adds: two days of nagoya_fir16, each held out in turn
(`benchmarks/nagoya.py`), and `motion`, all in clips of 16 frames of 16x16 pixels. In each:

- **Searches**: `nas search` on `benchmarks/nagoya/space.yaml`, which never sees what is reported on
  (of a day it sees the three others, of `motion` the training and validation clips), with its
  default sampler and with `--sampler random`, else alike. What takes ten minutes on two quiet cores
  is given as a number of trainings, and they train one at a time, so that the load of the machine
  changes nothing; both come to about as many multiply-adds. The pick is the default one: the most
  accurate after confirmation.
- **Published networks**: brought to these clips (`nas.architecture.scaling.suited`) and cut to the
  limit (`nas.scaled`); the plain network of `benchmarks/nagoya/plain.yaml` likewise.
- **Trainings**: all by one recipe, from scratch, for the same time on this machine: as many steps
  as take the time of a fixed number of steps of the plain network, both timed in turn before the
  training, so that a busy neighbour slows both. What is reported is the accuracy of the last
  weights (their moving average) on the day held out, or on the test clips.

Breadth comes first: the cells with one seed, then again with the next. A row is written to the two
tables beside this script as soon as a training or a search ends, and what has a row is not done
again; what was killed begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from images import cell
from nagoya import SIDE, NagoyaSource, append_row, rows_of
from video.page import markdown, publish

import nas
from nas.architecture import Architecture, load
from nas.architecture.scaling import suited
from nas.data import datasets
from nas.data.clips import Clips
from nas.data.datasets import open_data
from nas.models.network import build
from nas.runs.folder.confirmations import read_confirmations
from nas.runs.folder.run import Run
from nas.trained.folder import load_model
from nas.trained.moment import Say, Show
from nas.trained.outcome import TEST, VALIDATION
from nas.trained.plan import Plan, TrainSettings
from nas.trained.stopping import stop_signals
from nas.trained.train import LAST, Session, train
from nas.training.loop import Training
from nas.units import plural

HERE = Path(__file__).resolve().parent
PLAIN_FILE = HERE / "nagoya" / "plain.yaml"
TRAININGS, SEARCHES = HERE / "pick_vs_published.csv", HERE / "pick_vs_published_searches.csv"
PAGE = HERE.parent / "docs" / "results" / "pick_vs_published.md"
FRAMES = 16
SEEDS = (0, 1)
PLAIN_STEPS = 800  # that take the time of every training: about 100 s of a quiet core
TRAINING_SECONDS, SEARCH_SECONDS = 100, 1200  # of a quiet core, for the estimate
TRAINING_FIELDS = ("data", "limit", "network", "seed", "accuracy", "clips", "gmacs", "params", "steps", "cpu_seconds")
SEARCH_FIELDS = ("data", "limit", "sampler", "accuracy", "trained", "tmacs", "wall_seconds", "pick")
FAMILIES = {
    "x3d": "x3d_m",
    "e3d": "e3d_s",
    "vov3d": "vov3d_m",
    "r2plus1d": "r2plus1d_18",
    "t2d": "t2d_b16",
    "tps": "pst_t",
    "tubevit": "tubevit_b",
    "timesformer": "timesformer_b",
}
PLAIN = "plain"
PICKS = {"found": "pareto", "found at random": "random"}  # by the sampler that found them


@dataclass(frozen=True)
class Task:
    """Data of which a part is never seen by a search.

    Attributes:
        search: What it sees.
        recipe: How networks are trained.
        resize: (height, width) that frames are resized to before the crop; 8/7 of the input unless
            given.
    """

    search: str
    recipe: Path
    resize: tuple[int, int] | None = None


SHORT = HERE / "nagoya" / "short_recipe.yaml"
TASKS = {
    "nagoya:20170206": Task("nagoya-search:20170206", SHORT, (SIDE, SIDE)),
    "motion": Task("motion", HERE / "motion_recipe.yaml"),
    "nagoya:20170210": Task("nagoya-search:20170210", SHORT, (SIDE, SIDE)),
}
# Trainings that come to about ten minutes of two quiet cores, the confirmation included. Those of
# both samplers come to as many multiply-adds; the table has them, and the seconds.
EPOCHS = 6
SEARCH = {"100mflops": 80, "40mflops": 140}


@dataclass(frozen=True)
class Job:
    """A search, where it has no seed, or a training."""

    data: str
    limit: str
    network: str
    seed: int | None

    @property
    def label(self) -> str:
        """As `--only` and the output have it."""
        name = f"search {PICKS[self.network]}" if self.seed is None else f"{self.network}, seed {self.seed}"
        return f"{self.data}, {self.limit}: {name}"

    @property
    def seconds(self) -> int:
        """Of a quiet core."""
        return SEARCH_SECONDS if self.seed is None else TRAINING_SECONDS


def jobs() -> list[Job]:
    """All, in order: the cells under the larger limit, those under the smaller one, then all again
    with the next seed; searches come first in their cell.
    """
    found = []
    for seed, limit, data in product(SEEDS, SEARCH, TASKS):
        if seed == SEEDS[0]:
            found += [Job(data, limit, network, None) for network in PICKS]
        found += [Job(data, limit, network, seed) for network in (*PICKS, *FAMILIES, PLAIN)]
    return found


def done(trainings: Sequence[Mapping[str, str]], searches: Sequence[Mapping[str, str]]) -> set[Job]:
    """What has a row."""
    networks = {sampler: network for network, sampler in PICKS.items()}
    return {Job(row["data"], row["limit"], row["network"], int(row["seed"])) for row in trainings} | {
        Job(row["data"], row["limit"], networks[row["sampler"]], None) for row in searches
    }


def published(network: str, limit: str, classes: int) -> Architecture:
    """A family, or the plain network, for these clips and under a limit."""
    base = load(PLAIN_FILE if network == PLAIN else FAMILIES[network])
    return nas.scaled(suited(base, FRAMES, (SIDE, SIDE), classes), limit)


def searched(job: Job, folder: Path, effort: Mapping[str, Any]) -> dict[str, object]:
    """Searches; the pick and what the search took.

    Multiply-adds are those of all trainings, forward and backward: seconds would say how busy the
    machine was.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run = nas.search(
        HERE / "nagoya" / "space.yaml",
        job.limit,
        TASKS[job.data].search,
        out=folder,
        sampler=PICKS[job.network],
        workers=1,
        device="cpu",
        proxy_frames=FRAMES,
        proxy_size=SIDE,
        measure_seconds=0.1,
        baselines="none",
        quiet=True,
        **effort,
    )
    return {
        "data": job.data,
        "limit": job.limit,
        "sampler": PICKS[job.network],
        "accuracy": run.row(run.pick_trial())["accuracy"],
        "trained": run.record.counts.trained if run.record.counts else len(run.trials),
        "tmacs": round(training_macs(run) / 1e12, 2),
        "wall_seconds": round(run.record.wall_s or 0),
        "pick": json.dumps(run.pick().document()),
    }


def training_macs(run: Run) -> float:
    """Multiply-adds of all trainings of a search and its confirmation, forward and backward."""
    assert run.record.clips is not None
    trials, further = run.trials.set_index("trial"), read_confirmations(run.path)
    epochs = trials["epochs"].fillna(0).add(further.groupby("trial")["epochs"].sum(), fill_value=0)
    return float(3 * run.record.clips["train"] * (epochs * trials["macs"]).sum())


def trained(job: Job, made: Architecture, folder: Path, plain_steps: int) -> dict[str, object]:
    """Trains a network for the time of so many steps of the plain one."""
    assert job.seed is not None
    shutil.rmtree(folder, ignore_errors=True)
    task, busy = TASKS[job.data], time.process_time()
    settings = TrainSettings(
        data=job.data,
        out=str(folder),
        recipe=str(task.recipe),
        resize=task.resize,
        seed=job.seed,
        device="cpu",
        threads=1,
        source=(job.network, None, None),
    )
    steps = 0

    def for_that_time(plan: Plan, folder: Path, show: Show, say: Say) -> None:
        nonlocal steps
        session = Session(plan, folder, say)
        steps = session.training.total_steps = max(1, round(plain_steps / relative_step(plan, session.train_clips)))
        with stop_signals() as stopped:
            session.run(show, stopped)

    train(Plan.of(settings, made), say=lambda text: None, run=for_that_time)
    figures = load_model(folder / LAST, "cpu").record.figures
    figure, priced = figures.get(TEST) or figures[VALIDATION], nas.cost(made)
    return {
        "data": job.data,
        "limit": job.limit,
        "network": job.network,
        "seed": job.seed,
        "accuracy": figure.value,
        "clips": figure.clips,
        "gmacs": priced.macs / 1e9,
        "params": priced.params,
        "steps": steps,
        "cpu_seconds": round(time.process_time() - busy),
    }


def relative_step(plan: Plan, clips: Clips, turns: int = 7) -> float:
    """Time of a training step of the plan's network in those of the plain one: the median over
    turns in which both take one. It leaves no trace in torch's random numbers.
    """
    plain = suited(load(PLAIN_FILE), FRAMES, (SIDE, SIDE), len(plan.data.classes))
    with torch.random.fork_rng([]):
        both = [
            Training(
                build(made), clips, plan.preprocessing.size, plan.recipe, plan.data.flip, plan.device, plan.micro_batch
            )
            for made in (plan.architecture, plain)
        ]
        turn = [[step_seconds(training) for training in both] for _ in range(1 + turns)]
    return median(own / of_plain for own, of_plain in turn[1:])  # the first ones allocate memory


def step_seconds(training: Training) -> float:
    """CPU seconds of a training step."""
    started = time.process_time()
    training.step()
    return time.process_time() - started


def standard_error(values: Sequence[float]) -> float | None:
    """That of a mean; None of a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def text_of(mean: float, error: float | None, sign: str = "") -> str:
    """A mean with its standard error; the sign `+` is for differences."""
    return f"{mean:{sign}.1f}" + ("" if error is None else f" ± {error:.1f}")


Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Difference:
    """The pick less something, in a cell.

    Attributes:
        points: Of the means over the seeds that both have, in percentage points.
        error: Standard error of that mean over the seeds, or None of one.
        name: Of what it is held against.
        share: Multiply-adds of the pick, of its.
    """

    points: float
    error: float | None
    name: str
    share: float


def difference(rows: Rows, data: str, limit: str, others: Sequence[str]) -> Difference | None:
    """The pick less the best of others, the one with the highest mean over its seeds; None where
    one is missing.
    """
    scored = {
        network: {
            row["seed"]: row for row in rows if (row["data"], row["limit"], row["network"]) == (data, limit, network)
        }
        for network in (*others, "found")
    }
    if not all(scored.values()):
        return None
    best = max(others, key=lambda network: np.mean([float(row["accuracy"]) for row in scored[network].values()]))
    found, other = scored["found"], scored[best]
    gains = [100 * (float(found[seed]["accuracy"]) - float(other[seed]["accuracy"])) for seed in found if seed in other]
    if not gains:
        return None
    share = float(next(iter(found.values()))["gmacs"]) / float(next(iter(other.values()))["gmacs"])
    return Difference(float(np.mean(gains)), standard_error(gains), best, share)


def table(trainings: Rows, searches: Rows) -> str:
    """What there is, in Markdown, and what is missing."""
    every = jobs()
    left = [job for job in every if job not in done(trainings, searches)]
    missing = "nothing is missing." if not left else f"missing are {spelled(left)}."
    text = [
        f"{len(every) - len(left)} of {len(every)} searches and trainings are done; {missing}",
        "Accuracy in per cent and differences in points, mean and standard error over seeds.",
    ]
    others = (*FAMILIES, PLAIN)
    against = {"the best of the others": others, "the pick found at random": ("found at random",)}
    gains: dict[str, list[float]] = {name: [] for name in against}
    comparison = []
    for limit, data in product(SEARCH, TASKS):
        line = [f"{data}, {limit}"]
        for name, networks in against.items():
            found = difference(trainings, data, limit, networks)
            if found is None:
                line += ["-", "-"]
                continue
            gains[name].append(found.points)
            beside = f"{found.name}, " if len(networks) > 1 else ""
            line += [text_of(found.points, found.error, "+"), f"{beside}{found.share:.2f}"]
        comparison.append(line)
    means = []
    for points in gains.values():
        mean = text_of(float(np.mean(points)), standard_error(points), "+") if points else "-"
        means += [mean, plural(len(points), "cell")]
    comparison.append(["mean over cells", *means])
    header = ["cell", "pick less the best of the others", "which, and multiply-adds of the pick in its"]
    header += ["pick less that of random search", "multiply-adds in its"]
    text.append(markdown(header, comparison))
    for limit, data in product(SEARCH, TASKS):
        rows = [row for row in trainings if (row["data"], row["limit"]) == (data, limit)]
        if rows:
            text += [f"### {data} under {limit}", markdown(*cell_table(rows))]
    if searches:
        lines = [
            [
                f"{row['data']}, {row['limit']}",
                *(row[field] for field in ("sampler", "trained", "tmacs", "wall_seconds")),
                f"{100 * float(row['accuracy']):.1f}",
            ]
            for row in searches
        ]
        header = ["search", "sampler", "networks trained", "10^12 multiply-adds", "seconds", "pick on its own proxies"]
        text += ["### Searches", markdown(header, lines)]
    return "\n\n".join(text)


def spelled(left: Sequence[Job]) -> str:
    """What is left, counted by cell."""
    cells = []
    for limit, data in product(SEARCH, TASKS):
        own = [job for job in left if (job.data, job.limit) == (data, limit)]
        trainings = sum(job.seed is not None for job in own)
        searches = len(own) - trainings
        counts = [f"{searches} search{'es' * (searches > 1)}"] * (searches > 0)
        counts += [plural(trainings, "training")] * (trainings > 0)
        if own:
            cells.append(f"{' and '.join(counts)} of {data} under {limit}")
    return ", ".join(cells)


def cell_table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a cell, the most accurate network first."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        figures = [f"{1000 * float(own[0]['gmacs']):.1f}", f"{int(own[0]['params']):,}".replace(",", " ")]
        figures += [", ".join(row["steps"] for row in own), ", ".join(row["cpu_seconds"] for row in own)]
        mean = np.mean([float(row["accuracy"]) for row in own])
        lines.append((mean, [network, cell(own, "accuracy"), str(len(own)), *figures]))
    header = ["network", "accuracy", "seeds", "10^6 multiply-adds", "parameters", "steps", "CPU s"]
    return header, [line for _, line in sorted(lines, key=lambda pair: -pair[0])]


def pick(searches: Rows, job: Job) -> Architecture:
    """What the search of a training's cell found.

    Raises:
        NasError: It has no row.
    """
    for row in searches:
        if (row["data"], row["limit"], row["sampler"]) == (job.data, job.limit, PICKS[job.network]):
            return Architecture.parse(json.loads(row["pick"]))
    raise nas.NasError(f"the search of {job.label!r} has no row; allowed: trainings of a pick behind its search")


def left_of(words: Sequence[str], trainings: Rows, searches: Rows) -> list[Job]:
    """What has no row, of what has all the words in its label."""
    known = done(trainings, searches)
    return [job for job in jobs() if job not in known and all(word in job.label for word in words)]


def estimate(left: Sequence[Job]) -> Iterator[str]:
    """What is to be done, and how long it takes."""
    for job in left:
        yield f"{job.seconds:>5} s  {job.label}"
    yield f"{len(left)} of {len(jobs())}: {sum(job.seconds for job in left) / 3600:.1f} hours of a quiet core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pick"), help="folder of searches and trainings")
    parser.add_argument("--rows", type=Path, default=HERE, help="folder of the two tables")
    parser.add_argument("--only", nargs="+", default=[], help="words of a label, such as motion 40mflops found")
    parser.add_argument("--dry-run", action="store_true", help="print what is left and how long it takes")
    parser.add_argument("--table", type=Path, nargs="?", const=PAGE, help="write what is there into a page")
    parser.add_argument("--plain-steps", type=int, default=PLAIN_STEPS, help="of every training; fewer to try it out")
    parser.add_argument("--trials", type=int, help="of every search; fewer to try it out")
    asked = parser.parse_args()
    files = asked.rows / TRAININGS.name, asked.rows / SEARCHES.name
    left = left_of(asked.only, *map(rows_of, files))
    if asked.dry_run:
        print("\n".join(estimate(left)))
        return
    if asked.table is not None:
        publish(argparse.Namespace(page=asked.table), "rows", table(*map(rows_of, files)))
        return
    datasets.SOURCES = (NagoyaSource(), *datasets.SOURCES)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # a search gives a training all cores that it sees
    asked.out.mkdir(parents=True, exist_ok=True)
    for job in left:
        folder = asked.out / job.label.replace(", ", "-").replace(": ", "-").replace(" ", "-").replace(":", "-")
        if job.seed is None:
            effort = {"epochs": EPOCHS, "trials": asked.trials or SEARCH[job.limit]}
            append_row(files[1], SEARCH_FIELDS, searched(job, folder, effort))
        else:
            classes = len(open_data(job.data, seed=job.seed).classes)
            made = pick(rows_of(files[1]), job) if job.network in PICKS else published(job.network, job.limit, classes)
            append_row(files[0], TRAINING_FIELDS, trained(job, made, folder, asked.plain_steps))
    print(table(*map(rows_of, files)))


if __name__ == "__main__":
    main()

"""Which published networks are trained beside the pick, in which size and order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from nas.architecture import Architecture, ArchitectureError, load
from nas.architecture.scaling import largest, suited
from nas.profiler.computed.cost import cost
from nas.runs.folder.baselines import FOLDER, BaselineTraining, append_training, read_trainings
from nas.runs.folder.run import Run
from nas.runs.progress.display import QueueProgress
from nas.runs.progress.news import busy
from nas.runs.stages.confirm import OVERHEAD
from nas.runs.stages.session import Session, train_queue
from nas.trials.answers import AnswerBook
from nas.trials.queue import expected_seconds
from nas.trials.results import Assignment, Report
from nas.units import plural

SEED_OFFSET = 500_000  # of their seeds, beside those of candidates and of their repetitions


@dataclass(frozen=True)
class Baseline:
    """A published network in the size of the pick.

    Attributes:
        name: As `nas list` has it.
        architecture: At the input of the search, with the classes of the data.
        macs: Multiply-adds of a clip.
        params: Parameters.
        share: Its parameters, of those of the whole network.
    """

    name: str
    architecture: Architecture
    macs: int
    params: int
    share: float


@dataclass(frozen=True)
class Planned:
    """A training that is to be done.

    Attributes:
        baseline: Of what.
        repeat: 0, 1, 2, ... for its seeds.
        seed: Of the training.
        seconds: How long it is expected to take.
    """

    baseline: Baseline
    repeat: int
    seed: int
    seconds: float

    @property
    def label(self) -> str:
        """What it is of, for lines of progress."""
        return f"{self.baseline.name} seed {self.repeat + 1}"

    @property
    def figures(self) -> dict[str, Any]:
        """The same for events."""
        return {"baseline": self.baseline.name, "repeat": self.repeat}


def cut_to(
    macs: float, names: Sequence[str], like: Architecture, proxy: tuple[int, tuple[int, int]]
) -> tuple[list[Baseline], dict[str, str]]:
    """Returns published networks with as much of their width and depth as a number of multiply-adds
    allows, and why there is none, by name: its least is too much, or it cannot take the clips.

    Args:
        macs: Multiply-adds of a clip, at the input of the search.
        names: Of published networks.
        like: A network with the input and the classes of the search.
        proxy: Frames and size of the clips that they are trained on.
    """
    found, left_out = [], {}
    for name in names:
        try:
            base = suited(load(name), like.input.frames, like.input.size, like.num_classes)
            base.resized(*proxy)
        except ArchitectureError as error:
            left_out[name] = str(error)
            continue
        cut = largest(base, lambda network: cost(network).macs <= macs)
        if cut is None:
            left_out[name] = "its smallest cut has more multiply-adds"
            continue
        priced = cost(cut)
        found.append(Baseline(name, cut, priced.macs, priced.params, priced.params / cost(base).params))
    return found, left_out


def trainings(
    baselines: Sequence[Baseline], seeds: int, seed: int, seconds: float, done: Collection[tuple[str, int]] = ()
) -> list[Planned]:
    """The trainings of baselines, in the order in which they count: each with its first seed, then
    each with the next.

    Args:
        baselines: What to train.
        seeds: How many of each.
        seed: Of the search.
        seconds: That a whole training of the pick took.
        done: (hash, repeat) of those that are known.
    """
    return [
        Planned(baseline, repeat, seed + SEED_OFFSET + repeat, OVERHEAD * seconds)
        for repeat in range(seeds)
        for baseline in baselines
        if (baseline.architecture.hash, repeat) not in done
    ]


def training_of(planned: Planned, report: Report, number: int, pick: str) -> BaselineTraining:
    """What is written down of a training that came to its end, with an accuracy.

    Args:
        planned: The training.
        report: What came of it.
        number: Its number in the run.
        pick: Hash of the pick.
    """
    assert report.accuracy is not None
    baseline = planned.baseline
    return BaselineTraining(
        number=number,
        pick=pick,
        name=baseline.name,
        hash=baseline.architecture.hash,
        repeat=planned.repeat,
        seed=planned.seed,
        accuracy=report.accuracy,
        test_accuracy=report.test_accuracy,
        epochs=report.epochs,
        seconds=report.seconds,
        macs=baseline.macs,
        params=baseline.params,
        share=baseline.share,
    )


def hold_against_baselines(run: Session, known: Run, seconds: float | None) -> bool:
    """Trains published networks of the size of the default pick, as many as fit into the time;
    returns whether the user interrupted it.

    Args:
        run: A session whose front is measured.
        known: Its folder with that front.
        seconds: How long there is, or None.
    """
    plan, folder, settings = run.plan, run.folder, run.plan.settings
    if not settings.baseline_names or known.front.empty:
        return False
    pick = known.row(known.pick_trial())
    trial: int = pick["trial"]
    candidate = run.proposer.candidates[trial]
    with busy(plan.console, "cutting published networks to the multiply-adds of the pick"):
        baselines, left_out = cut_to(
            pick["macs"], settings.baseline_names, candidate.architecture, (plan.proxy.frames, plan.proxy.size)
        )
    for name, reason in left_out.items():
        run.say(f"The published network {name} is left out: {reason}")
    done = _taken_over(folder, baselines, candidate.priced.hash)
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
        baseline.architecture.save(folder / FOLDER / f"{baseline.architecture.hash}.yaml")

    def assignment(training: Planned) -> Assignment:
        document = training.baseline.architecture.document()
        return replace(candidate.assignment(training.seed), architecture=document)

    answers = AnswerBook(folder / FOLDER, run.data.labels())
    numbers = count(1 + max((each.number for each in read_trainings(folder)), default=-1))

    def keep(training: Planned, report: Report) -> None:
        number = next(numbers)
        if report.called:
            answers.add(number, training.repeat, report.called)
        append_training(folder, training_of(training, report, number, candidate.priced.hash))

    progress = QueueProgress(plan.console, queue, plan.workers, seconds, "published networks", "baseline")
    interrupted = train_queue(run, queue, assignment, seconds, progress, keep)
    if queue and not interrupted and seconds is not None:
        run.say(
            f"The time was too short for {len(queue)} of {total} trainings of published networks; nas search "
            f"--resume {folder} does them"
        )
    return interrupted


def _taken_over(folder: Path, baselines: Sequence[Baseline], pick: str) -> set[tuple[str, int]]:
    """The (hash, repeat) that are known; those that were cut to another pick are written down for
    this one too.
    """
    names = {baseline.architecture.hash: baseline.name for baseline in baselines}
    every = read_trainings(folder)
    mine = {(training.hash, training.repeat) for training in every if training.pick == pick}
    for training in every:
        if training.hash in names and (training.hash, training.repeat) not in mine:
            mine.add((training.hash, training.repeat))
            append_training(folder, replace(training, pick=pick, name=names[training.hash]))
    return mine

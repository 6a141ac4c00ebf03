"""Which published networks are trained beside the pick, in which size and order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.architecture import Architecture, load
from nas.architecture.scaling import largest
from nas.limits.metrics import DEFAULT_PICK
from nas.profiler.computed.cost import cost
from nas.runs.baselines import FOLDER, BaselineTraining, append_training, read_trainings
from nas.runs.confirm import OVERHEAD
from nas.runs.confirmations import read_confirmations
from nas.runs.measuring import confirmed_front
from nas.runs.news import busy
from nas.runs.picks import choose
from nas.runs.progress import QueueProgress
from nas.runs.session import Session, train_queue
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


def cut_to(macs: float, names: Sequence[str], like: Architecture) -> list[Baseline]:
    """Returns published networks with as much of their width and depth as a number of multiply-adds
    allows; without those of which the least is too much.

    Args:
        macs: Multiply-adds of a clip, at the input of the search.
        names: Of published networks.
        like: A network with the input and the classes of the search.
    """
    found = []
    for name in names:
        base = load(name).resized(like.input.frames, like.input.size, like.num_classes)
        cut = largest(base, lambda network: cost(network).macs <= macs)
        if cut is not None:
            priced = cost(cut)
            found.append(Baseline(name, cut, priced.macs, priced.params, priced.params / cost(base).params))
    return found


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
        Planned(baseline, repeat, seed + SEED_OFFSET + repeat * len(baselines) + place, OVERHEAD * seconds)
        for repeat in range(seeds)
        for place, baseline in enumerate(baselines)
        if (baseline.architecture.hash, repeat) not in done
    ]


def training_of(planned: Planned, report: Report) -> BaselineTraining:
    """What is written down of a training that came to its end, with an accuracy."""
    assert report.accuracy is not None
    baseline = planned.baseline
    return BaselineTraining(
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


def hold_against_baselines(run: Session, seconds: float | None) -> bool:
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
    interrupted = train_queue(run, queue, assignment, seconds, progress, keep)
    if queue and not interrupted:
        run.say(
            f"The time was too short for {len(queue)} of {total} trainings of published networks; nas search "
            f"--resume {folder} does them"
        )
    return interrupted

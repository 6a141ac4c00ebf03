"""Confirming a front: its networks, and those that may belong there, are trained again with further
seeds, for means and standard errors.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nas.limits.metrics import DEFAULT_PICK
from nas.limits.objectives import Objectives
from nas.runs.folder.confirmations import Confirmation, append_confirmation, read_confirmations
from nas.runs.progress.display import QueueProgress
from nas.runs.selection.picks import by_accuracy, choose
from nas.runs.selection.ranking import contenders, eligible, front_of, keeping
from nas.runs.stages.session import Session, train_queue
from nas.trials.answers import AnswerBook
from nas.trials.queue import expected_seconds
from nas.trials.results import Assignment, Report
from nas.units import plural

OVERHEAD = 1.15  # of a training over its epochs: building and evaluation
SEED_OFFSET = 1_000_000  # between the seeds of repetitions; a search has fewer candidates


@dataclass(frozen=True)
class Repeat:
    """One training that is to be done.

    Attributes:
        trial: Its candidate's number.
        repeat: 0 trains with the seed of the search, 1, 2, ... with others.
        seconds: How long it is expected to take.
    """

    trial: int
    repeat: int
    seconds: float

    @property
    def label(self) -> str:
        """What it is of, for lines of progress."""
        return f"#{self.trial} seed {self.repeat + 1}"

    @property
    def figures(self) -> dict[str, Any]:
        """The same for events."""
        return {"trial": self.trial, "repeat": self.repeat}

    def seed(self, first: int) -> int:
        """Its seed, in a search whose candidates 0, 1, ... were trained with the seeds `first`,
        `first` + 1, ...
        """
        return first + self.trial + SEED_OFFSET * self.repeat


def repeats(
    front: pd.DataFrame,
    contenders: pd.DataFrame,
    objectives: Objectives,
    seeds: int,
    epochs: int,
    done: Collection[tuple[int, int]] = (),
) -> list[Repeat]:
    """The trainings that confirm a front, in the order in which they count: its knee, its best, the
    rest of it by accuracy, then what may belong there.

    What was stopped early is first trained to its end with its own seed.

    Args:
        front: `trial`, `state`, `accuracy`, `epochs`, `seconds` and the costs as the search saw
            them; at least one row.
        contenders: The same of what may belong there, in the order of their trainings.
        objectives: What the front is of.
        seeds: Further seeds of each.
        epochs: Of a whole training.
        done: (trial, repeat) of those that are known.
    """
    first = [choose(front, name, objectives) for name in ("knee", DEFAULT_PICK)]
    tables = by_accuracy(front, objectives), contenders
    rows: dict[int, dict[Any, Any]] = {row["trial"]: row for table in tables for row in table.to_dict("records")}
    found = []
    for trial in dict.fromkeys([*first, *rows]):
        row = rows[trial]
        seconds = OVERHEAD * row["seconds"] * epochs / row["epochs"]
        for repeat in range(1 if row["state"] == "finished" else 0, seeds + 1):
            if (trial, repeat) not in done:
                found.append(Repeat(trial, repeat, seconds))
    return found


def confirmation_of(repeat: Repeat, seed: int, report: Report) -> Confirmation:
    """What is written down of a training that came to its end.

    Args:
        repeat: The training.
        seed: Of it.
        report: What came of it; it has an accuracy.
    """
    assert report.accuracy is not None
    return Confirmation(
        trial=repeat.trial,
        repeat=repeat.repeat,
        seed=seed,
        accuracy=report.accuracy,
        test_accuracy=report.test_accuracy,
        epochs=report.epochs,
        seconds=report.seconds,
    )


def confirm_front(run: Session, seconds: float | None) -> bool:
    """Trains the front with further seeds, and as many networks again, at most, that may belong
    there (`nas.runs.selection.ranking.contenders`): as many trainings as fit into the time.

    Returns:
        Whether the user interrupted it.
    """
    plan, folder, settings = run.plan, run.folder, run.plan.settings
    epochs = plan.proxy.recipe.epochs
    # What was measured already and breaks a limit has left the front, and others have taken its
    # place.
    trials = eligible(keeping(run.trials(measured=True), plan.budget), plan.data.chance)
    front = front_of(trials, plan.objectives)
    if not settings.confirm_seeds or front.empty:
        return False
    near = contenders(trials, front, plan.objectives, run.data.sizes().get("val")).head(len(front))
    confirmed = read_confirmations(folder)
    done = set(zip(confirmed["trial"].tolist(), confirmed["repeat"].tolist(), strict=True))
    queue = repeats(front, near, plan.objectives, settings.confirm_seeds, epochs, done)
    if not queue:
        return False
    takes = expected_seconds(queue, plan.workers)
    total, short = len(queue), seconds is not None and takes > seconds
    kept = f", of which {(seconds or 0) / 60:.1f} min are there: the knee and the most accurate first" if short else ""
    run.say(
        f"Confirming {plural(len(front), 'network')} of the front"
        + (f", and {len(near)} that may belong there," if len(near) else "")
        + f" with {plural(settings.confirm_seeds, 'further seed')}: {plural(len(queue), 'training')}, about "
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
    interrupted = train_queue(run, queue, assignment, seconds, progress, keep)
    if queue and not interrupted and seconds is not None:
        run.say(
            f"The time was too short for {len(queue)} of {total} confirmations; nas search --resume {folder} "
            "trains them"
        )
    return interrupted

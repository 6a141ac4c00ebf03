"""What the picks call the clips of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nas.report.blocks import Block, Confusion, Table, Text
from nas.report.panel import Panel
from nas.report.trials import picks
from nas.runs.folder.run import Run
from nas.trained.scores import Ints, Share, confusion_matrix
from nas.trials.answers import Answers
from nas.units import MISSING

MOST = 25  # classes whose confusion fits into a page


class Classes(Panel):
    """Accuracy per class of each pick, and what the clips of each class were called."""

    title = "The picks, class by class"
    place = 34

    def applies(self, run: Run) -> bool:
        return any(_kept(run, trial) for trial in picks(run))

    def blocks(self, run: Run) -> Sequence[Block]:
        found: list[Block] = []
        for trial, names in picks(run).items():
            if answers := _kept(run, trial):
                found.append(_shown(run, answers, f"{', '.join(names)}: trial {trial}"))
        return [Text(_meaning(run, _split(run)), "note"), *found]


def _split(run: Run) -> str:
    """The clips that the figures are of: test clips where there are some, as nothing was selected
    on them.
    """
    every = [answers for trial in picks(run) for answers in run.answers.get(trial, [])]
    return "test" if every and all(len(each.called.get("test", ())) for each in every) else "val"


def _kept(run: Run, trial: int) -> list[Answers]:
    """The answers of all trainings of a network that name classes of the run."""
    answers, split, classes = run.answers.get(trial, []), _split(run), len(run.record.classes)
    fits = all(max(each.called[split].max(), each.labels[split].max()) < classes for each in answers)
    return answers if fits else []


def _shown(run: Run, answers: Sequence[Answers], title: str) -> Block:
    split, classes = _split(run), run.record.classes
    counts: Ints = sum(
        (confusion_matrix(each.labels[split], each.called[split], len(classes)) for each in answers),
        np.zeros((len(classes),) * 2, np.int64),
    )
    shares = [_accuracy(row, number, len(answers)) for number, row in enumerate(counts)]
    if len(classes) <= MOST:
        return Confusion(title, classes, counts.tolist(), shares)
    wrong = counts - np.diag(np.diag(counts))
    rows = [
        {
            "Class": name,
            "Clips": str(int(counts[number].sum()) // len(answers)),
            "Accuracy": shares[number],
            "Most often taken for": classes[int(wrong[number].argmax())] if wrong[number].any() else MISSING,
        }
        for number, name in enumerate(classes)
    ]
    label = f"{title}, {len(classes)} classes"
    return Table(pd.DataFrame(rows, dtype="str"), label, ["Class", "Most often taken for"], sortable=True, folded=label)


def _accuracy(row: Ints, number: int, trainings: int) -> str:
    """The share of the clips of a class that were called what they are, with the standard error of
    a share of so many clips.
    """
    clips = int(row.sum()) // trainings
    return str(Share.of_value(float(row[number] / row.sum()), clips)) if clips else MISSING


def _meaning(run: Run, split: str) -> str:
    clips = f"the {run.record.clips.get(split, 0):,} {'test' if split == 'test' else 'validation'} clips"
    said = (
        f"What the picks, as trained in this run, called {clips}, each clip once for each seed. A cell counts the "
        "clips of the class of its row that were called the class of its column, by number; accuracy is the share of "
        "the class that was called what it is, with the standard error of a share of so many clips."
    )
    if split == "val":
        said += " Networks were selected on these clips, which flatters them."
    return said

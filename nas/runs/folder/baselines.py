"""What published networks reached beside the pick: cut to its multiply-adds, and trained as it was.

`baselines.csv` of a run folder has a row per training, written when it ends, and
`baselines/HASH.yaml` the network that was trained; `baselines/answers.jsonl` has what they called
each clip, with the number of the training in the place of a candidate's.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from nas.errors import NasError
from nas.resources import append_record, whole_lines
from nas.runs.selection.ranking import mean_and_error
from nas.trials.answers import Answers, give, read_answers

BASELINES = "baselines.csv"
FOLDER = "baselines"


@dataclass(frozen=True)
class BaselineTraining:
    """One training of a baseline. The fields are the columns of the file.

    Attributes:
        number: Of the training; its answers are kept by it. One network may be the cut for several
            picks, and has then as many rows of one number.
        pick: Hash of the network that it was cut to.
        name: As `nas list` has it.
        hash: Of the architecture that was trained.
        repeat: 0, 1, 2, ... for its seeds.
        seed: Of the training.
        accuracy: On validation.
        test_accuracy: None without test clips.
        epochs, seconds: Of the training.
        macs, params, share: As `nas.runs.stages.baseline_trainings.Baseline` has them.
    """

    number: int
    pick: str
    name: str
    hash: str
    repeat: int
    seed: int
    accuracy: float
    test_accuracy: float | None
    epochs: int | None
    seconds: float | None
    macs: int
    params: int
    share: float


@dataclass(frozen=True)
class BaselineResult:
    """What all trainings of a baseline came to.

    Attributes:
        name: As `nas list` has it.
        macs, params, share: As the trainings have them.
        seeds: How many trainings.
        accuracy, test_accuracy: Their means by split; `test_accuracy` is nan without test clips.
        accuracy_se, test_accuracy_se: Standard errors over seeds; nan of one.
        answers: What each training called the clips; empty where some of them are not kept.
    """

    name: str
    macs: int
    params: int
    share: float
    seeds: int
    accuracy: float
    accuracy_se: float
    test_accuracy: float
    test_accuracy_se: float
    answers: Sequence[Answers]

    def reached(self, split: str) -> tuple[float, float]:
        """The mean accuracy on `val` or `test`, and its standard error over seeds."""
        if split == "test":
            return self.test_accuracy, self.test_accuracy_se
        return self.accuracy, self.accuracy_se


_COLUMNS = tuple(field.name for field in fields(BaselineTraining))
_ROWS = TypeAdapter(list[BaselineTraining])


def append_training(folder: Path, training: BaselineTraining) -> None:
    """Writes down a training, safely on the disk when this returns."""
    append_record(folder / BASELINES, training)


def read_trainings(folder: Path) -> list[BaselineTraining]:
    """The trainings of baselines of a run; none without the file.

    Raises:
        NasError: The file has other columns, or a value that its column cannot have.
    """
    path = folder / BASELINES
    lines = whole_lines(path)
    try:
        rows = [{key: cell or None for key, cell in row.items()} for row in csv.DictReader(lines)]
        return _ROWS.validate_python(rows)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise NasError(
            f"{str(path)!r} has a row whose {first['loc'][-1]} is not allowed ({first['msg']}); allowed: the columns "
            f"{', '.join(_COLUMNS)}"
        ) from None


def read_baselines(folder: Path, pick: str) -> list[BaselineResult]:
    """What the baselines came to that were cut to a pick, in the order of their first trainings.

    Args:
        folder: The run folder.
        pick: Hash of the pick.

    Raises:
        NasError: As `read_trainings`, or the answers cannot be read.
    """
    found: dict[str, list[BaselineTraining]] = {}
    for training in read_trainings(folder):
        if training.pick == pick:
            found.setdefault(training.name, []).append(training)
    answers = {each.trial: each for each in read_answers(folder / FOLDER)} if found else {}
    return [_result(trainings, answers) for trainings in found.values()]


def _result(trainings: Sequence[BaselineTraining], answers: Mapping[int, Answers]) -> BaselineResult:
    first, kept = trainings[0], [answers[each.number] for each in trainings if each.number in answers]
    accuracy, error = mean_and_error(np.array([each.accuracy for each in trainings]))
    test, test_error = mean_and_error(np.array([each.test_accuracy for each in trainings], float))
    return BaselineResult(
        first.name,
        first.macs,
        first.params,
        first.share,
        len(trainings),
        accuracy,
        error,
        test,
        test_error,
        kept if len(kept) == len(trainings) and give(kept, accuracy) else (),
    )

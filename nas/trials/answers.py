"""`answers.jsonl` of a run folder: which class a network called each clip that it was judged on.

Kept of trainings that came to their end, so that networks are compared clip by clip: those that
confirm a front, and those of a search that no network before them dominated, as all of the front
were when they ended. A row of labels, `{"schema": 1, "labels": {"val": [...], "test": [...]}}`,
stands before the answers to these clips; a session that reads other clips writes another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nas.documents import of_schema
from nas.errors import NasError, one_line
from nas.resources import append_line, whole_lines

ANSWERS = "answers.jsonl"
SCHEMA = 1
_SAME = 1e-6  # by which two accuracies of the same answers differ, as one of them may be in float32

Classes = Mapping[str, Sequence[int]]  # the number of the class of each clip, by split


@dataclass(frozen=True)
class Answers:
    """What the network of one training called the clips.

    Attributes:
        trial: The number of its candidate.
        repeat: As in `confirm.csv`; 0 for the seed of the search.
        labels: The class of each clip, int64 (N,), by split: `val`, and `test` where there is one.
        called: What it was called, likewise.
    """

    trial: int
    repeat: int
    labels: Mapping[str, NDArray[np.int64]]
    called: Mapping[str, NDArray[np.int64]]

    def right(self, split: str) -> NDArray[np.bool_]:
        """Which clips of a split were called what they are, (N,)."""
        found: NDArray[np.bool_] = self.labels[split] == self.called[split]
        return found

    @classmethod
    def of(cls, row: Mapping[str, Any], labels: Classes) -> Self:
        """Reads a row.

        Raises:
            ValueError, TypeError, LookupError: It is none of these clips.
        """
        if "val" not in labels:
            raise ValueError("a row of labels with validation before them")
        called = {split: np.array(row[split], np.int64) for split in labels}
        known = {split: np.array(each, np.int64) for split, each in labels.items()}
        if any(called[split].shape != known[split].shape or called[split].min(initial=0) < 0 for split in labels):
            raise ValueError("as many classes as clips")
        return cls(int(row["trial"]), int(row["repeat"]), known, called)


class AnswerBook:
    """Writes answers to the clips of one session.

    Args:
        folder: The run folder.
        labels: The classes of the clips.
    """

    def __init__(self, folder: Path, labels: Classes) -> None:
        self._path, self._labels = folder / ANSWERS, json.dumps({"schema": SCHEMA, "labels": labels})
        self._open = False

    def add(self, trial: int, repeat: int, called: Classes) -> None:
        """Writes down the answers of one training, safely on the disk when this returns."""
        if not self._open:
            rows = [line for line in whole_lines(self._path) if line.startswith('{"schema"')]
            if rows[-1:] != [self._labels]:
                append_line(self._path, self._labels)
            self._open = True
        append_line(self._path, json.dumps({"trial": trial, "repeat": repeat, **called}))


def give(answers: Sequence[Answers], accuracy: float) -> bool:
    """Returns whether the mean of some answers is an accuracy on validation, and all are to the
    same clips.
    """
    labels = [{split: each.tolist() for split, each in one.labels.items()} for one in answers]
    same = all(each == labels[0] for each in labels)
    return same and bool(abs(np.mean([each.right("val") for each in answers]) - accuracy) < _SAME)


def read_answers(folder: Path) -> list[Answers]:
    """The answers that a run folder has, each training's once; none without the file.

    Raises:
        NasError: A row holds something else, or is of a newer version.
    """
    found: dict[tuple[int, int], Answers] = {}
    path, labels = folder / ANSWERS, dict[str, list[int]]()
    if not os.path.lexists(path):
        return []
    try:
        for line in whole_lines(path):
            row = json.loads(line)
            if "labels" in row:
                labels = of_schema(row, SCHEMA, f"file {str(path)!r}")["labels"]
            else:
                answers = Answers.of(row, labels)
                found.setdefault((answers.trial, answers.repeat), answers)
    except NasError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise NasError(
            f"{str(path)!r} holds what are no answers ({one_line(error)}); allowed: rows of `nas search`"
        ) from None
    return list(found.values())

"""What networks called the clips, as a run folder keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.errors import NasError
from nas.trials.answers import ANSWERS, AnswerBook, read_answers

LABELS = {"val": [0, 1, 2, 1], "test": [2, 0]}


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_answers(tmp_path) == []
    AnswerBook(tmp_path, LABELS).add(7, 0, {"val": (0, 1, 1, 1), "test": (2, 2)})
    AnswerBook(tmp_path, LABELS).add(7, 1, {"val": (0, 0, 0, 0), "test": (0, 0)})  # another session
    with (tmp_path / ANSWERS).open("a") as file:
        file.write('{"trial": 8, "rep')
    first, second = read_answers(tmp_path)
    assert (first.trial, first.repeat, second.trial, second.repeat) == (7, 0, 7, 1)
    assert first.right("val").tolist() == [True, True, False, True] and first.right("test").tolist() == [True, False]
    assert second.called["val"].tolist() == [0, 0, 0, 0] and second.labels["test"].tolist() == [2, 0]
    assert (tmp_path / ANSWERS).read_text().count("labels") == 1


def test_a_session_that_reads_other_clips_has_labels_of_its_own(tmp_path: Path) -> None:
    AnswerBook(tmp_path, LABELS).add(7, 0, {"val": (0, 1, 1, 1), "test": (2, 2)})
    AnswerBook(tmp_path, {"val": [1]}).add(7, 1, {"val": (1,)})
    AnswerBook(tmp_path, {"val": [1]}).add(7, 1, {"val": (0,)})  # the second time does not count
    first, second = read_answers(tmp_path)
    assert first.labels["val"].tolist() == [0, 1, 2, 1] and second.labels["val"].tolist() == [1]
    assert second.right("val").all()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("[]", "holds what are no answers"),
        ("{", "holds what are no answers"),
        ('{"trial": 1, "repeat": 0, "val": [0, 1], "test": [0, 0]}', "as many classes as clips"),
        ('{"trial": 1, "repeat": 0, "val": [0, 1, 1, -1], "test": [0, 0]}', "holds what are no answers"),
        ('{"trial": 1, "repeat": 0, "val": [0, 1, 1, "a"], "test": [0, 0]}', "holds what are no answers"),
        ('{"trial": 1, "val": [0, 1, 1, 1], "test": [0, 0]}', "holds what are no answers"),
        ('{"schema": 2, "labels": {}}', "of a newer nas"),
    ],
)
def test_what_are_no_answers_is_refused(tmp_path: Path, row: str, said: str) -> None:
    book: Any = AnswerBook(tmp_path, LABELS)
    book.add(7, 0, {"val": (0, 1, 1, 1), "test": (2, 2)})
    with (tmp_path / ANSWERS).open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(NasError, match=said):
        read_answers(tmp_path)

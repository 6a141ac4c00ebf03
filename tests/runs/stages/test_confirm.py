"""Which trainings confirm a front, and in which order; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from nas.limits.objectives import Objectives
from nas.runs.folder.confirmations import append_confirmation, read_confirmations
from nas.runs.stages.confirm import OVERHEAD, Repeat, confirmation_of, repeats
from nas.trials.results import Report

MACS = Objectives.of(["accuracy", "macs"])
# Against log10 of the cost the scaled losses are (1, 0), (0.2, 0.5), (0, 1): trial 2 is the knee, 3
# the best.
FRONT = pd.DataFrame(
    [(0, "finished", 0.3, 1e9, 6, 10.0), (2, "stopped", 0.7, 1e10, 2, 8.0), (3, "finished", 0.8, 1e11, 6, 40.0)],
    columns=["trial", "state", "accuracy", "macs", "epochs", "seconds"],
)
NONE = FRONT[:0]


def keys(queue: list[Repeat]) -> list[tuple[int, int]]:
    return [(one.trial, one.repeat) for one in queue]


def test_the_knee_and_the_best_come_first_and_what_was_stopped_is_trained_to_its_end() -> None:
    queue = repeats(FRONT, NONE, MACS, 2, epochs=6)
    assert keys(queue) == [(2, 0), (2, 1), (2, 2), (3, 1), (3, 2), (0, 1), (0, 2)]
    # 8 s for 2 of 6 epochs are 24 s.
    assert [one.seconds / OVERHEAD for one in queue] == pytest.approx([24, 24, 24, 40, 40, 10, 10])
    assert keys(repeats(FRONT, NONE, MACS, 1, 6, done={(2, 0), (3, 1), (3, 2)})) == [(2, 1), (0, 1)]


def test_what_is_neither_knee_nor_best_follows_by_accuracy() -> None:
    accuracies = [0.3, 0.35, 0.7, 0.75, 0.8]  # at a decade of multiply-adds each: trial 2 is the knee
    rows = [(i, "finished", accuracy, 10.0 ** (9 + i), 6, 10.0) for i, accuracy in enumerate(accuracies)]
    queue = repeats(pd.DataFrame(rows, columns=FRONT.columns), NONE, MACS, 1, epochs=6)
    assert keys(queue) == [(2, 1), (4, 1), (3, 1), (1, 1), (0, 1)]


def test_what_may_belong_on_the_front_comes_last_in_its_own_order() -> None:
    near = pd.DataFrame([(9, "finished", 0.5, 2e10, 6, 9.0), (4, "stopped", 0.6, 2e10, 3, 9.0)], columns=FRONT.columns)
    queue = repeats(FRONT, near, MACS, 1, epochs=6)
    assert keys(queue) == [(2, 0), (2, 1), (3, 1), (0, 1), (9, 1), (4, 0), (4, 1)]


def test_seeds_are_of_nothing_else() -> None:
    searched = {7 + trial for trial in range(1000)}
    further = [Repeat(trial, repeat, 1.0).seed(7) for trial in range(1000) for repeat in (1, 2)]
    assert not searched & set(further) and len(set(further)) == 2000
    assert Repeat(5, 0, 1.0).seed(7) == 12


def test_what_is_written_of_one_that_came_to_its_end(tmp_path: Path) -> None:
    report = Report(curve=(0.75,), test_accuracy=0.5, epochs=6, seconds=20.0)
    append_confirmation(tmp_path, confirmation_of(Repeat(2, 1, 24.0), 1_000_009, report))
    known = read_confirmations(tmp_path)
    assert known.values.tolist() == [[2, 1, 1_000_009, 0.75, 0.5, 6, 20.0]]
    done = set(zip(known["trial"], known["repeat"], strict=True))
    assert keys(repeats(FRONT, NONE, MACS, 1, 6, done)) == [(2, 0), (3, 1), (0, 1)]

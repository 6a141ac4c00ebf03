"""Means over seeds, their errors and the front that they make, on trials made up by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nas.errors import NasError
from nas.limits.objectives import Objectives
from nas.runs.folder.confirmations import CONFIRMATIONS, Confirmation, append_confirmation, read_confirmations
from nas.runs.selection.ranking import (
    clearly_above,
    contenders,
    eligible,
    front_of,
    mean_and_error,
    ranked_front,
    with_means,
)

MACS = Objectives.of(["accuracy", "macs"])


def trials(*rows: tuple[int, str, float, float]) -> pd.DataFrame:
    """Rows of number, state, accuracy and multiply-adds; a test accuracy .1 lower, one epoch if
    stopped, else 3.
    """
    table = pd.DataFrame(rows, columns=["trial", "state", "accuracy", "macs"])
    return table.assign(test_accuracy=table["accuracy"] - 0.1, epochs=[1 if r[1] == "stopped" else 3 for r in rows])


def confirmation(trial: int, repeat: int, accuracy: float, **more: Any) -> dict[str, Any]:
    row = {"trial": trial, "repeat": repeat, "seed": 1000 * repeat + trial, "accuracy": accuracy}
    return row | {"test_accuracy": accuracy - 0.2, "epochs": 3, "seconds": 1.5} | more


def test_mean_and_standard_error() -> None:
    # Deviations -.1, 0, .1: variance .02 / 2, error .1 / sqrt(3).
    mean, error = mean_and_error(np.array([0.5, 0.6, 0.7]))
    assert mean == pytest.approx(0.6) and error == pytest.approx(0.1 / math.sqrt(3))
    mean, error = mean_and_error(np.array([0.5]))
    assert mean == 0.5 and math.isnan(error)


def test_confirmations_survive_a_write_that_was_cut_off(tmp_path: Path) -> None:
    assert read_confirmations(tmp_path).empty
    append_confirmation(tmp_path, Confirmation(**confirmation(3, 1, 0.5)))
    append_confirmation(tmp_path, Confirmation(**confirmation(3, 2, 0.75, test_accuracy=None)))
    path = tmp_path / CONFIRMATIONS
    assert path.read_text() == (
        "trial,repeat,seed,accuracy,test_accuracy,epochs,seconds\n3,1,1003,0.5,0.3,3,1.5\n3,2,2003,0.75,,3,1.5\n"
    )
    with path.open("a") as file:
        file.write("4,1,1004,0.7")  # of 0.75
    assert read_confirmations(tmp_path)["accuracy"].tolist() == [0.5, 0.75]
    append_confirmation(tmp_path, Confirmation(**confirmation(4, 1, 0.75)))
    append_confirmation(tmp_path, Confirmation(**confirmation(4, 1, 0.25)))
    table = read_confirmations(tmp_path)
    assert table["trial"].tolist() == [3, 3, 4] and table["accuracy"].tolist() == [0.5, 0.75, 0.75]


@pytest.mark.parametrize("cut", range(len("trial,repeat,seed,accuracy,test_accuracy,epochs,seconds") + 1))
def test_a_header_that_was_cut_off_is_written_again(tmp_path: Path, cut: int) -> None:
    (tmp_path / CONFIRMATIONS).write_text("trial,repeat,seed,accuracy,test_accuracy,epochs,seconds"[:cut])
    append_confirmation(tmp_path, Confirmation(**confirmation(0, 1, 0.5)))
    assert read_confirmations(tmp_path)["trial"].tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial,accuracy\n", r"has columns 'trial,accuracy'"),
        ("trial,repeat,seed,accuracy,test_accuracy,epochs,seconds\n1,1,1,good,0,1,1\n", "holds what is no number"),
        ("trial,repeat,seed,accuracy,test_accuracy,epochs,seconds\n1,1\n", "holds what is no number"),
        ("trial,repeat,seed,accuracy,test_accuracy,epochs,seconds\n,1,1,1,1,1,1\n", "holds what is no number"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / CONFIRMATIONS).write_text(text)
    with pytest.raises(NasError, match=message):
        read_confirmations(tmp_path)


def test_means_take_the_search_s_own_training_if_it_came_to_its_end() -> None:
    known = trials((0, "finished", 0.5, 1e9), (1, "stopped", 0.4, 2e9), (2, "stopped", 0.3, 3e9), (3, "failed", 0, 1))
    further = [confirmation(0, 1, 0.6), confirmation(0, 2, 0.7), confirmation(1, 0, 0.8)]
    table = with_means(known, pd.DataFrame(further)).set_index("trial")
    assert table["seeds"].tolist() == [3, 1, 1, 1]
    assert table["accuracy"].tolist() == pytest.approx([0.6, 0.8, 0.3, 0.0])
    assert table["test_accuracy"].tolist()[:3] == pytest.approx([(0.4 + 0.4 + 0.5) / 3, 0.6, 0.2])
    assert table["accuracy_searched"].tolist() == [0.5, 0.4, 0.3, 0.0]
    assert table["accuracy_se"][0] == pytest.approx(0.1 / math.sqrt(3)) and table["accuracy_se"][1:].isna().all()
    # .4, .4, .5: variance (2 / 900 + 4 / 900) / 2 = 1 / 300.
    assert table["test_accuracy_se"][0] == pytest.approx(1 / 30)
    assert table["state"].tolist() == ["finished", "finished", "stopped", "failed"]
    assert table["epochs"].tolist() == [3, 3, 1, 3]


def test_the_front_is_ranked_again_by_means() -> None:
    known = trials(
        (0, "finished", 0.5, 1e9),  # cheapest; stays
        (1, "finished", 0.7, 2e9),  # lucky: its mean .45 is below trial 0's
        (2, "finished", 0.65, 2.5e9),  # dominated by trial 1 as the search saw it, so it was not confirmed
        (3, "finished", 0.8, 4e9),
        (4, "finished", 0.1, 1e8),  # at chance
    )
    found = eligible(known, 0.1)
    assert front_of(found, MACS)["trial"].tolist() == [0, 1, 3]
    further = [confirmation(1, 1, 0.3), confirmation(1, 2, 0.35), confirmation(3, 1, 0.8)]
    assert ranked_front(with_means(found, pd.DataFrame(further)), 0.1, MACS)["trial"].tolist() == [0, 3]
    # A mean at chance leaves the front, too.
    further = [confirmation(0, 1, 0.2), confirmation(0, 2, 0.2)]
    assert ranked_front(with_means(found, pd.DataFrame(further)), 0.35, MACS)["trial"].tolist() == [1, 3]
    assert eligible(known[known["trial"] == 4], 0.1)["trial"].tolist() == [4]


def test_what_may_belong_on_the_front() -> None:
    # Errors of 100 clips: .5 at 50 %, .0490 at 40 %, .0458 at 30 %, .04 at 80 % and 20 %.
    known = trials(
        (0, "finished", 0.5, 1e9),
        (1, "finished", 0.8, 4e9),
        (2, "finished", 0.4, 2e9),  # .1 / .0700 = 1.43 errors behind trial 0
        (3, "stopped", 0.3, 1e9),  # .2 / .0678 = 2.95 behind it
        (4, "finished", 0.75, 4e9),  # .05 / .0589 = .85 behind trial 1
        (5, "finished", 0.5, 1.1e9),  # as good as trial 0, and dearer
        (6, "finished", 0.8, 1e8),  # see below
    )

    def near(rows: pd.DataFrame, clips: float | None) -> pd.DataFrame:
        return contenders(rows, front_of(rows, MACS), MACS, clips)

    assert near(known[:6], 100)["trial"].tolist() == [5, 4, 2]
    assert near(known[:6], 10_000)["trial"].tolist() == [5]
    assert near(known[:6], None)["trial"].tolist() == [5]
    # What costs less and is as good as the best leaves the others behind.
    assert near(known, 100)["trial"].tolist() == [1, 4]
    assert near(known[:1], 100).empty and near(known[:0], 100).empty


def test_what_was_not_on_the_front_is_by_the_mean_of_further_seeds() -> None:
    known = trials((0, "finished", 0.5, 1e9), (1, "finished", 0.45, 2e9), (2, "finished", 0.49, 3e9))
    further = [confirmation(0, 1, 0.3), confirmation(1, 1, 0.55)]  # means of .4 and .5; of trial 2 one seed is known
    assert ranked_front(with_means(known, pd.DataFrame(further)), 0.1, MACS)["trial"].tolist() == [0, 1]


def test_what_was_measured_decides_before_what_was_predicted() -> None:
    latency = Objectives.of(["accuracy", "latency"])
    table = trials((0, "finished", 0.5, 1e9), (1, "finished", 0.6, 1e9), (2, "finished", 0.7, 1e9))
    table = table.assign(latency_ms_predicted=[1.0, 2.0, 3.0])
    assert front_of(table, latency)["trial"].tolist() == [0, 1, 2]
    # As measured, the first is slower than the second, which is better.
    assert front_of(table.assign(latency_ms=[2.5, 2.4, math.nan]), latency)["trial"].tolist() == [1, 2]
    # What nobody knows is on no front.
    assert front_of(table.assign(latency_ms_predicted=[1.0, math.nan, 3.0]), latency)["trial"].tolist() == [0, 2]


def test_what_is_clearly_above_chance() -> None:
    # Errors of 100 clips: .04, .0384, .0376 and .03; .17 - .0751 is below chance.
    table = pd.DataFrame({"accuracy": [0.2, 0.18, 0.17, 0.9]})
    assert clearly_above(table, 0.1, 100).tolist() == [True, True, False, True]
    # A larger error over seeds counts, a smaller one does not.
    errors = table.assign(accuracy_se=[0.06, math.nan, 0.001, 0.1])
    assert clearly_above(errors, 0.1, 100).tolist() == [False, True, False, True]
    assert clearly_above(table, None, None).all() and not clearly_above(table, 0.9, None).any()

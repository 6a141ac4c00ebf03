"""The pick beside published networks of its size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.report.differences import best_baseline, held_against
from nas.report.panels.headline import best
from nas.report.panels.published import Published
from nas.runs.folder.baselines import BaselineResult
from nas.runs.folder.run import Run
from nas.trials.answers import AnswerBook, read_answers


def baseline(name: str, test: float, error: float = math.nan) -> BaselineResult:
    return BaselineResult(name, 24_000_000_000, 3_000_000, 0.25, 1, test + 0.05, math.nan, test, error, ())


def text(run: Run) -> str:
    return "\n\n".join(block.markdown() for block in Published().blocks(run))


def with_baselines(run: Run, *baselines: BaselineResult) -> Run:
    run.__dict__["baselines"] = list(baselines)
    return run


def test_they_stand_below_the_pick_the_best_first(run: Run) -> None:
    assert not Published().applies(run)
    pick = run.row(run.pick_trial())
    low, high = pick["test_accuracy"] - 0.3, pick["test_accuracy"] + 0.01
    said = text(with_baselines(run, baseline("x3d_m", low), baseline("vov3d_m", high)))
    rows = [line for line in said.splitlines() if line.startswith("|")][2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        f"trial {pick['trial']}, the pick",
        "vov3d_m",
        "x3d_m",
    ]
    assert "| 25.0 % |" in rows[1] and "| -1.0 |" in rows[1] and "| +30.0 |" in rows[2]
    assert "on test clips, on which nothing was selected" in said
    assert "vov3d_m, the best of 2 published networks cut to the multiply-adds of the pick" in best(run)
    assert best_baseline(run) == run.baselines[1]


def test_without_test_clips_they_are_compared_on_validation_and_it_says_so(run: Run) -> None:
    clips = {name: count for name, count in run.record.clips.items() if name != "test"}
    run.record = replace(run.record, clips=clips)
    assert "that flatters the pick" in text(with_baselines(run, baseline("x3d_m", 0.1)))
    assert held_against(run, run.row(23), run.baselines[0]).by == pytest.approx(run.row(23)["accuracy"] - 0.15)


def test_errors_are_of_two_shares_without_answers(run: Run) -> None:
    """Of 256 clips each: sqrt(.8 x .2 / 256 + .5 x .5 / 256) = 0.0400. Over seeds .06 is more than
    .03125 of clips: sqrt(.025^2 + .06^2) = .065.
    """
    row = {"trial": 23, "accuracy": 0.8, "test_accuracy": 0.8, "test_accuracy_se": math.nan}
    found = held_against(run, row, baseline("x3d_m", 0.5))
    assert found.by == pytest.approx(0.3) and found.error == pytest.approx(0.04002, abs=1e-4)
    assert held_against(run, row, baseline("x3d_m", 0.5, 0.06)).error == pytest.approx(0.065, abs=1e-4)


def test_kept_answers_are_compared_clip_by_clip(run: Run, tmp_path: Path) -> None:
    """The pick is right on 8 of 10 test clips, the other on 6 of them: the differences are two ones
    and eight zeros, of mean .2 and variance (2 - 10 x .04) / 9.
    """
    test = [1] * 10
    AnswerBook(tmp_path, {"val": [0], "test": test}).add(1, 0, {"val": (0,), "test": (1,) * 8 + (0, 0)})
    AnswerBook(tmp_path, {"val": [0], "test": test}).add(2, 0, {"val": (0,), "test": (1,) * 6 + (0,) * 4})
    mine, its = read_answers(tmp_path)
    run.__dict__["answers"] = {23: [mine]}
    row = {"trial": 23, "test_accuracy": 0.8, "test_accuracy_se": math.nan}
    found = held_against(run, row, replace(baseline("x3d_m", 0.6), answers=(its,)))
    assert found.paired and found.by == pytest.approx(0.2)
    assert found.error == pytest.approx(np.sqrt(1.6 / 9 / 10))


def test_errors_are_the_larger_of_seeds_and_clips_as_everywhere(run: Run) -> None:
    """Two seeds that came to the same: sqrt(.25 x .75 / 256) = .0271."""
    said = text(with_baselines(run, baseline("pst_t", 0.25, 0.0), baseline("x3d_m", 0.25, 0.04)))
    assert "25.0 \N{PLUS-MINUS SIGN} 2.7" in said and "25.0 \N{PLUS-MINUS SIGN} 4.0" in said

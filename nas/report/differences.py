"""Networks beside each other: how much more accurate one is, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from nas.limits.metrics import DEFAULT_PICK
from nas.report.trials import Row
from nas.runs.folder.baselines import BaselineResult
from nas.runs.folder.run import Run
from nas.runs.selection.control import RANDOM
from nas.runs.selection.picks import by_accuracy
from nas.runs.selection.ranking import CLEARLY, keeping, uncertainty
from nas.trials.answers import Answers


@dataclass(frozen=True)
class Difference:
    """How much more accurate one network is than another, as shares.

    Attributes:
        by: The difference of their accuracies.
        error: Its standard error; nan where nobody knows one.
        paired: Whether the error is of the same clips, each compared with itself.
    """

    by: float
    error: float
    paired: bool = False

    @property
    def low(self) -> float:
        """The low end of an interval of about 95 %: two standard errors."""
        return self.by - CLEARLY * self.error

    @property
    def high(self) -> float:
        """The high end of that interval."""
        return self.by + CLEARLY * self.error

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @property
    def interval(self) -> str:
        """The interval in points of per cent, such as `-2.1 to +7.0`; empty where it is unknown."""
        return "" if np.isnan(self.error) else f"{100 * self.low:+.1f} to {100 * self.high:+.1f}"

    def text(self, other: str) -> str:
        """Difference and interval in points, such as `2.4 points (-2.1 to +7.0; may be luck) above
        the other`.

        Args:
            other: The network that this one is above or below.
        """
        size = self if self.by >= 0 else Difference(-self.by, self.error)
        doubt = "" if size.clear else "; may be luck"
        interval = f" ({size.interval}{doubt})" if size.interval else ""
        return f"{100 * size.by:.1f} points{interval} {'above' if self.by >= 0 else 'below'} {other}"


def difference(run: Run, one: Row, other: Row) -> Difference:
    """How much more accurate one trained network is than another on validation, as if they had
    answered different clips, which makes the interval of two of one run rather too wide; see
    `paired`.
    """
    rows = pd.DataFrame([one, other])
    errors = uncertainty(rows, run.record.clips.get("val"))
    known = bool((errors > 0).any()) or bool(run.record.clips.get("val"))
    return Difference(float(one["accuracy"] - other["accuracy"]), float(np.hypot(*errors)) if known else float("nan"))


def paired(run: Run, one: Row, other: Row) -> Difference:
    """How much more accurate one trained network of a run is than another on validation, clip by
    clip where the run keeps what both called each clip; else as `difference` has it.

    The squares of two standard errors are added: that of the mean over N clips of how much more
    often one is right, over its seeds, than the other; and those over seeds, if there are several.
    With one seed each the first is McNemar's, sqrt((b + c - (b - c)^2 / N) / (N (N - 1))), where
    one alone is right on b clips and the other alone on c.
    """
    plain, over_clips = difference(run, one, other), _over_clips(_answers(run, one), _answers(run, other), "val")
    if over_clips is None:
        return plain
    over_seeds = [float(np.nan_to_num(row.get("accuracy_se", math.nan))) for row in (one, other)]
    return replace(plain, error=math.hypot(over_clips, *over_seeds), paired=True)


def split_of(run: Run) -> Literal["test", "val"]:
    """Where a network is held against published ones: on test, on which nothing was selected, and
    on validation where there is no test.
    """
    return "test" if run.record.clips.get("test") else "val"


def held_against(run: Run, one: Row, baseline: BaselineResult) -> Difference:
    """How much more accurate a network of a run is than a published one that was trained as it was,
    on `split_of`; the error is found as `paired` finds it.
    """
    split = split_of(run)
    column = "test_accuracy" if split == "test" else "accuracy"
    its, its_error = baseline.reached(split)
    mine, my_error = one[column], one.get(f"{column}_se", math.nan)
    over_seeds = [float(np.nan_to_num(error)) for error in (my_error, its_error)]
    over_clips = _over_clips(_answers(run, one), baseline.answers, split)
    if over_clips is not None:
        return Difference(mine - its, math.hypot(over_clips, *over_seeds), paired=True)
    rows = pd.DataFrame({"accuracy": [mine, its], "accuracy_se": [my_error, its_error]})
    clips = run.record.clips.get(split)
    errors = uncertainty(rows, clips)
    return Difference(mine - its, float(np.hypot(*errors)) if clips or (errors > 0).any() else math.nan)


def best_baseline(run: Run) -> BaselineResult | None:
    """The most accurate of the published networks, on `split_of`; None without one."""
    split = split_of(run)
    return max(run.baselines, key=lambda each: each.reached(split)[0], default=None)


def _over_clips(mine: Sequence[Answers], its: Sequence[Answers], split: str) -> float | None:
    """The standard error over clips of a difference, as `paired` explains it; None where the
    answers of one are not kept, or are to other clips.
    """
    every = [*mine, *its]
    if not mine or not its or not all(split in each.labels for each in every):
        return None
    if any(each.labels[split].tolist() != every[0].labels[split].tolist() for each in every):
        return None
    one, other = (np.mean([each.right(split) for each in given], axis=0) for given in (mine, its))
    return float((one - other).std(ddof=1)) / math.sqrt(len(one)) if len(one) > 1 else None


def _answers(run: Run, row: Row) -> list[Answers]:
    """What is kept of what a network called the clips; none of one whose answers are not."""
    known = run.control_answers if row.get("by") == RANDOM else run.answers
    return known.get(row["trial"], [])


def next_best(run: Run) -> Row | None:
    """The most accurate network of the front beside the default pick; None without one."""
    chosen = run.picks().get(DEFAULT_PICK)
    others = run.front[run.front["trial"] != chosen]
    return None if others.empty else dict(by_accuracy(others, run.objectives).to_dict("records")[0])


def best_of_control(run: Run) -> Row | None:
    """The most accurate network that random search found inside the limits, with the trainings that
    it had (`trainings`); None without a control that trained one.
    """
    rows = run.control[(run.control["by"] == RANDOM) & run.control["accuracy"].notna()]
    rows = rows if run.budget is None else keeping(rows, run.budget)
    if rows.empty:
        return None
    best = dict(rows.sort_values("accuracy", kind="stable").to_dict("records")[-1])
    return best | {"trainings": int((run.control["by"] == RANDOM).sum())}

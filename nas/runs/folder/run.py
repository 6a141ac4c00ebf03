"""The folder that one search wrote, as a whole: its record, its trials, its front and its picks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.architecture import Architecture, load
from nas.errors import NasError, brief
from nas.limits.budget import Budget
from nas.limits.metrics import DEFAULT_PICK, metrics, pick_names
from nas.limits.objectives import Objectives
from nas.runs.folder.baselines import BaselineResult, read_baselines
from nas.runs.folder.confirmations import read_confirmations
from nas.runs.folder.record import read_record
from nas.runs.folder.tables import read_front, read_table, read_trials
from nas.runs.selection.control import CONTROL, CURVES, RANDOM
from nas.runs.selection.picks import choose, picks_of
from nas.runs.selection.ranking import breaches, clearly_above, keeping, limited_figures, with_means
from nas.trials.answers import Answers, give, read_answers
from nas.units import whole

_CURVES = ("trainings", "seconds", "hypervolume")  # beside the objectives


class Run:
    """The folder of one search, finished or interrupted.

    Attributes:
        path: The folder.
        record: What `run.json` holds.
        trials: One row per trained trial in order of its number, as the search saw it; empty before
            the first.
        front: The trials of the Pareto front with their measurements, in order of the first cost;
            empty when the search has not got so far, or no network keeps the limits as measured.
            What was not measured is nan. Accuracy is the mean over `seeds` trainings.
        over: The trained trials that break a limit as computed or measured, with means, in order of
            the first cost; `breaks` says which, such as `41.2 ms > 30 ms`.
        control: The hypervolume of the search and of its random control after every training; empty
            without one.
        running: Whether the search is going on, as who reads the folder says.
    """

    def __init__(self, path: str | Path, running: bool = False):
        """Reads the folder.

        Args:
            path: The folder that `nas search --out` named.
            running: Whether the search is going on.

        Raises:
            NasError: No such folder, not a run, or a file of it cannot be read.
        """
        self.path, self.running = Path(path), running
        if not self.path.is_dir():
            raise NasError(f"run {str(path)!r} does not exist; allowed: a folder that `nas search` wrote")
        self.record = read_record(self.path)
        self.trials = read_trials(self.path)
        front = self.objectives.ordered(read_front(self.path))
        self.front = front if self.budget is None else keeping(front, self.budget).reset_index(drop=True)
        numbers = (*_CURVES, *self.objectives.names)
        self.control = read_table(self.path / CURVES, ("by",), numbers, ("trial", "by", "hypervolume"))
        trained = self.trials[self.trials["state"] != "failed"]
        for name, table in (("trials.csv", trained), ("front.csv", self.front)):
            if not (np.isfinite(table["accuracy"]).all() and (table["macs"] > 0).all()):
                raise NasError(
                    f"{name} of run {str(path)!r} lacks accuracy or macs of a trial; allowed: both as numbers"
                )
        self.over = self._over()

    @property
    def budget(self) -> Budget | None:
        """The limits; None where there are none, or one on a metric that another program
        registered.
        """
        try:
            return Budget.parse(self.record.budget) if self.record.budget else None
        except NasError:
            return None

    @property
    def objectives(self) -> Objectives:
        """What networks are compared by, without a metric that another program registered."""
        return Objectives.recorded(self.record.objectives)

    def confirmed(self) -> pd.DataFrame:
        """The trials with the mean accuracy of all their trainings; see
        `nas.runs.selection.ranking.with_means`.
        """
        return with_means(self.trials, read_confirmations(self.path))

    @cached_property
    def answers(self) -> dict[int, list[Answers]]:
        """What networks called the clips that they were judged on, by trial: those whose answers
        are kept of every training that their accuracy is the mean of.
        """
        return _whole(self.path, self.confirmed())

    @cached_property
    def control_answers(self) -> dict[int, list[Answers]]:
        """The same of the networks of the random control, by their own numbers."""
        control = self.control[self.control["by"] == RANDOM]
        return _whole(self.path / CONTROL, control)

    @cached_property
    def baselines(self) -> list[BaselineResult]:
        """The published networks that were cut to the size of the default pick and trained as it
        was; none without a front.
        """
        return read_baselines(self.path, self.row(self.pick_trial())["hash"]) if len(self.front) else []

    def _over(self) -> pd.DataFrame:
        trials = self.confirmed()
        trials = self.objectives.ordered(trials[trials["state"] != "failed"])
        found = [] if self.budget is None else breaches(trials, self.budget)
        trials["breaks"] = [", ".join(each) for each in found or [[]] * len(trials)]
        return trials[trials["breaks"] != ""].reset_index(drop=True)

    def nearest(self) -> int:
        """The number of the trial that misses the limits least, of those that do.

        Raises:
            NasError: None does.
        """
        return int(self.over["trial"].iloc[self._nearest()[0]])

    def reaching(self) -> Budget:
        """The budget moved until the trial that misses it least keeps it.

        Raises:
            NasError: None misses it.
        """
        return self._nearest()[1]

    def _nearest(self) -> tuple[int, Budget]:
        if self.budget is None or self.over.empty:
            raise NasError(f"run {str(self.path)!r} has no network over a limit; allowed: a run with one")
        figures = limited_figures(self.over, self.budget)
        violations = [self.budget.violation(each) for each in figures]
        place = violations.index(min(violations))
        return place, self.budget.reaching(figures[place])

    def offered(self) -> pd.DataFrame:
        """The networks that are offered beside the default pick: those of the front, and others
        that were measured and keep the limits, as far as they are clearly above chance.
        """
        others = self.confirmed()
        others = others[(others["state"] != "failed") & ~others["trial"].isin(self.front["trial"])]
        names = [metric.name for metric in metrics("measured")]
        others = others[others[names].notna().any(axis=1)]
        others = others if self.budget is None else keeping(others, self.budget)
        every = self.front if others.empty else pd.concat([self.front, others], ignore_index=True)
        return every[clearly_above(every, self.record.chance, self.record.clips.get("val"))]

    def picks(self) -> dict[str, int]:
        """The number of the trial that each pick means, by the pick's name; see `pick_trial`."""
        return picks_of(self.front, self.offered(), self.objectives)

    def pick_trial(self, name: str | int = DEFAULT_PICK) -> int:
        """Returns the number of the trial that a pick means.

        Args:
            name: `accuracy` (the default: the most accurate of the front), or of networks clearly
                above chance `knee` (of the front, the most balanced in its objectives, costs that
                differ by factors as their log10), `latency` (the lowest of those measured),
                `memory` (the lowest peak of those measured, or the least activation memory when no
                peak was measured); or the number of any trained trial.

        Raises:
            NasError: An unknown pick, an untrained trial, a run without a front, a latency that
                nobody measured, or a front at chance.
        """
        text = str(name)
        if (number := whole(text)) is not None and number >= 0:
            return self._trained(number)
        if text not in pick_names():
            raise NasError(f"pick {brief(text)} is unknown; allowed: {', '.join(pick_names())} or a trial's number")
        if self.front.empty and len(self.over):
            raise NasError(
                f"run {str(self.path)!r} has no network that keeps {self.record.budget} as measured; allowed: a "
                f"trial's number, or nas search --resume {self.path} --budget {self.reaching()}"
            )
        if self.front.empty:
            raise NasError(f"run {str(self.path)!r} has no front to pick {text!r} from; allowed: a trial's number")
        found, offered = self.picks(), self.offered()
        if text not in found and offered.empty:
            raise NasError(
                f"pick {text!r} is offered of networks clearly above chance, and run {str(self.path)!r} has none; "
                f"allowed: {DEFAULT_PICK} or a trial's number"
            )
        return found[text] if text in found else choose(offered, text, self.objectives)

    def pick(self, name: str | int = DEFAULT_PICK) -> Architecture:
        """Returns the architecture of the trial that a pick means; see `pick_trial`.

        Raises:
            NasError: As `pick_trial`, or the trial's architecture file is missing or cannot be
                read.
        """
        path = self.path / "architectures" / f"{self.pick_trial(name)}.yaml"
        if not path.is_file():
            raise NasError(f"architecture {str(path)!r} does not exist; allowed: a run with all its files")
        return load(path)

    def row(self, trial: int) -> dict[Any, Any]:
        """What is known of a trained trial, by column: its row of the front, else of `confirmed`.

        Raises:
            NasError: It was not trained.
        """
        for table in (self.front, self.confirmed()):
            if len(found := table[table["trial"] == trial]):
                return dict(found.to_dict("records")[0])
        raise NasError(f"trial {trial} of run {str(self.path)!r} was not trained; allowed: one that was")

    def _trained(self, trial: int) -> int:
        trained = self.trials.loc[self.trials["state"] != "failed", "trial"].tolist()
        if trial not in trained:
            known = ", ".join(map(str, trained)) or "none, nothing was trained"
            raise NasError(f"trial {trial} of run {str(self.path)!r} was not trained; allowed: {known}")
        return trial


def _whole(folder: Path, trials: pd.DataFrame) -> dict[int, list[Answers]]:
    """The answers that give the validation accuracies of a table of trials, by trial, all of them
    to the same clips.
    """
    found: dict[int, list[Answers]] = {}
    for answers in read_answers(folder):
        found.setdefault(answers.trial, []).append(answers)
    accuracies = dict(zip(trials["trial"], trials["accuracy"], strict=True))
    return {trial: each for trial, each in found.items() if give(each, accuracies.get(trial, np.nan))}

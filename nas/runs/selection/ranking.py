"""Which trained networks are the front: as the search saw them, and by their means over further
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.limits.budget import Budget
from nas.limits.metrics import METRICS
from nas.limits.objectives import Objectives
from nas.pareto.front import non_dominated
from nas.trained.scores import standard_error

CLEARLY = 2.0  # standard errors above chance at which a network is clearly better than guessing


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and its standard error, s / sqrt(n) with n - 1 under s; the error of fewer than two
    is nan.
    """
    count = len(values)
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def uncertainty(trials: pd.DataFrame, clips: float | None) -> NDArray[np.float64]:
    """The standard error of each accuracy, (trials,): that of a share of so many clips or that over
    seeds, whichever is larger.

    The first leaves out the luck of training, the second, of few seeds, may be small by luck.

    Args:
        trials: `accuracy`, and `accuracy_se` where there are means.
        clips: How many the accuracies are shares of; None where it is unknown.
    """
    accuracy = trials["accuracy"].to_numpy(float)
    over_seeds = trials["accuracy_se"].to_numpy(float) if "accuracy_se" in trials else np.zeros(len(trials))
    of_clips = np.sqrt(accuracy * (1 - accuracy) / clips) if clips else np.zeros(len(trials))
    return np.asarray(np.fmax(np.nan_to_num(over_seeds), of_clips))


def larger_error(row: Mapping[Any, Any], name: str, clips: float | None) -> float:
    """The standard error of one accuracy of a trial as `uncertainty` has it; nan where neither
    error is known.

    Args:
        row: Of a table of trials.
        name: The accuracy: `accuracy` or `test_accuracy`.
        clips: How many it is a share of; None where it is unknown.
    """
    errors = float(row.get(f"{name}_se", math.nan)), standard_error(row[name], clips or math.nan)
    return max((error for error in errors if not math.isnan(error)), default=math.nan)


def clearly_above(trials: pd.DataFrame, chance: float | None, clips: float | None) -> NDArray[np.bool_]:
    """Which trials are more than two standard errors (`uncertainty`) above chance, (trials,).

    Args:
        trials: `accuracy`, and `accuracy_se` where there are means.
        chance: Accuracy of guessing; None where it is unknown, which counts as 0.
        clips: How many the accuracies are shares of; None where it is unknown.
    """
    above = trials["accuracy"].to_numpy(float) - CLEARLY * uncertainty(trials, clips)
    return np.asarray(above > (chance or 0.0), bool)


def with_means(trials: pd.DataFrame, confirmations: pd.DataFrame) -> pd.DataFrame:
    """Trials with means over all seeds in place of the accuracy of one.

    Args:
        trials: A row per trial: `trial`, `state`, `accuracy`, `test_accuracy`, `epochs`.
        confirmations: The further trainings.

    Returns:
        The trials with `accuracy` and `test_accuracy` as means over the trainings that came to
        their end, the search's own included, `accuracy_se`, `test_accuracy_se` and `seeds` (how
        many), and `accuracy_searched`, what the search selected on. A trial that was stopped early
        and trained to its end since is `finished`.
    """
    means = trials.assign(
        accuracy_searched=trials["accuracy"], accuracy_se=math.nan, test_accuracy_se=math.nan, seeds=1
    )
    places = {trial: place for place, trial in enumerate(trials["trial"])}
    columns = {name: place for place, name in enumerate(means.columns)}
    for number, further in confirmations.groupby("trial"):
        place = places.get(number)
        if place is None or trials["state"].iloc[place] == "failed":
            continue
        whole = trials["state"].iloc[place] == "finished"
        row = {"state": "finished", "epochs": further["epochs"].iloc[0], "seeds": len(further) + whole}
        for name in ("accuracy", "test_accuracy"):
            values = [trials[name].iloc[place], *further[name]] if whole else [*further[name]]
            row[name], row[f"{name}_se"] = mean_and_error(np.array(values, float))
        for name, value in row.items():
            means.iloc[place, columns[name]] = value
    return means


def breaches(trials: pd.DataFrame, budget: Budget) -> list[list[str]]:
    """How each trial breaks limits by the figures that are known of it, computed or measured; see
    `nas.limits.budget.Budget.breaches`.
    """
    return [budget.breaches(figures) for figures in limited_figures(trials, budget)]


def keeping(trials: pd.DataFrame, budget: Budget) -> pd.DataFrame:
    """The trials that keep all limits whose figure is known, computed or measured."""
    inside = [budget.violation(figures) == 0 for figures in limited_figures(trials, budget)]
    return trials[np.array(inside, bool)]


def limited_figures(trials: pd.DataFrame, budget: Budget) -> list[dict[str, float]]:
    """The figures of each trial that a budget limits, as far as they are computed or measured; what
    was measured of a trial decides over what was computed.
    """
    columns = {
        name: [each for each in (METRICS[name].name, METRICS[name].after) if each in trials]
        for name in sorted(budget.metrics())
    }
    rows: list[dict[str, float]] = []
    for row in trials[list({each for found in columns.values() for each in found})].astype(float).to_dict("records"):
        known = {name: [row[each] for each in found if not math.isnan(row[each])] for name, found in columns.items()}
        rows.append({name: values[-1] for name, values in known.items() if values})
    return rows


def eligible(trials: pd.DataFrame, chance: float) -> pd.DataFrame:
    """The trials that may be on the front: a cheap network at chance is dominated by nothing and
    worth nothing.

    Only if all that were trained are at chance, all of them are returned.
    """
    known = trials[trials["state"] != "failed"]
    learnt = known[known["accuracy"] > chance]
    return known if learnt.empty else learnt


def front_of(trials: pd.DataFrame, objectives: Objectives, accuracy: str = "accuracy") -> pd.DataFrame:
    """The trials that no other dominates, with what was measured of them in place of what was
    predicted; not those of which an objective is unknown.

    Args:
        trials: With the columns of `trials.csv`.
        objectives: What they are compared by.
        accuracy: The column that holds it.
    """
    points = objectives.points(trials, accuracy)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    return trials.iloc[known[non_dominated(points[known], objectives.maximise)]]


def contenders(trials: pd.DataFrame, front: pd.DataFrame, objectives: Objectives, clips: float | None) -> pd.DataFrame:
    """The trials off the front that may belong on it, the nearest first: as far as one training
    each can tell, no network that costs no more is clearly better.

    Clearly is more than two standard errors of the difference, by the clips alone (`uncertainty`).
    How many trials stand here says how little one seed decides.

    Args:
        trials: With the columns of `trials.csv`.
        front: Those of them that no other dominates, of `front_of`.
        objectives: What they are compared by.
        clips: How many the accuracies are shares of; None where it is unknown: only trials that are
            as accurate and dearer stand here then.
    """
    points, best = (objectives.points(table) for table in (trials, front))
    squares, of_best = (uncertainty(table, clips) ** 2 for table in (trials, front))
    no_dearer = (best[None, :, 1:] <= points[:, None, 1:]).all(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = (best[None, :, 0] - points[:, None, 0]) / np.sqrt(squares[:, None] + of_best[None])
    behind = np.where(no_dearer, np.nan_to_num(behind, nan=0.0), -math.inf).max(axis=1, initial=-math.inf)
    off = ~trials["trial"].isin(front["trial"]).to_numpy() & np.isfinite(points).all(axis=1)
    order = np.argsort(behind, kind="stable")
    return trials.iloc[[place for place in order if off[place] and behind[place] < CLEARLY]]


def ranked_front(trials: pd.DataFrame, chance: float, objectives: Objectives) -> pd.DataFrame:
    """The front by means: of what the search saw on its front and of what was trained with further
    seeds, the trials that no other dominates and that are above chance.

    Any other trial stays off it: its accuracy is of one seed, and the luckiest of many would stand
    against means.

    Args:
        trials: As `with_means` returns them.
        chance: Accuracy of guessing.
        objectives: What they are compared by.
    """
    seen = front_of(trials, objectives, "accuracy_searched")["trial"]
    return front_of(eligible(trials[trials["trial"].isin(seen) | (trials["seeds"] > 1)], chance), objectives)

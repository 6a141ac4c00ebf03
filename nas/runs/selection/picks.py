"""Which of the networks of a run a pick means.

The default everywhere (report, `best.yaml`, `nas export`, `Run.pick`) is the most accurate network
of the front, all of which keeps the limits. The others are offers of something cheaper, made only
of networks that are clearly above chance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.limits.metrics import DEFAULT_PICK, pick_metrics, pick_names
from nas.limits.objectives import Objectives
from nas.pareto.front import knee


def picks_of(front: pd.DataFrame, offered: pd.DataFrame, objectives: Objectives) -> dict[str, int]:
    """The number of the trial that each pick means, by the pick's name; without those of which
    there is none.

    Args:
        front: The front of the run.
        offered: Networks that are clearly above chance and keep the limits: those of the front, and
            others that were measured.
        objectives: What the front is of.
    """
    found: dict[str, int] = {}
    for name in pick_names():
        table = offered if name in pick_metrics() else front
        if name == "knee":
            table = front[front["trial"].isin(offered["trial"])]
        if len(table) and _has_figures(table, name):
            found[name] = choose(table, name, objectives)
    return found


def choose(networks: pd.DataFrame, name: str, objectives: Objectives) -> int:
    """Returns the number of the trial that a pick means among some networks.

    Ties go to the higher accuracy, then to the lower first cost.

    Args:
        networks: At least one row, with the columns of `nas.runs.folder.run.Run.front`.
        name: One of `pick_names`.
        objectives: What the front is of.

    Raises:
        NasError: There are no figures of the pick's metrics, as `latency` where it was not
            measured.
    """
    ordered = by_accuracy(networks, objectives)
    if name == "knee":
        return int(ordered["trial"].iloc[knee(objectives.points(ordered), objectives.maximise)])
    if name == DEFAULT_PICK:
        return int(ordered["trial"].iloc[0])
    metrics = pick_metrics()[name]
    for metric in metrics:
        figures = ordered.reindex(columns=[metric.name])[metric.name].to_numpy(float)
        if not np.isnan(figures).all():
            best = np.nanargmin(figures) if metric.less_is_better else np.nanargmax(figures)
            return int(ordered["trial"].iloc[int(best)])
    needed = " or ".join(f"{metric.source} {metric.title}" for metric in metrics)
    raise NasError(f"pick {name!r} needs a {needed} and this front has none; allowed: another pick")


def by_accuracy(networks: pd.DataFrame, objectives: Objectives) -> pd.DataFrame:
    """Networks in the order of their accuracy, the best first, then of their costs."""
    points = objectives.points(networks)
    order = np.lexsort((*points[:, :0:-1].T, -points[:, 0]))
    return networks.iloc[order].reset_index(drop=True)


def _has_figures(networks: pd.DataFrame, name: str) -> bool:
    columns = [metric.name for metric in pick_metrics().get(name, [])]
    return not columns or bool(networks.reindex(columns=columns).notna().any(axis=None))

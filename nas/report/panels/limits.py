"""The limits, and what share of them the pick uses."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nas.limits.budget import Limit
from nas.limits.metrics import DEFAULT_PICK, METRICS
from nas.report.blocks import Block, Table, Text
from nas.report.panel import Panel
from nas.report.trials import Row, known, trained
from nas.runs.folder.run import Run
from nas.runs.selection.picks import choose
from nas.runs.selection.ranking import limited_figures
from nas.units import MISSING


class Limits(Panel):
    """Each limit of the budget beside the figure of the default pick; without a front, of the
    network over the limits that misses them least, or the most accurate.
    """

    title = "Limits"
    place = 77

    def applies(self, run: Run) -> bool:
        return run.budget is not None and len(trained(run)) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        row, which = _network(run)
        assert run.budget is not None  # `applies` says so
        figures = limited_figures(pd.DataFrame([row]), run.budget)[0]
        rows = [_row(limit, figures.get(limit.metric), row) for limit in run.budget.limits]
        said = f"What trial {row['trial']}, {which}, uses of each limit."
        return [Text(said, "note"), Table(pd.DataFrame(rows), "Limits and a network", words=["Limit", "Of", "As"])]


def _network(run: Run) -> tuple[Row, str]:
    """The network that limits stand beside, and what it is."""
    if len(run.front):
        return run.row(run.pick_trial()), "the default pick"
    inside = known(run)
    inside = inside[~inside["trial"].isin(run.over["trial"])]
    if inside.empty:
        return run.row(run.nearest()), "the network that misses them least"
    return run.row(choose(inside, DEFAULT_PICK, run.objectives)), "the most accurate network so far"


def _row(limit: Limit, figure: float | None, row: Row) -> dict[str, str]:
    metric = METRICS[limit.metric]
    end = limit.high if limit.high < float("inf") else limit.low
    measured = bool(metric.after) and row.get(metric.after) == figure
    how = "trained" if metric.source == "trained" else "measured" if measured else "computed"
    return {
        "Limit": limit.text,
        "The network": metric.figure(figure) if figure is not None else MISSING,
        "Used (%)": f"{100 * figure / end:.0f}" if figure is not None else MISSING,
        "Of": metric.title,
        "As": how if figure is not None else MISSING,
    }

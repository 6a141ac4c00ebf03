"""How the search went."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nas.limits.volume import VolumeScale
from nas.report.blocks import Block, Charts
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Rule, Steps
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import costs_text, hover_text, points_by_state, trained
from nas.runs.folder.run import Run


class Progress(Panel):
    """Accuracy of each trial above the hypervolume so far."""

    title = "How the search went"
    place = 50

    def applies(self, run: Run) -> bool:
        return len(trained(run)) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        return [Charts([progress_chart(run)])]


def progress(run: Run) -> pd.DataFrame:
    """How the search went: one row per trained trial in order of its number.

    Returns:
        `trial`, `accuracy`, `state`, `hover`, `best` (highest accuracy so far) and `hypervolume`:
        of the trials so far, as `nas.limits.volume.VolumeScale` of all of them has it.
    """
    every = trained(run)
    points = run.objectives.points(every, measured=False)
    scale = VolumeScale.of(points[:, 1:], run.record.chance or 0.0, run.objectives)
    return every[["trial", "accuracy", "state"]].assign(
        hover=[hover_text(run, row) for row in every.to_dict("records")],
        best=every["accuracy"].cummax(),
        hypervolume=scale.shares(points),
    )


def progress_chart(run: Run) -> Chart:
    """Returns accuracy over trials above the hypervolume so far."""
    rows = progress(run)
    trials, best = list(rows["trial"]), list(100 * rows["best"])
    dots = points_by_state(rows.assign(x=rows["trial"], y=100 * rows["accuracy"]))
    hover = [f"{percent(share)} %" for share in rows["hypervolume"]]
    volume = Steps("hypervolume so far", trials, list(100 * rows["hypervolume"]), Colour.VOLUME, hover)
    chance = run.record.chance
    rules = []
    if chance:
        rules.append(Rule(100 * chance, "chance", Colour.MUTED, upright=False, text_at=_free_end(rows, chance)))
    axis = Axis.over("Trial", trials, whole=True)
    planes = [
        Plane(axis, Axis("Accuracy (%)"), [*dots, Steps("best so far", trials, best, Colour.FRONT)], rules, 2),
        Plane(axis, Axis("Hypervolume (%)", from_zero=True), [volume]),
    ]
    note = (
        f"Hypervolume: what the trials so far dominate in accuracy above chance and in {costs_text(run)}, "
        "bounded a tenth beyond the costliest trial. 100 % would be a perfect network at the cost of the cheapest."
    )
    return Chart("progress", "Accuracy and hypervolume over trials", planes, [note], size="tall")


def _free_end(rows: pd.DataFrame, level: float) -> float:
    """The end of a level line that has fewer dots at it or a little above it."""
    room = 0.1 * float(rows["accuracy"].max() - rows["accuracy"].min())
    near = rows[rows["accuracy"].between(level - room / 2, level + room)]["trial"]
    share = (near - rows["trial"].min()) / max(1, rows["trial"].max() - rows["trial"].min())
    return 0.0 if (share < 0.2).sum() < (share > 0.8).sum() else 1.0

"""The search beside random search."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Charts, Text
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Steps
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import costs_text
from nas.runs.folder.run import Run
from nas.runs.selection.control import RANDOM, SEARCH, comparison

_AXES = {"trainings": "Trainings", "seconds": "Seconds of training"}
_LINES = ((SEARCH, "search", Colour.FRONT, False), (RANDOM, "random search", Colour.LIMIT, True))


class Control(Panel):
    """The hypervolume of the search and of its random control, over trainings and over seconds."""

    title = "Against random search"
    place = 40

    def applies(self, run: Run) -> bool:
        return len(run.control) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        explained = (
            f"Hypervolume of accuracy, as each training ended, and {costs_text(run)}, bounded by chance "
            "and a tenth beyond the costliest network of both. Random search drew from the same space behind the same "
            "limits, with the same proxies and rungs; seconds are summed over parallel trials; its networks "
            "are not on the front, and are in the folder "
            "control of the run."
        )
        charts = Charts([_chart(run, against) for against in _AXES], picture="control")
        return [Text(comparison(run.control)), charts, Text(explained, "note")]


def _chart(run: Run, against: str) -> Chart:
    lines = []
    for by, name, colour, dotted in _LINES:
        rows = run.control[run.control["by"] == by]
        hover = [
            f"{name}, after {trainings:.0f} trainings and {seconds:,.0f} s: {percent(volume)} %"
            for trainings, seconds, volume in zip(rows["trainings"], rows["seconds"], rows["hypervolume"], strict=True)
        ]
        volumes = list(100 * rows["hypervolume"])
        lines.append(Steps(name, list(rows[against]), volumes, colour, hover, dotted, marked=True))
    axis = Axis.over(_AXES[against], [0.0, *run.control[against]], whole=against == "trainings")
    plane = Plane(axis, Axis("Hypervolume (%)", from_zero=True), lines)
    return Chart(f"control_{against}", f"Hypervolume over {against}", [plane])

"""Accuracy against each cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import pandas as pd

from nas.limits.metrics import ACCURACY, Metric, metrics
from nas.pareto.front import non_dominated
from nas.report.blocks import Block, Charts, Text
from nas.report.charts.chart import Axis, Chart, Colour, Place, Plane, Points, Rule, Steps
from nas.report.charts.labels import Box, Drawing, best_place, label_box, overlap, rule_box
from nas.report.panel import Panel
from nas.report.text import listed
from nas.report.trials import (
    GFLOPS_NOTE,
    Row,
    budget_limits,
    error_of,
    hover_text,
    known,
    objectives_text,
    picks,
    points_by_state,
    prediction_text,
    trained,
)
from nas.runs.folder.run import Run
from nas.units import plural

# What a figure is of, where its name does not say it.
_MEANINGS = {
    "memory_bytes": "Computed for a training step of one float32 clip of the target input with AdamW: weights, its two "
    "moments, and the most bytes of activations and gradients that live at one time. The peak of a forward, in the "
    "table of the front where it was measured, is another quantity.",
}
# Pixels between the outermost dots of a plot: across the page, beside another one, and on a phone.
_TALL, _PLOT, _PHONE = (1050.0, 280.0), (440.0, 200.0), (240.0, 180.0)
_DOT = 4.0  # half of the width of a small one
_ABOVE, _BELOW = 24.0, 18.0  # pixels beyond the outermost dots where a label may stand
_HEIGHTS = tuple(tenth / 10 for tenth in range(11))  # of the text at a limit, on its line
_BEYOND = 20.0  # pixels that a text at a limit may cover for one that it does not stand out of the plot
_NEAR = 12.0  # pixels around a dot where the label of another would be taken for its own
_TITLE = "Accuracy against "


class AccuracyAgainstCost(Panel):
    """A chart for each cost that the run compared networks by, the first across the page, and for
    each further metric that the table of metrics wants drawn.
    """

    title = "Accuracy against cost"
    place = 20

    def applies(self, run: Run) -> bool:
        return len(trained(run)) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        first, *others = accuracy_charts(run)
        drawn = [chart for chart in others if not chart.empty]
        absent = [chart.title.removeprefix(_TITLE) for chart in others if chart.empty]
        lacking = f" No trial has a known {listed(absent)}, so there is no chart of it." if absent else ""
        blocks: list[Block] = [Text(f"{GFLOPS_NOTE} {_reading(run)}{lacking}", "note"), Charts([first])]
        return [*blocks, Charts(drawn)] if drawn else blocks


def _reading(run: Run) -> str:
    """How to read the charts."""
    said = "Accuracy is that of the proxies, cost that of the networks themselves."
    if len(trained(run)) > 1:
        further = ", were trained with more than one seed and" if _confirmed(run) else " and"
        said += (
            " The line of a chart joins the networks that no other beats in accuracy at the same cost or less, of "
            f"those that are better than guessing{further} keep the limits; where the cost was measured, of the "
            "measured."
        )
    if len(run.front):
        said += f" The front, drawn larger, is of {objectives_text(run)}."
    if any(math.isfinite(error_of(run, row, "val")) for row in run.front.to_dict("records")):
        said += " Bars are one standard error, over seeds or of a share of so many clips, whichever is larger."
    return said


def _confirmed(run: Run) -> bool:
    """Whether accuracies of the front are means over seeds."""
    return bool((run.front["seeds"] > 1).any())


def accuracy_charts(run: Run) -> list[Chart]:
    """Returns accuracy against each metric that is drawn; a trial that lacks it is counted in the
    chart's notes.
    """
    every, front, chosen = known(run), run.front, picks(run)
    rows = front.to_dict("records")
    over = set(run.over["trial"])
    # Beside means, the luckiest of many single trainings would be the line.
    least = 2 if _confirmed(run) else 1
    trials = every.assign(
        y=100 * every["accuracy"],
        hover=[hover_text(run, row) for row in every.to_dict("records")],
        within=~every["trial"].isin(over) & (every["seeds"] >= least),
    )
    front = front.assign(
        y=100 * front["accuracy"],
        within=True,
        error=[100 * error_of(run, row, "val") for row in rows],
        label=[_label(chosen.get(trial, [])) for trial in front["trial"]],
        hover=[hover_text(run, row) for row in rows],
    )
    costs = run.objectives.costs
    drawn = [*costs, *(metric for metric in metrics() if metric.in_plot and metric not in costs)]
    return [_chart(run, metric, trials, front, tall=not number) for number, metric in enumerate(drawn)]


def _chart(run: Run, metric: Metric, trials: pd.DataFrame, front: pd.DataFrame, tall: bool) -> Chart:
    predicted, taken = metric.before, metric.after
    measured = taken if taken in front and front[taken].notna().any() else predicted
    on = _drawn(front, measured, metric)
    # A network of the front is drawn once: a second dot at its prediction would look like another.
    others = trials[~trials["trial"].isin(on["trial"])]
    known = _drawn(others, taken or predicted, metric)
    off = pd.concat([known, _drawn(others[~others["trial"].isin(known["trial"])], predicted, metric)])
    limits = budget_limits(run, metric.name)
    ends = [limit / metric.scale for limit in limits]
    axis = Axis.over(metric.label, [*off["x"], *on["x"], *ends])
    marks: list[Points | Steps] = [*points_by_state(off)]
    heights = [*on["y"], *off["y"]]
    sheets = [_Sheet(size, axis, min(heights, default=0.0), max(heights, default=1.0)) for size in _sizes(tall)]
    # What is only predicted is not compared with what was measured.
    line = _line(pd.concat([on, known if measured == taken else off]), run.record.chance or 0.0)
    if len(line) > 1:
        marks.append(Steps("", list(line["x"]), list(line["y"]), Colour.FRONT))
    for sheet in sheets:
        sheet.draw(on, off, line)
    if len(on):
        marks.append(
            Points(
                "front",
                list(on["x"]),
                list(on["y"]),
                Colour.FRONT,
                list(on["hover"]),
                emphasised=True,
                errors=list(on["error"]),
                labels=list(on["label"]),
                places=_places(on, line, axis, sheets),
            )
        )
    rules = [_rule(end, f"budget {end:,g} {metric.unit}", sheets) for end in ends]
    rules += [
        Rule(100 * least, f"budget {100 * least:,g} %", Colour.LIMIT, upright=False, text_at=1.0)
        for least in budget_limits(run, ACCURACY)
    ]
    plane = Plane(axis, Axis("Validation accuracy (%)"), marks, rules)
    notes = [_MEANINGS[metric.name]] if metric.name in _MEANINGS else []
    if taken:
        notes += _measured_notes(metric, measured == taken, front, trials)
    # Files are named after the quantity: pareto_macs, pareto_latency, pareto_memory.
    name = f"pareto_{metric.name.rsplit('_', 1)[0]}"
    return Chart(name, f"{_TITLE}{metric.title}", [plane], notes, "tall" if tall else "plain")


def _label(names: Sequence[str]) -> str:
    """The picks that a dot is, short enough to stand beside it."""
    return ", ".join(names) if len(names) < 3 else f"{names[0]} +{len(names) - 1}"


def _line(rows: pd.DataFrame, chance: float) -> pd.DataFrame:
    """The rows that no other beats in both quantities of the chart, by the cost."""
    rows = rows[rows["within"].astype(bool) & (rows["y"] > 100 * chance)]
    return rows[non_dominated(rows[["y", "x"]].to_numpy(float), [True, False])].sort_values("x")


def _drawn(rows: pd.DataFrame, column: str, metric: Metric) -> pd.DataFrame:
    """The rows that have the figure, with it in the unit of the axis as `x`."""
    values = rows[column] if column in rows else pd.Series(math.nan, rows.index)
    return rows.assign(x=values.astype(float) / metric.scale).dropna(subset="x")


def _measured_notes(metric: Metric, measured: bool, front: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """Which dots are measured, which are predicted or computed, and which are not there."""
    how, notes = ("predicted" if metric.source == "measured" else "computed"), []

    def known(rows: pd.DataFrame, column: str) -> pd.Series:
        return rows[column].notna() if column in rows else pd.Series(False, rows.index)

    def at(rows: pd.DataFrame) -> str:
        why = f", {prediction_text(rows)}" if how == "predicted" else ""
        return f"drawn at {'its' if rows is trials else 'their'} {how} {metric.title}{why}."

    others = trials[~trials["trial"].isin(front["trial"])] if measured else trials
    taken = known(others, metric.after)
    others = others[~taken]
    before = known(others, metric.before)
    if measured:
        and_others = f", and so {plural(int(taken.sum()), 'other trial')}" if taken.any() else ""
        notes.append(f"The front is drawn at its measured {metric.title}{and_others}.")
        absent = int(front[metric.after].isna().sum())
        if absent:
            notes.append(
                f"Not drawn as front: {absent} of its {len(front)} trials, whose {metric.title} was not measured."
            )
        if before.any():
            notes.append(f"Other trials are {at(others)}")
    elif taken.any():
        notes.append(f"{plural(int(taken.sum()), 'trial')} of {len(trials)} drawn at a measured {metric.title}.")
        if before.any():
            notes.append(f"Others are {at(others)}")
    elif before.any():
        notes.append(f"No {metric.title} was measured; everything is {at(trials)}")
    else:
        notes.append(f"No {metric.title} was measured.")
    absent = int((~before).sum())
    if absent:
        kind = "other trained " if measured else "trained "
        notes.append(f"{absent} of {len(others)} {kind}trials have no {how} {metric.title}, and are not drawn.")
    return notes


def _sizes(tall: bool) -> tuple[tuple[float, float], ...]:
    """The sizes that a chart is seen in."""
    return (_TALL if tall else _PLOT, _PHONE)


def _rule(at: float, text: str, sheets: Sequence[_Sheet]) -> Rule:
    """A limit of the cost, with its text where it covers least: below to the left, if it can be."""

    def covered(place: tuple[bool, float]) -> float:
        right, height = place
        boxes = [(sheet, sheet.rule_box(at, height, text, right)) for sheet in sheets]
        beyond = sum(max(-box.left, 0.0) + max(box.right - sheet.size[0], 0.0) for sheet, box in boxes)
        return _BEYOND * beyond + sum(overlap(box, mark) for sheet, box in boxes for mark in sheet.marks)

    right, height = min(product((False, True), _HEIGHTS), key=covered)
    return Rule(at, text, Colour.LIMIT, text_at=height, side="right" if right else "left")


def _places(front: pd.DataFrame, line: pd.DataFrame, axis: Axis, sheets: Sequence[_Sheet]) -> list[Place]:
    """Labels stand towards the middle, where there is room, as no point lies above and to the left
    of the line; one that would cover something there goes to the corner where it covers least.
    """
    on_line = set(line["trial"])
    places: list[Place] = []
    for row in front.to_dict("records"):
        place: Place = (
            "bottom right" if row["x"] < axis.middle else "top left" if row["trial"] in on_line else "bottom left"
        )
        if row["label"]:
            place = best_place(row["label"], place, [sheet.around(row, front) for sheet in sheets])
            for sheet in sheets:
                sheet.marks.append(label_box(sheet.at(row["x"], row["y"]), place, row["label"]))
        places.append(place)
    return places


@dataclass
class _Sheet:
    """A chart in one size, with what is drawn there.

    Attributes:
        size: Pixels between the outermost dots, across and upright.
        axis: The horizontal one.
        low: The lowest accuracy that is drawn, in per cent.
        high: The highest.
        marks: What labels should not cover.
    """

    size: tuple[float, float]
    axis: Axis
    low: float
    high: float
    marks: list[Box] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a dot is."""
        across, upright = self.size
        return self.axis.share(x) * across, (y - self.low) / ((self.high - self.low) or 1.0) * upright

    def box(self, x: float, y: float, half: float) -> Box:
        """A square around a dot."""
        across, upright = self.at(x, y)
        return Box(across - half, upright - half, across + half, upright + half)

    def draw(self, front: pd.DataFrame, others: pd.DataFrame, line: pd.DataFrame) -> None:
        """Adds dots, bars and line; `around` keeps other labels away from the dots of the front."""
        dots = [each for rows in (front, others) for each in zip(rows["x"], rows["y"], strict=True)]
        self.marks += [self.box(x, y, _DOT) for x, y in dots]
        for x, y, error in zip(front["x"], front["y"], front["error"], strict=True):
            if math.isfinite(error):
                (middle, bottom), (_, top) = self.at(x, y - error), self.at(x, y + error)
                self.marks.append(Box(middle - 3, bottom, middle + 3, top))
        corners = [self.at(x, y) for x, y in zip(line["x"], line["y"], strict=True)]
        for (left, bottom), (right, top) in pairwise(corners):
            self.marks += [Box(left, bottom - 1, right, bottom + 1), Box(right - 1, bottom, right + 1, top)]

    def rule_box(self, at: float, height: float, text: str, right: bool) -> Box:
        """The text of an upright rule, to its left or its right at a share of its height."""
        across, upright = self.size
        return rule_box(self.axis.share(at) * across, (-_BELOW, upright + _ABOVE), height, text, right)

    def around(self, row: Row, front: pd.DataFrame) -> Drawing:
        """The chart for the label of a network of the front: the others keep it at a distance."""
        others = front[front["trial"] != row["trial"]]
        near = [self.box(x, y, _NEAR) for x, y in zip(others["x"], others["y"], strict=True)]
        plot = Box(0.0, -_BELOW, self.size[0], self.size[1] + _ABOVE)
        return Drawing(self.at(row["x"], row["y"]), plot, [*self.marks, *near])

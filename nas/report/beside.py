"""Two runs beside each other: the section that `nas report RUN --compare RUN2` adds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.limits.volume import VolumeScale
from nas.report.blocks import Block, Charts, Facts, Table, Text
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points
from nas.report.differences import difference
from nas.report.panels.settings import settings_rows
from nas.report.text import percent
from nas.report.trials import accuracy_text, hover_text, trained
from nas.runs.folder.run import Run
from nas.training.recipe import Recipe
from nas.units import MISSING, duration

# What two runs may differ in without a reader's interest.
_OF_THE_SEARCH = ("spent_s", "step_s", "slot_s", "wall_s", "phases_s", "front_of", "pace", "searched")


def beside(run: Run, other: Run) -> list[Block]:
    """What two runs found: their picks, their fronts in one chart, hypervolumes after the same
    number of trainings on one scale, and the settings in which they differ.

    Raises:
        NasError: They have other objectives, or one of them trained nothing.
    """
    if run.objectives.names != other.objectives.names:
        raise NasError(
            f"run {other.path.name!r} is of {other.objectives}, and {run.path.name!r} of {run.objectives}; allowed: "
            "two runs of the same objectives"
        )
    for each in (run, other):
        if trained(each).empty:
            raise NasError(f"run {each.path.name!r} trained no network; allowed: two runs with trained networks")
    names = _names(run, other)
    count = min(len(trained(run)), len(trained(other)))
    volumes = [math.nan] * 2 if _unlike(run, other) else _volumes(run, other, count)
    rows = [_row(each, name, volume, count) for each, name, volume in zip((run, other), names, volumes, strict=True)]
    said = [Text(text) for text in _verdict(run, other, names)]
    return [
        *said,
        Table(pd.DataFrame(rows), "Two runs", words=["Run", "Pick"]),
        Charts([_chart(run, other, names)]),
        Facts(_different(run, other), ("Setting", f"{names[0]}, {names[1]}"), "Settings in which they differ"),
    ]


def _names(run: Run, other: Run) -> tuple[str, str]:
    """The last parts of their paths, told apart."""
    one, two = run.path.resolve().name, other.path.resolve().name
    return (one, two) if one != two else (f"{one} (this)", f"{two} (other)")


def _volumes(run: Run, other: Run, count: int) -> list[float]:
    """The hypervolume of each after so many trainings, as shares of the same whole."""
    points = [each.objectives.points(trained(each).head(count), measured=False) for each in (run, other)]
    chance = max(each.record.chance or 0.0 for each in (run, other))
    scale = VolumeScale.of(np.concatenate(points)[:, 1:], chance, run.objectives)
    return [scale.share(each) for each in points]


def _row(run: Run, name: str, volume: float, count: int) -> dict[str, str]:
    found = {"Run": name, "Trained": str(len(trained(run))), f"Hypervolume after {count} (%)": percent(volume)}
    row = run.row(run.pick_trial()) if len(run.front) else None
    found["Pick"] = f"trial {row['trial']}" if row else MISSING
    found["Validation"] = accuracy_text(run, row, "val") if row else MISSING
    for metric in run.objectives.costs:
        value = row.get(metric.name, float("nan")) if row else float("nan")
        found[metric.title.capitalize()] = MISSING if np.isnan(value) else metric.figure(value)
    return found | {"Took": duration(run.record.wall_s) if run.record.wall_s else MISSING}


def _unlike(run: Run, other: Run) -> list[str]:
    """In what they differ that accuracies are of."""
    known = [{"data": each.record.data, "clips": each.record.clips, "proxy": _proxy(each)} for each in (run, other)]
    return [name for name in known[0] if known[0][name] != known[1][name]]


def _proxy(run: Run) -> object:
    """How its networks were trained, but for the seed. What a recipe has learnt to say since then
    is as it was without, as where the run is resumed.
    """
    proxy = run.record.proxy
    if proxy is None or not proxy.recipe:
        return proxy
    recipe = {**asdict(Recipe(epochs=1)), "lr_channels": 0, **proxy.recipe, "seed": 0}
    return replace(proxy, recipe={name: json.dumps(value) for name, value in recipe.items()})


def _verdict(run: Run, other: Run, names: tuple[str, str]) -> list[str]:
    if unlike := _unlike(run, other):
        of = f"They differ in {', '.join(unlike)}, so neither accuracies nor hypervolumes are of the same thing."
        return [of, "It is one run of each."]
    said = [
        "Hypervolumes are of what each had after the same number of trainings, on one scale. It is one run of each."
    ]
    if run.front.empty or other.front.empty:
        return [*said, "One of the two has no front, so there are no picks to compare."]
    gain = difference(run, run.row(run.pick_trial()), other.row(other.pick_trial()))
    return [f"The pick of {names[0]} is {gain.text(f'that of {names[1]}')} on validation.", *said]


def _chart(run: Run, other: Run, names: tuple[str, str]) -> Chart:
    """Both fronts, over the first cost."""
    metric, marks = run.objectives.costs[0], []
    for each, name, colour in zip((run, other), names, (Colour.FRONT, Colour.LIMIT), strict=True):
        rows = each.front if len(each.front) else trained(each)
        x = list(each.objectives.figures(rows)[:, 0] / metric.scale)
        hover = [hover_text(each, row) for row in rows.to_dict("records")]
        marks.append(Points(name, x, list(100 * rows["accuracy"]), colour, hover, emphasised=True))
    axis = Axis.over(metric.label, [value for mark in marks for value in mark.x])
    plane = Plane(axis, Axis("Validation accuracy (%)"), marks)
    return Chart("beside", f"Fronts of {names[0]} and {names[1]}", [plane], size="tall")


def _different(run: Run, other: Run) -> list[tuple[str, str]]:
    """The settings in which they differ, with both values."""
    one, two = dict(settings_rows(run)), dict(settings_rows(other))
    names = [name for name in dict.fromkeys([*one, *two]) if name.split(".")[0] not in _OF_THE_SEARCH]
    pairs = [(name, one.get(name, MISSING), two.get(name, MISSING)) for name in names]
    return [(name, f"{mine}; {its}") for name, mine, its in pairs if mine != its] or [("none", MISSING)]

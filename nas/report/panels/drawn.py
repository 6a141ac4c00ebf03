"""The picks, drawn layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nas.architecture import Architecture
from nas.errors import NasError
from nas.report.blocks import Beside, Block, Charts, Drawing, Layer, Stage, Text
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points
from nas.report.panel import Panel
from nas.report.trials import picks
from nas.runs.folder.journal import Curve, curves
from nas.runs.folder.run import Run
from nas.runs.folder.tables import LATENCIES
from nas.units import number

if TYPE_CHECKING:
    from nas.profiler.tables.predictor import Predictor


class Drawn(Panel):
    """Each pick with its stages as rows and its layers as cells: operator, width, share of the
    multiply-adds and of the latency; and how its training went.
    """

    title = "The picks, layer by layer"
    place = 33

    def applies(self, run: Run) -> bool:
        return any(_architecture(run, trial) for trial in picks(run))

    def blocks(self, run: Run) -> Sequence[Block]:
        chosen = picks(run)
        kept, found, predictor = curves(run.path, set(chosen)), list[Block](), _predictor(run)
        for trial, names in chosen.items():
            if (architecture := _architecture(run, trial)) is not None:
                drawing = Drawing(f"{', '.join(names)}: trial {trial}", list(_stages(architecture, predictor)))
                charts = training_charts(run, trial, names[0], kept[trial]) if trial in kept else None
                found.append(Beside(drawing, charts) if charts else drawing)
        said = (
            "Data flows from the top and from the left. The fuller a cell, the larger its share of the network's "
            "multiply-adds. Behind the name of an operator stands the width of its layer; the size of the map that a "
            "stage works on is frames x height x width."
        )
        if predictor:
            said += (
                " What is said of the time is a layer's share of the sum of all layers' latencies, which the table "
                "that this run predicted latency from holds, or predicts where it lacks a layer."
            )
        return [Text(said, "note"), *found]


def _architecture(run: Run, trial: int) -> Architecture | None:
    """The network of a trial; None where its file is not there or names what is unknown here."""
    try:
        return run.pick(trial)
    except NasError:
        return None


def _predictor(run: Run) -> Predictor | None:
    """What tells the latency of layers; None where the run predicted none, or none can be read."""
    path = run.path / LATENCIES
    if not path.is_file():
        return None
    from nas.profiler.tables.predictor import Predictor
    from nas.profiler.tables.table import Table

    try:
        return Predictor(Table.load(path))
    except NasError:
        return None


def _stages(architecture: Architecture, predictor: Predictor | None) -> Iterator[Stage]:
    """The rows of the drawing: stem, stages, head."""
    # It brings torch, which a report without picks does not need.
    from nas.profiler.computed.cost import cost

    figures = cost(architecture)
    total = max(1, figures.macs)
    rows: dict[str, Stage] = {}
    parts = list(architecture.parts())
    latencies: list[float | None] = [None] * len(parts)
    if predictor:
        times = predictor.parts_ms(architecture)
        whole = sum(times)
        latencies = [ms / whole for ms in times]
    for part, latency in zip(parts, latencies, strict=True):
        words = part.path.split(".")
        title = f"stage {int(words[1]) + 1}" if words[0] == "stages" else words[0]
        shape = part.output
        size = (
            f"{shape.frames}x{shape.height}x{shape.width}"
            if shape.grid
            else f"{shape.width} tokens"
            if shape.width > 1
            else ""
        )
        inner = [row for row in figures.layers if row.path == part.path or row.path.startswith(f"{part.path}.")]
        share = sum(row.macs for row in inner) / total
        name = part.config.op if words[-1] != "downsample" else f"downsample {part.config.op}"
        layer = Layer(name, shape.channels, share, latency)
        before = rows.get(title)
        rows[title] = Stage(title, size, [*(before.layers if before else []), layer])
    yield from rows.values()


def training_charts(run: Run, trial: int, pick: str, curve: Curve) -> Charts | None:
    """Returns accuracy and loss over the epochs of a training, with the figures in words; None
    where there is but one of each.
    """
    # A training that ends stands for every rung that it did not need.
    accuracies = dict(zip(_epochs(run, curve), (100 * each for each in curve.accuracies), strict=False))
    losses = dict(enumerate(curve.losses, 1))
    axis = Axis.over("Epoch", [*accuracies, *losses], whole=True)
    planes, said = [], []
    if max(len(accuracies), len(losses)) > 1 and accuracies:
        planes.append(_plane(axis, "Accuracy (%)", accuracies, Colour.FRONT, "{} % on validation after epoch {}"))
        texts = [f"{value:.1f} % after {epoch}" for epoch, value in accuracies.items()]
        said.append(f"Validation accuracy in the search, by epochs: {', '.join(texts)}.")
    if len(losses) > 1:
        planes.append(_plane(axis, "Loss", losses, Colour.MUTED, "mean loss {} in epoch {}"))
        first, *_, last = curve.losses
        said.append(f"Mean loss of the training clips: {number(first)} in the first epoch, {number(last)} in the last.")
    if not planes:
        return None
    name = re.sub(r"\W", "_", f"training_{pick}")
    return Charts([Chart(name, f"Training of trial {trial}", planes, said, "small")])


def _epochs(run: Run, curve: Curve) -> tuple[int, ...]:
    """The epochs after which accuracies were taken; empty where nobody knows."""
    if curve.reached or run.record.proxy is None or (run.record.settings and run.record.settings.rung_seconds):
        return curve.reached
    return run.record.proxy.rungs  # of an earlier version


def _plane(axis: Axis, label: str, values: Mapping[int, float], colour: Colour, hover: str) -> Plane:
    texts = [hover.format(number(value, 3), epoch) for epoch, value in values.items()]
    return Plane(axis, Axis(label), [Points("", list(values), list(values.values()), colour, texts, joined=True)])

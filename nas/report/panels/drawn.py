"""The picks, drawn layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.architecture import Architecture
from nas.errors import NasError
from nas.report.blocks import Block, Drawing, Layer, Stage, Text
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import picks
from nas.runs.folder.journal import curves
from nas.runs.folder.run import Run


class Drawn(Panel):
    """Each pick with its stages as rows and its layers as cells: operator, width, share of the
    multiply-adds; and its accuracy on the way of its training.
    """

    title = "The picks, layer by layer"
    place = 33

    def applies(self, run: Run) -> bool:
        return any(_architecture(run, trial) for trial in picks(run))

    def blocks(self, run: Run) -> Sequence[Block]:
        chosen = picks(run)
        kept, found = curves(run.path, set(chosen)), list[Block]()
        for trial, names in chosen.items():
            if (architecture := _architecture(run, trial)) is not None:
                found.append(Drawing(f"{', '.join(names)}: trial {trial}", list(_stages(architecture))))
                found += [Text(_curve(run, kept[trial]), "note")] if trial in kept else []
        said = (
            "Data flows from the top and from the left. The fuller a cell, the larger its share of the network's "
            "multiply-adds. Behind the name of an operator stands the width of its layer; the size of the map that a "
            "stage works on is frames x height x width."
        )
        return [Text(said, "note"), *found]


def _architecture(run: Run, trial: int) -> Architecture | None:
    """The network of a trial; None where its file is not there or names what is unknown here."""
    try:
        return run.pick(trial)
    except NasError:
        return None


def _stages(architecture: Architecture) -> Iterator[Stage]:
    """The rows of the drawing: stem, stages, head."""
    # It brings torch, which a report without picks does not need.
    from nas.profiler.computed.cost import cost

    figures = cost(architecture)
    total = max(1, figures.macs)
    rows: dict[str, Stage] = {}
    for part in architecture.parts():
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
        layer = Layer(name, shape.channels, share)
        before = rows.get(title)
        rows[title] = Stage(title, size, [*(before.layers if before else []), layer])
    yield from rows.values()


def _curve(run: Run, accuracies: Sequence[float]) -> str:
    """The accuracies of a training at its rungs."""
    rungs = run.record.proxy.rungs if run.record.proxy else ()
    texts = [f"{percent(accuracy)} %" for accuracy in accuracies]
    if len(rungs) >= len(texts):
        texts = [f"{text} after {epochs}" for text, epochs in zip(texts, rungs, strict=False)]
        return f"Validation accuracy in the search, by epochs: {', '.join(texts)}."
    return f"Validation accuracy in the search, rung by rung: {', '.join(texts)}."

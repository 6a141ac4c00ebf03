"""Pictures of a trained network's answers, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nas.trained.passes import Pixels
from nas.trained.prediction import Prediction
from nas.trained.scores import Ints

_DPI = 150
_NUMBERED, _NAMED = 20, 60  # most classes with a number in each cell, and with a name at each row
_FRAMES = 4  # of a thumbnail
_LINES = 8  # classes of a timeline
# Colours of Okabe and Ito, which colour-blind readers can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#8c8c8c")


def confusion(matrix: Ints, classes: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix, (K, K) with classes in rows: shares of the row as shades, counts as
    numbers where they can be read.
    """
    count = len(classes)
    side = min(14.0, max(4.5, 2.5 + 0.42 * count))
    figure = Figure(figsize=(side, side), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _NAMED:
        axes.set_xticks(range(count), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(count), classes, parse_math=False)
    if count <= _NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xlabel("called")
    axes.set_ylabel("class")
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the class")
    figure.savefig(path, format="png")


def contact_sheet(clips: Iterable[tuple[str, Pixels]], path: Path) -> None:
    """Draws clips, uint8 (T, H, W, 3), as a few of their frames side by side under a caption."""
    clips = list(clips)
    columns = 3
    rows = math.ceil(len(clips) / columns)
    figure = Figure(figsize=(4.4 * columns, 1.7 * rows), dpi=_DPI, layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, (caption, pixels) in zip(figure.axes, clips, strict=False):
        axes.imshow(np.concatenate(list(pixels[spread(len(pixels), _FRAMES)]), axis=1))
        axes.set_title(caption, fontsize=7, loc="left", parse_math=False)
    figure.savefig(path, format="png")


def spread(count: int, wanted: int) -> list[int]:
    """The middles of `wanted` equal parts of `count` frames; all where there are fewer."""
    wanted = min(wanted, count)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def timeline(predictions: Sequence[Prediction], path: Path) -> None:
    """Draws the predictions of the windows of one video over time: a line for each of the classes
    that are most probable anywhere.
    """
    probabilities = np.stack([each.probabilities for each in predictions])
    spans = [each.span or (0.0, 0.0) for each in predictions]
    classes = predictions[0].classes
    shown = np.argsort(-probabilities.max(0), kind="stable")[:_LINES]
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    middles = [(start + end) / 2 for start, end in spans]
    for colour, k in zip(_COLOURS, sorted(shown), strict=False):
        axes.plot(middles, probabilities[:, k], color=colour, marker="o", ms=3, label=_literal(classes[k]))
    axes.set_xlim(0, max(end for _, end in spans) or 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("seconds (middle of the window)")
    axes.set_ylabel("probability")
    axes.set_title(Path(predictions[0].video).name, loc="left", parse_math=False)
    axes.grid(color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    figure.savefig(path, format="png")


def _literal(name: str) -> str:
    """A name for a legend, whose texts would read dollars as mathematics and leave out what begins
    with an underscore.
    """
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped

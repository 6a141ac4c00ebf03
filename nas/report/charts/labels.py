"""Where a label beside a dot stands, in pixels, so that it covers neither dots nor other labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

from nas.report.charts.chart import Place

PLACES: tuple[Place, ...] = get_args(Place)
_CHARACTER, _LINE = 7.0, 16.0  # width and height
_AWAY = 6.0  # from the middle of the dot


class Box(NamedTuple):
    """Left, bottom, right and top of what is drawn."""

    left: float
    bottom: float
    right: float
    top: float


def label_box(dot: tuple[float, float], place: Place, text: str) -> Box:
    """The room of a label at a dot.

    Args:
        dot: Its middle, from the left and from the bottom.
        place: On which side of it.
        text: The label.
    """
    (x, y), width = dot, _CHARACTER * len(text)
    vertical, side = place.split()
    left = x + _AWAY if side == "right" else x - _AWAY - width
    bottom = y + _AWAY if vertical == "top" else y - _AWAY - _LINE
    return Box(left, bottom, left + width, bottom + _LINE)


def rule_box(line: float, span: tuple[float, float], share: float, text: str, right: bool = False) -> Box:
    """The room of a text beside an upright line.

    Args:
        line: Where it is, from the left.
        span: Its lower and its upper end, from the bottom.
        share: Where along it the text stands, from 0 at the lower end to 1 at the upper one.
        text: The text.
        right: Whether it stands to the right of the line, and not to the left.
    """
    bottom = span[0] + share * (span[1] - span[0] - _LINE)
    width = _CHARACTER * len(text)
    left = line + _AWAY if right else line - _AWAY - width
    return Box(left, bottom, left + width, bottom + _LINE)


def overlap(one: Box, other: Box) -> float:
    """The pixels that two boxes share."""
    across = min(one.right, other.right) - max(one.left, other.left)
    upright = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(across, 0.0) * max(upright, 0.0)


class Drawing(NamedTuple):
    """A chart in one of the sizes that it is seen in, such as that of a phone.

    Attributes:
        dot: The middle of the dot that has a label.
        plot: Where labels may stand.
        marks: What is drawn: dots, bars, lines and other labels.
    """

    dot: tuple[float, float]
    plot: Box
    marks: Sequence[Box]

    def covered(self, place: Place, text: str) -> float:
        """The pixels of what is drawn that a label would cover, and its own beyond the plot."""
        box = label_box(self.dot, place, text)
        outside = (box.right - box.left) * (box.top - box.bottom) - overlap(box, self.plot)
        return outside + sum(overlap(box, mark) for mark in self.marks)


def best_place(text: str, first: Place, drawings: Sequence[Drawing]) -> Place:
    """Where a label covers least, over all sizes that the chart is seen in.

    Args:
        text: The label.
        first: The place that is taken where no other is better.
        drawings: The chart in each size.
    """
    places = dict.fromkeys((first, *PLACES))
    return min(places, key=lambda place: sum(drawing.covered(place, text) for drawing in drawings))

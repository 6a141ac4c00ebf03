"""Where a label beside a dot stands, in pixels, so that labels do not stand on each other."""

from __future__ import annotations

from typing import NamedTuple, get_args

from nas.report.charts.chart import Place

PLACES: tuple[Place, ...] = get_args(Place)
_CHARACTER, _LINE = 7.0, 16.0  # width and height
_AWAY = 6.0  # from the middle of the dot


class Box(NamedTuple):
    """Left, bottom, right and top of a text."""

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


def overlap(one: Box, other: Box) -> bool:
    """Whether two labels stand on each other."""
    across = one.left < other.right and other.left < one.right
    return across and one.bottom < other.top and other.bottom < one.top

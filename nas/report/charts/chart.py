"""What a chart shows: plain data that both drawings read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

NOTHING = "Nothing to draw: no trial has these figures."
_ROOM = 0.06  # beyond the outermost value, as a share of the axis
_TICKS = 10  # at most
_LOG_FROM = 4  # times the lowest value: from there on an axis is logarithmic

Place = Literal["bottom right", "top left", "bottom left", "top right"]


class Colour(Enum):
    """Colours by what they stand for: in the light theme and in pictures, and in the dark theme.

    From the palette of Okabe and Ito, which colour-blind readers can tell apart.
    """

    FRONT = ("#0072b2", "#56b4e9")
    TRIAL = ("#8c8c8c", "#8f959b")
    LIMIT = ("#d55e00", "#e08a3c")
    VOLUME = ("#009e73", "#2bc795")
    MUTED = ("#5c656f", "#a3abb3")

    @property
    def variable(self) -> str:
        """The name of the page's CSS variable."""
        return f"--{self.name.lower()}"

    @property
    def light(self) -> str:
        return self.value[0]

    @property
    def dark(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Axis:
    """An axis of numbers.

    Attributes:
        label: What it shows, with its unit.
        log: Whether it is logarithmic.
        whole: Whether only whole numbers are marked.
        ends: Its ends; by default those that the drawing finds.
        from_zero: Whether it begins at zero; only where it has no `ends`.
    """

    label: str
    log: bool = False
    whole: bool = False
    ends: tuple[float, float] | None = None
    from_zero: bool = False

    @classmethod
    def over(cls, label: str, values: Iterable[float], whole: bool = False) -> Axis:
        """An axis with a little room beyond the values, logarithmic where they span a factor of
        more than four, unless they are whole numbers that are counted.
        """
        known = [value for value in values if math.isfinite(value)]
        if not known:
            return cls(label)
        low, high = min(known), max(known)
        if low > 0 and high > _LOG_FROM * low and not whole:
            room = (high / low) ** _ROOM
            return cls(label, log=True, ends=(low / room, high * room))
        room = _ROOM * ((high - low) or abs(high) or 1.0)
        return cls(label, whole=whole, ends=(low - room, high + room))

    @property
    def middle(self) -> float:
        """The value half way between the ends, as drawn; nan without ends."""
        low, high = self.ends or (math.nan, math.nan)
        return math.sqrt(low * high) if self.log else (low + high) / 2

    def share(self, value: float) -> float:
        """Where a value is, from 0 at the low end to 1 at the high one; 0.5 without ends."""
        if self.ends is None:
            return 0.5
        low, high, at = (math.log(each) if self.log else each for each in (*self.ends, value))
        return (at - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """Where marks stand, at most ten; empty where the drawing finds them.

        On a logarithmic axis at 1, 2 and 5 times the powers of ten, or at the powers alone where
        those are many; on one of whole numbers at equal distances.
        """
        if self.ends is None or not (self.log or self.whole):
            return []
        low, high = self.ends
        if self.whole:
            steps = (factor * 10**power for power in range(16) for factor in (1, 2, 5))
            step = next(step for step in steps if (high - low) / step <= _TICKS)
            return [float(tick) for tick in range(math.ceil(low / step) * step, math.floor(high) + 1, step)]
        powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
        ticks = [factor * power for power in powers for factor in (1, 2, 5) if low <= factor * power <= high]
        return ticks if len(ticks) <= _TICKS else [power for power in powers if low <= power <= high]


@dataclass(frozen=True)
class Points:
    """Dots, one for each `x` and `y`.

    Attributes:
        name: In the legend; without one they have no entry there.
        x: In the unit of the axis.
        y: In the unit of the axis.
        colour: Of the dots.
        hover: On the page, the text at a dot: HTML, with what the run brought escaped.
        hollow: Whether dots are rings.
        emphasised: Whether dots are large.
        errors: Half the length of a vertical bar at each dot; nan for none.
        labels: A text beside each dot; empty for none.
        places: Where it stands.
        joined: Whether a line joins the dots, in their order.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: Colour
    hover: Sequence[str] = ()
    hollow: bool = False
    emphasised: bool = False
    errors: Sequence[float] = ()
    labels: Sequence[str] = ()
    places: Sequence[Place] = ()
    joined: bool = False


@dataclass(frozen=True)
class Steps:
    """A line that keeps its value up to the next `x`.

    Attributes:
        name: In the legend; without one it has no entry there.
        x: Ascending, in the unit of the axis.
        y: In the unit of the axis.
        colour: Of the line.
        hover: On the page, the text at each `x`.
        dotted: Whether the line is dotted.
        marked: Whether each `x` has a small dot.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: Colour
    hover: Sequence[str] = ()
    dotted: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, grouped with the other bars of the same plane.

    Attributes:
        name: In the legend.
        categories: Text beside each bar, from the bottom.
        values: In the unit of the x axis.
        colour: Of the bars.
    """

    name: str
    categories: Sequence[str]
    values: Sequence[float]
    colour: Colour


@dataclass(frozen=True)
class Rule:
    """A straight line across the plane.

    Attributes:
        at: Where on its axis.
        text: Beside it.
        colour: Of the line.
        upright: Whether `at` is on the x axis and not on the y axis.
        text_at: Where along the line the text stands: 0 at its lower or left end, 1 at the other.
        side: Of an upright line, where its text stands.
    """

    at: float
    text: str
    colour: Colour
    upright: bool = True
    text_at: float = 0.0
    side: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Plane:
    """What shares a pair of axes.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        marks: What is drawn, the first at the back.
        rules: Lines across.
        height: Beside the other planes of the chart.
    """

    x: Axis
    y: Axis
    marks: Sequence[Points | Steps | Bars]
    rules: Sequence[Rule] = ()
    height: float = 1.0


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        name: Of its file and of its element in the page: letters, digits and underscores; no other
            chart of the report has it.
        title: Above it.
        planes: From the top; they share the x axis of the last.
        notes: Sentences below it, about what is shown and what is not.
        size: How much of the page it takes.
    """

    name: str
    title: str
    planes: Sequence[Plane]
    notes: Sequence[str] = field(default=())
    size: Literal["small", "plain", "tall"] = "plain"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        marks = [mark for plane in self.planes for mark in plane.marks]
        return not any(len(mark.values if isinstance(mark, Bars) else mark.x) for mark in marks)

"""Figures as tables print them, with SI prefixes, so that the work of a small module has digits
too; and times as people write them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Self

from nas.errors import NasError, brief

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 1000 * 86400  # seconds that anything may be told to take
_PREFIXES = (("G", 9), ("M", 6), ("k", 3), ("", 0))
MISSING = "\N{EN DASH}"
_DIGITS = 4  # after the point, in a column with a prefix


def _prefix(value: float) -> tuple[str, int]:
    """The prefix of a count and its power of ten; papers count in G however much there is."""
    return next(((symbol, power) for symbol, power in _PREFIXES if value >= 10**power), _PREFIXES[-1])


def quantity(value: float, base: str = "") -> str:
    """Formats one figure on its own with four digits, such as `16.99 MB`."""
    symbol, power = _prefix(value)
    scaled = value / 10**power
    return f"{scaled:.4g} {symbol}{base}".rstrip() if scaled < 1000 else f"{scaled:.0f} {symbol}{base}"


def number(value: float, digits: int = 3) -> str:
    """Formats with so many significant digits, never in powers of ten; nan is a dash."""
    if not math.isfinite(value):
        return MISSING
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"


def whole(text: str) -> int | None:
    """The whole number that a text is; None of any other text, and of one of 100 and more digits:
    Python refuses to read very many.
    """
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 100 else None


def seconds(text: str) -> float:
    """Reads a time such as `90s`, `30m`, `1.5h` or `1h30m`.

    Raises:
        NasError: No number with a unit, not above zero, or longer than a thousand days.
    """
    plain = "".join(text.lower().split())
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([smhd])", plain)
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 < total <= LONGEST or "".join(number + unit for number, unit in parts) != plain:
        raise NasError(
            f"time {brief(text)} is not a time; allowed: numbers with s, m, h or d, such as 90s, 30m or 1h30m, up to "
            "1000d"
        )
    return total


def duration(time: float) -> str:
    """Formats seconds as hours, minutes and seconds, the two largest units that count."""
    if not math.isfinite(time):
        return MISSING
    if time < 60:
        return f"{number(time, 2)} s"
    minutes, rest = divmod(round(time), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def magnitude(count: int) -> str:
    """A count of any size with three digits, such as `2.4e+15`."""
    return f"{count:.3g}" if count < 10**300 else f"1e+{int(math.log10(count))}"


def plural(count: int, noun: str) -> str:
    """A count of things, such as `1 epoch` or `1,024 clips`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Unit:
    """The unit of a column, which its total sets.

    Attributes:
        symbol: As the head of the column shows it, such as `M` or `kB`; empty for plain counts.
        power: Power of ten that it stands for.
    """

    symbol: str
    power: int

    @classmethod
    def of(cls, total: float, base: str = "") -> Self:
        """The unit in which a total has one to three digits before the point, in G possibly more.

        Args:
            total: The largest figure of the column.
            base: What is counted, such as `B`; empty for plain counts.
        """
        prefix, power = _prefix(total)
        return cls(f"{prefix}{base}", power)

    def head(self, name: str) -> str:
        """The head of the column: its name, and the unit in parentheses."""
        return f"{name} ({self.symbol})" if self.symbol else name

    def text(self, value: float) -> str:
        """A figure of the column; what would round to nothing is not shown as none."""
        digits = _DIGITS if self.power else 0
        scaled, least = value / 10**self.power, 10**-digits
        if not value:
            return "0"
        return f"<{least:.{digits}f}" if scaled < least / 2 else f"{scaled:.{digits}f}"


@dataclass(frozen=True)
class Column:
    """A figure of a cost, as tables and treemaps name it.

    Attributes:
        name: The attribute of a cost and of its rows.
        head: The head of its column, without the unit.
        words: The same in words.
        base: What is counted: `B` for bytes; empty for plain counts.
    """

    name: str
    head: str
    words: str
    base: str = ""

    def unit(self, figures: Any) -> Unit:
        """The unit that the whole cost sets."""
        return Unit.of(getattr(figures, self.name), self.base)


SUMS = (
    Column("macs", "MACs", "multiply-adds"),
    Column("elementwise", "other", "other operations"),
    Column("params", "params", "parameters"),
    Column("bytes_moved", "moved", "bytes moved", "B"),
    Column("activation_bytes", "kept", "activations kept", "B"),
)
LIVE = Column("inference_bytes", "live", "bytes that live", "B")  # a peak: it does not add up over rows
COLUMNS = (*SUMS, LIVE)
OPERATOR_COLUMNS = tuple(column for column in SUMS if column.name in ("macs", "elementwise", "bytes_moved"))
UNITS = (
    "MACs are multiply-adds of convolutions, linear layers and attention products, 10^9 of which are a GFLOP of the "
    "video papers; other is operations of everything else; moved is what operators read and write, kept what training "
    "keeps for the backward pass, live the most that lives in inference while a row runs, in bytes at float32; k, M "
    "and G are 10^3, 10^6 and 10^9, chosen for each column."
)

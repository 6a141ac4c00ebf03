"""Readers of option values that several commands share."""

from __future__ import annotations

import re

from nas.errors import NasError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Reads a time such as `90s`, `30m`, `1.5h` or `1h30m`.

    Raises:
        NasError: No number with a unit, or not above zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text.lower())
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0 or "".join(number + unit for number, unit in parts) != text.lower():
        raise NasError(f"time {text!r} is not a time; allowed: numbers with s, m, h or d, such as 90s, 30m or 1h30m")
    return total


def clip_shape(text: str) -> tuple[int, int]:
    """Reads frames and size of a clip such as `8x32`.

    Raises:
        NasError: Not two whole numbers above zero.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.lower())
    if not match:
        raise NasError(f"proxy {text!r} is no clip shape; allowed: frames x size, such as 8x32")
    return int(match[1]), int(match[2])


def option_name(name: str) -> str:
    """A setting as the command line spells it: `--train-clips`, or `SPACE` for the argument."""
    return name.upper() if name == "space" else f"--{name.replace('_', '-')}"


def refuse_two_regions(space: str | None, around: str | None, edits: int | None) -> None:
    """Refuses a space beside a network whose neighbourhood is searched, and edits without one.

    Args:
        space, around, edits: As they were given on the command line; None where they were not.

    Raises:
        NasError: Both are named, or edits without what they are edits of.
    """
    if around is not None and space is not None:
        raise NasError(f"space {space!r} stands beside --around {around}; allowed: one of them")
    if edits is not None and around is None:
        raise NasError(f"edits {edits} are of no network; allowed: --edits beside --around")

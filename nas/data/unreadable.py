"""Clips that cannot be read: how many a run bears, and the list of them in its folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError
from nas.resources import csv_cell, replacing
from nas.units import plural

MOST_UNREADABLE = 0.05  # share of the clips of a split; with more, the data is not what it was taken for
UNREADABLE = "unreadable.csv"  # in the folder of a run
_SHOWN = 10  # in a message


@dataclass(frozen=True)
class Unreadable:
    """A clip that was left out.

    Attributes:
        split: train, val or test.
        clip: Its file, or its name where it is none.
        reason: A sentence.
    """

    split: str
    clip: str
    reason: str


def check_unreadable(found: Sequence[Unreadable], count: int) -> None:
    """Refuses a split of which too much cannot be read.

    Args:
        found: Its clips that cannot be read.
        count: All that were to be read.

    Raises:
        NasError: They are more than `MOST_UNREADABLE` of all, with the list.
    """
    if len(found) <= MOST_UNREADABLE * count:
        return
    of = f" of {found[0].split}" if found[0].split else ""
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    reasons = "; ".join(each.reason.partition("; allowed")[0] for each in found[:_SHOWN])
    raise NasError(
        f"{len(found)} of {plural(count, 'clip')}{of} cannot be read: {reasons}{more}; "
        f"allowed: up to {100 * MOST_UNREADABLE:.0f} % (`nas data check` lists them all)"
    )


def write_unreadable(folder: Path, found: Sequence[Unreadable]) -> None:
    """Writes `unreadable.csv` with the columns split, clip and reason; where all clips can be read,
    there is none.
    """
    path = folder / UNREADABLE
    if not found:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("split", "clip", "reason"))
        writer.writerows(map(csv_cell, (each.split, each.clip, each.reason)) for each in found)


def read_unreadable(folder: Path) -> tuple[Unreadable, ...]:
    """What `write_unreadable` wrote; nothing where there is no such file.

    Raises:
        NasError: It is no such table.
    """
    path = folder / UNREADABLE
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    if not rows or rows[0] != ["split", "clip", "reason"] or any(len(row) != 3 for row in rows):
        raise NasError(f"table {str(path)!r} is not of unreadable clips; allowed: the columns split, clip, reason")
    return tuple(Unreadable(*row) for row in rows[1:])

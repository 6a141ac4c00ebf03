"""The control of a search: what random search finds behind the same gate with the same trainings.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.units import plural
from nas.pareto.front import hypervolume

CONTROL = "control"  # the folder of the random search, inside that of the run
CURVES = "control.csv"
SHARE = 0.25  # of the trainings, or of the time
SEARCH, RANDOM = "search", "random"
APART = 1_000_003  # between the seeds of proposals: with one seed, samplers that begin at random begin the same


def control_share(text: str | None) -> float:
    """The share of a search's trainings or time that its control takes.

    Args:
        text: `random`, `random:SHARE`, or None for no control.

    Raises:
        NasError: Anything else, or a share that leaves one of the two nothing.
    """
    if text is None:
        return 0.0
    match = re.fullmatch(r"random(?::(\d*\.?\d+))?", text)
    share = float(match[1]) if match and match[1] else SHARE
    if not match or not 0 < share < 1:
        raise NasError(f"control {text!r} is not allowed; allowed: random or random:SHARE with a share between 0 and 1")
    return share


def split(trials: int, share: float) -> tuple[int, int]:
    """Trainings of the search and of its control: both have at least one where there is a control.

    Raises:
        NasError: There are not enough for both.
    """
    if share == 0:
        return trials, 0
    if trials < 2:
        raise NasError(f"trials {trials} are too few beside a control; allowed: 2 and more")
    control = min(max(1, round(trials * share)), trials - 1)
    return trials - control, control


def curves(search: pd.DataFrame, control: pd.DataFrame, chance: float) -> pd.DataFrame:
    """Hypervolume of a search and of its control after every training, in order of their numbers.

    Args:
        search: `trial`, `state`, `accuracy`, `seconds`, `macs` per training.
        control: The same of the random search.
        chance: Accuracy of guessing.

    Returns:
        A row per training: `by` (`search` or `random`), `trial`, `trainings` (how many so far),
        `seconds` (of training so far, summed over parallel trials), `accuracy`, `macs`,
        `hypervolume` (of accuracy against log10 of multiply-adds, bounded by chance and 1.1 times
        the most multiply-adds of both, as a share of what a perfect network at the fewest of both
        would dominate). A failed training counts and adds nothing.
    """
    both = {SEARCH: search.sort_values("trial"), RANDOM: control.sort_values("trial")}
    known = pd.concat(both.values())
    log_macs = np.log10(known.loc[known["state"] != "failed", "macs"].to_numpy(float))
    worst = float(log_macs.max(initial=-np.inf)) + math.log10(1.1)
    whole = (1 - chance) * (worst - float(log_macs.min(initial=np.inf)))
    tables = []
    for by, table in both.items():
        points = np.column_stack([table["accuracy"].to_numpy(float), np.log10(table["macs"].to_numpy(float))])
        trained = (table["state"] != "failed").to_numpy()
        so_far = [points[: n + 1][trained[: n + 1]] for n in range(len(points))]
        figures = {
            "trial": table["trial"].to_numpy(),
            "trainings": np.arange(1, len(table) + 1),
            "seconds": table["seconds"].astype(float).fillna(0.0).cumsum().to_numpy(),
            "accuracy": points[:, 0],
            "macs": table["macs"].to_numpy(),
            "hypervolume": [hypervolume(p, [chance, worst], (True, False)) / whole if len(p) else 0.0 for p in so_far],
        }
        tables.append(pd.DataFrame({"by": by, **figures}))
    return pd.concat(tables, ignore_index=True)


def comparison(table: pd.DataFrame) -> str:
    """Says whether the search was better than random search after the same number of trainings.

    Args:
        table: As `curves` returns it.
    """
    found = {by: table[table["by"] == by] for by in (SEARCH, RANDOM)}
    count = min(map(len, found.values()))
    if count == 0:
        return "There is no comparison with random search: one of the two trained nothing."
    search, random = (float(rows["hypervolume"].iloc[count - 1]) for rows in found.values())
    # Rounded as it is printed, so that what reads as equal is called equal.
    better = round(1000 * search) - round(1000 * random)
    verdict = "" if better > 0 else ": the search is not better than random search here"
    return (
        f"At {plural(count, 'training')} each: hypervolume {100 * search:.1f} % by the search, "
        f"{100 * random:.1f} % by random{verdict}. It is one run of each, so a small difference may be luck."
    )

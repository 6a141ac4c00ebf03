"""The control of a search: what random search finds behind the same gate with as many trainings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas.limits.objectives import Objectives
from nas.limits.volume import VolumeScale
from nas.units import plural

CONTROL = "control"  # the folder of the random search, inside that of the run
CURVES = "control.csv"
SEARCH, RANDOM = "search", "random"
SEED_OFFSET = 1_000_003  # of its proposals: with one seed, samplers that begin at random begin the same


def curves(search: pd.DataFrame, control: pd.DataFrame, chance: float, objectives: Objectives) -> pd.DataFrame:
    """Hypervolume of a search and of its control after every training, in order of their numbers.

    Args:
        search: `trial`, `state`, `accuracy`, `seconds` and the costs before measuring.
        control: The same of the random search.
        chance: Accuracy of guessing.
        objectives: What networks are compared by.

    Returns:
        A row per training: `by` (`search` or `random`), `trial`, `trainings` (how many so far),
        `seconds` (of training so far, summed over parallel trials), the objectives by name, and
        `hypervolume`: see `nas.limits.volume.VolumeScale` of the networks of both. A failed
        training counts and adds nothing.
    """
    both = {SEARCH: search.sort_values("trial"), RANDOM: control.sort_values("trial")}
    known = pd.concat(both.values())
    known = known[known["state"] != "failed"]
    scale = VolumeScale.of(objectives.points(known, measured=False)[:, 1:], chance, objectives)
    tables = []
    for by, table in both.items():
        costs = objectives.figures(table, measured=False).T
        trained = table.assign(accuracy=table["accuracy"].astype(float).where(table["state"] != "failed"))
        figures = {
            "trial": table["trial"].to_numpy(),
            "trainings": np.arange(1, len(table) + 1),
            "seconds": table["seconds"].astype(float).fillna(0.0).cumsum().to_numpy(),
            **dict(zip(objectives.names, [table["accuracy"].to_numpy(float), *costs], strict=True)),
            "hypervolume": scale.shares(objectives.points(trained, measured=False)),
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

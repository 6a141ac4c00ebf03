"""Which trained networks are the front: as the search saw them, and by their means over further
seeds.

`confirm.csv` of a run folder has a row per further training, written when it ends: the number of
the trial, `repeat` (0 is the seed of the search, for a trial that was stopped early; 1, 2, ... are
others), the seed, and what came out.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.errors import NasError
from nas.pareto.front import non_dominated

CONFIRMATIONS = "confirm.csv"
COLUMNS = ("trial", "repeat", "seed", "accuracy", "test_accuracy", "epochs", "seconds")


def append_confirmation(folder: Path, row: Mapping[str, Any]) -> None:
    """Writes down one further training, safely on the disk when this returns; what is cut off
    before is not read.
    """
    path = folder / CONFIRMATIONS
    whole = path.read_bytes() if path.exists() else b""
    with path.open("r+" if whole else "w", newline="", encoding="utf-8") as file:
        file.seek(whole.rfind(b"\n") + 1)
        file.truncate()
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        if b"\n" not in whole:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def read_confirmations(folder: Path) -> pd.DataFrame:
    """The further trainings of a run, each once; none without the file.

    Raises:
        NasError: The file has other columns, or something that is no number.
    """
    path = folder / CONFIRMATIONS
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    header, *rows = lines or [",".join(COLUMNS)]
    if header != ",".join(COLUMNS):
        raise NasError(f"{str(path)!r} has columns {header!r}; allowed: {','.join(COLUMNS)}")
    try:
        values = [[float(cell) if cell else math.nan for cell in row.split(",")] for row in rows]
        table = pd.DataFrame(np.reshape(values, (len(rows), len(COLUMNS))), columns=list(COLUMNS))
        table = table.astype({"trial": int, "repeat": int, "seed": int})
    except ValueError as error:
        raise NasError(f"{str(path)!r} holds what is no number ({error}); allowed: numbers") from None
    return table.drop_duplicates(["trial", "repeat"], ignore_index=True)


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and its standard error, s / sqrt(n) with n - 1 under s; the error of fewer than two
    is nan.
    """
    count = len(values)
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def with_means(trials: pd.DataFrame, confirmations: pd.DataFrame) -> pd.DataFrame:
    """Trials with means over all seeds in place of the accuracy of one.

    Args:
        trials: A row per trial: `trial`, `state`, `accuracy`, `test_accuracy`, `epochs`.
        confirmations: The further trainings.

    Returns:
        The trials with `accuracy` and `test_accuracy` as means over the trainings that came to
        their end, the search's own included, `accuracy_se`, `test_accuracy_se` and `seeds` (how
        many), and `accuracy_searched`, what the search selected on. A trial that was stopped early
        and trained to its end since is `finished`.
    """
    rows = []
    for trial in trials.to_dict("records"):
        further = confirmations[confirmations["trial"] == trial["trial"]]
        whole = trial["state"] == "finished"
        row = trial | {"accuracy_searched": trial["accuracy"], "accuracy_se": math.nan, "test_accuracy_se": math.nan}
        if len(further) and trial["state"] != "failed":
            row |= {"state": "finished", "epochs": further["epochs"].iloc[0]}
            for name in ("accuracy", "test_accuracy"):
                values = [trial[name], *further[name]] if whole else [*further[name]]
                row[name], row[f"{name}_se"] = mean_and_error(np.array(values, float))
        rows.append(row | {"seeds": max(1, len(further) + whole)})
    columns = [*trials.columns, "accuracy_searched", "accuracy_se", "test_accuracy_se", "seeds"]
    return pd.DataFrame(rows, columns=columns, index=trials.index)


def eligible(trials: pd.DataFrame, chance: float) -> pd.DataFrame:
    """The trials that may be on the front: a cheap network at chance is dominated by nothing and
    worth nothing.

    Only if all that were trained are at chance, all of them are returned.
    """
    known = trials[trials["state"] != "failed"]
    learnt = known[known["accuracy"] > chance]
    return known if learnt.empty else learnt


def front_of(trials: pd.DataFrame, accuracy: str = "accuracy") -> pd.DataFrame:
    """The trials that are not dominated in multiply-adds and the column that holds accuracy."""
    return trials[non_dominated(trials[[accuracy, "macs"]].to_numpy(float), (True, False))]


def ranked_front(trials: pd.DataFrame, chance: float) -> pd.DataFrame:
    """The front that the search found, ranked again by means: what is dominated by these, or at
    chance, leaves it.

    Trials that the search did not see on the front stay off it: their accuracy is of one seed, and
    the luckiest of many would stand against means.

    Args:
        trials: As `with_means` returns them.
        chance: Accuracy of guessing.
    """
    return front_of(eligible(front_of(trials, "accuracy_searched"), chance))

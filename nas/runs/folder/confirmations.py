"""`confirm.csv` of a run folder: a row per further training of a network of the front, written when
it ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from nas.errors import NasError, brief
from nas.resources import append_record, whole_lines

CONFIRMATIONS = "confirm.csv"


@dataclass(frozen=True)
class Confirmation:
    """One further training. The fields are the columns of the file.

    Attributes:
        trial: The number of its candidate.
        repeat: 0 for the seed of the search, with which a trial that was stopped early is trained
            to its end; 1, 2, ... for others.
        seed: Of the training.
        accuracy: On validation.
        test_accuracy: None without test clips.
        epochs, seconds: Of the training.
    """

    trial: int
    repeat: int
    seed: int
    accuracy: float
    test_accuracy: float | None
    epochs: int | None
    seconds: float | None


_COLUMNS = tuple(field.name for field in fields(Confirmation))


def append_confirmation(folder: Path, confirmation: Confirmation) -> None:
    """Writes down one further training, safely on the disk when this returns; what is cut off
    before is not read.
    """
    append_record(folder / CONFIRMATIONS, confirmation)


def read_confirmations(folder: Path) -> pd.DataFrame:
    """The further trainings of a run, each once; none without the file.

    Raises:
        NasError: The file has other columns, or something that is no number.
    """
    path = folder / CONFIRMATIONS
    header, *rows = whole_lines(path) or [",".join(_COLUMNS)]
    if header != ",".join(_COLUMNS):
        raise NasError(f"{str(path)!r} has columns {brief(header)}; allowed: {','.join(_COLUMNS)}")
    try:
        values = [[float(cell) if cell else math.nan for cell in row.split(",")] for row in rows]
        table = pd.DataFrame(np.reshape(values, (len(rows), len(_COLUMNS))), columns=list(_COLUMNS))
        table = table.astype({"trial": int, "repeat": int, "seed": int})
    except ValueError as error:
        raise NasError(f"{str(path)!r} holds what is no number ({error}); allowed: numbers") from None
    return table.drop_duplicates(["trial", "repeat"], ignore_index=True)

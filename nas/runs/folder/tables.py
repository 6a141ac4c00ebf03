"""The CSV tables of a run folder: their columns, how they are written and how they are read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nas.documents import read_text
from nas.errors import NasError
from nas.limits.metrics import computed_figures, metrics
from nas.resources import csv_cell, replacing, without_home

if TYPE_CHECKING:
    from nas.profiler.measured.measure import Measurement
    from nas.trials.proposer import Candidate, Proposer
    from nas.trials.results import TrialResult

MAX_TABLE = 50_000_000  # bytes of a file
TRIALS, FRONT = "trials.csv", "front.csv"
LATENCIES = "latency_table.csv"  # of layers, from which a run predicts
TRIAL_TEXTS = ("state", "operators", "hash", "flags", "failure", "error")
FRONT_TEXTS = ("pick",)  # what front.csv has beside the columns of trials.csv
MEANS = ("accuracy_se", "test_accuracy_se", "seeds", "accuracy_searched")
_OF_RESULT = ("state", "accuracy", "test_accuracy", "epochs", "seconds", "peak_bytes", "failure", "error")
_REQUIRED = ("trial", "state", "accuracy", "macs", "params", "activation_bytes", "operators")


def trial_numbers() -> tuple[str, ...]:
    """The columns of `trials.csv` that hold numbers, beside the number of the trial."""
    known = [*metrics("computed"), *metrics("predicted"), *metrics("measured")]
    return ("accuracy", "test_accuracy", "epochs", "seconds", "peak_bytes", *(metric.name for metric in known))


def read_trials(folder: Path) -> pd.DataFrame:
    """The trials of a run, as the search saw them, by number; empty before the first.

    Raises:
        NasError: The file is not such a table.
    """
    table = read_table(folder / TRIALS, TRIAL_TEXTS, trial_numbers(), _REQUIRED)
    return table.sort_values("trial", ignore_index=True)


def read_front(folder: Path) -> pd.DataFrame:
    """The front of a run with its measurements and means; empty before it was measured.

    Raises:
        NasError: The file is not such a table.
    """
    front = read_table(folder / FRONT, (*TRIAL_TEXTS, *FRONT_TEXTS), (*trial_numbers(), *MEANS), _REQUIRED)
    front["seeds"] = front["seeds"].fillna(1).astype(int)
    return front


def read_table(path: Path, texts: tuple[str, ...], numbers: tuple[str, ...], required: tuple[str, ...]) -> pd.DataFrame:
    """Reads a CSV file with a column `trial` and the given ones; a missing file is an empty table,
    a missing column that is not required is empty.

    Raises:
        NasError: The file is no CSV, lacks a required column, or holds text where a number belongs.
    """
    columns = ["trial", *texts, *numbers]
    if not os.path.lexists(path):
        table = pd.DataFrame(columns=columns)
    else:
        text = read_text("table", path, MAX_TABLE)
        try:
            table = pd.read_csv(io.StringIO(text), dtype=dict.fromkeys(texts, "string"))
        except ValueError as error:  # also pandas' ParserError and EmptyDataError
            raise NasError(f"{str(path)!r} is not a table ({error}); allowed: CSV with a header") from None
        missing = [name for name in required if name not in table]
        if missing:
            raise NasError(f"{str(path)!r} has no column {missing[0]!r}; allowed: at least {', '.join(required)}")
        table = table.reindex(columns=columns)
    try:
        return table.astype(dict.fromkeys(numbers, float) | {"trial": int}).assign(
            **{name: table[name].astype("string").fillna("").astype(str) for name in texts}
        )
    except (ValueError, OverflowError) as error:
        raise NasError(f"{str(path)!r} holds a value that is no number ({error}); allowed: numbers") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table of the run folder, whole or not at all: a run can be resumed whenever its
    driver is killed.

    Messages of failed trainings are in it: they name no home folder and are no formulas.
    """
    with replacing(path) as draft:
        table.map(lambda cell: csv_cell(without_home(cell) if isinstance(cell, str) else cell)).to_csv(
            draft, index=False
        )


def trials_table(
    proposer: Proposer,
    predicted: Callable[[Candidate], Mapping[str, float]] = lambda _: {},
    measured: Mapping[int, Measurement] | None = None,
) -> pd.DataFrame:
    """A row per candidate whose result is known, by number; the columns of `trials.csv`.

    Args:
        proposer: Of the search.
        predicted: The columns of a candidate's predicted latency, as far as it can be predicted.
        measured: What was measured of candidates, by number.
    """
    taken = measured or {}
    rows = [
        {
            **_row(proposer.candidates[i], proposer.results[i]),
            **predicted(proposer.candidates[i]),
            **(_measured(taken[i]) if i in taken else {}),
        }
        for i in sorted(proposer.results)
    ]
    return pd.DataFrame(
        rows, columns=["trial", "state", *trial_numbers(), "operators", "hash", "flags", "failure", "error"]
    )


def _measured(measurement: Measurement) -> dict[str, Any]:
    latency = measurement.latency_ms
    return {
        "latency_ms": latency.median,
        "latency_iqr_ms": latency.iqr,
        "latency_p95_ms": latency.p95,
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "flags": "; ".join(measurement.flags),
    }


def _row(candidate: Candidate, result: TrialResult) -> dict[str, Any]:
    architecture = candidate.architecture
    return {
        **{name: getattr(result, name) for name in _OF_RESULT},
        "trial": candidate.index,
        **computed_figures(candidate.cost),
        "operators": " ".join(f"{op}*{n}" for op, n in architecture.operators.items()),
        "hash": architecture.hash,
    }

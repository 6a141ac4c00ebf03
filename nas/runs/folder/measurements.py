"""`measurements.jsonl` of a run folder: a row per measurement of a network, written when it is
taken.

Versions before 0.2 wrote `measurements.json`, one object at the end; it is read too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nas.documents import read_json
from nas.errors import NasError, one_line
from nas.profiler.measured.measure import Measurement, disturbance
from nas.resources import append_line, whole_lines

MEASUREMENTS = "measurements.jsonl"
OLD_MEASUREMENTS = "measurements.json"


def append_measurement(folder: Path, trial: int, measurement: Measurement) -> None:
    """Writes down one measurement, safely on the disk when this returns."""
    append_line(folder / MEASUREMENTS, json.dumps({"trial": trial, **measurement.to_dict()}))


def read_measurements(folder: Path, device: str) -> dict[int, Measurement]:
    """What was measured on a device, by the number of the trial; of several measurements of a trial
    the least disturbed one.

    Args:
        folder: The run folder.
        device: Name of the device; what another one took says nothing of it.

    Raises:
        NasError: A row is no measurement.
    """
    found: dict[int, Measurement] = {}
    for trial, measurement in all_measurements(folder):
        if measurement.device == device:
            keep(found, trial, measurement)
    return found


def keep(kept: dict[int, Measurement], trial: int, measurement: Measurement) -> None:
    """Takes a measurement in the place of one of the same trial that was no less disturbed."""
    before = kept.get(trial)
    if before is None or disturbance(measurement) <= disturbance(before):
        kept[trial] = measurement


def all_measurements(folder: Path) -> list[tuple[int, Measurement]]:
    """Every measurement with the number of its trial, on whatever device.

    Raises:
        NasError: A row is no measurement.
    """
    old = folder / OLD_MEASUREMENTS
    path = old
    try:
        documents: dict[str, Any] = read_json("measurements", old) if os.path.lexists(old) else {}
        rows = [(int(trial), Measurement.from_dict(document)) for trial, document in documents.items()]
        path = folder / MEASUREMENTS
        for line in whole_lines(path):
            document = json.loads(line)
            rows.append((int(document.pop("trial")), Measurement.from_dict(document)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NasError(
            f"{str(path)!r} holds what is no measurement ({one_line(error)}); allowed: rows of `nas search`"
        ) from None
    return rows

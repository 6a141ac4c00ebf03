"""What a report reads out of a run's journal, as lines of JSON and without Optuna: when the search
began, and the accuracies on the way of a training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from datetime import datetime
from itertools import islice
from pathlib import Path

from nas.trials.results import STUDY

_FIRST = 50  # lines in which the first proposal stands


def begun(folder: Path) -> str | None:
    """When the first candidate was proposed, as `2026-11-29 07:12 UTC`; None where nobody knows."""
    path = folder / STUDY
    if not os.path.isfile(path):
        return None
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, _FIRST):
            try:
                entry = json.loads(line)
                return f"{datetime.fromisoformat(entry['datetime_start']):%Y-%m-%d %H:%M %Z}"
            except (ValueError, LookupError, TypeError):
                continue
    return None


def curves(folder: Path, trials: Collection[int]) -> dict[int, list[float]]:
    """The validation accuracy of some trials at every rung that they passed, the last one included.

    Args:
        folder: The run folder.
        trials: Their numbers; what the journal does not have, or not so, is left out.
    """
    path, found = folder / STUDY, dict[int, list[float]]()
    number: dict[int, int] = {}
    if not os.path.isfile(path):
        return found
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if '"index"' not in line and '"result"' not in line:
                continue
            try:
                entry = json.loads(line)
                trial, attributes = entry["trial_id"], entry.get("user_attr", {})
                if "index" in attributes:
                    number[trial] = int(attributes["index"])
                if "result" in attributes and number.get(trial) in trials:
                    found[number[trial]] = [float(accuracy) for accuracy in attributes["result"]["curve"]]
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
    return found

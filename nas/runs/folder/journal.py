"""What a report reads out of a run's journal, as lines of JSON and without Optuna: when the search
began, and how trainings went.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Curve:
    """How a training went.

    Attributes:
        accuracies: On validation at every rung that it passed, the last one included.
        reached: Epochs trained at each of them; empty where the journal does not say.
        losses: Mean of every epoch; empty where the journal does not say.
    """

    accuracies: tuple[float, ...]
    reached: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()


def curves(folder: Path, trials: Collection[int]) -> dict[int, Curve]:
    """How the trainings of some trials went.

    Args:
        folder: The run folder.
        trials: Their numbers; what the journal does not have, or not so, is left out.
    """
    path, found = folder / STUDY, dict[int, Curve]()
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
                    found[number[trial]] = _curve(attributes["result"])
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
    return found


def _curve(result: Mapping[str, Any]) -> Curve:
    accuracies = tuple(map(float, result["curve"]))
    reached, losses = tuple(map(int, result.get("reached", ()))), tuple(map(float, result.get("losses", ())))
    return Curve(accuracies, reached if len(reached) == len(accuracies) else (), losses)

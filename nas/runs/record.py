"""What a search writes into its run folder; `run_folder` reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from nas.profiler.measured.device import available_cores, device_name
from nas.resources import replacing
from nas.limits.budget import training_memory
from nas.runs.plan import Plan
from nas.trials.proposer import Candidate, Proposer, Result
from nas.runs.folder import NUMBERS

_COLUMNS = ("trial", "state", *NUMBERS, "operators", "hash", "error")


def write_settings(plan: Plan, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `run.json`: what was asked for, what was decided, and `facts` that came out."""
    settings, proxy = plan.settings, plan.proxy
    document = {
        **facts,
        "space": plan.space.name,
        "budget": str(plan.budget),
        "data": settings.data,
        "data_description": plan.data.describe(),
        "classes": list(plan.data.classes),
        "chance": plan.data.chance,
        "proxy": {
            "frames": proxy.frames,
            "size": list(proxy.size),
            "epochs": proxy.recipe.epochs,
            "rungs": list(proxy.rungs),
            "recipe": asdict(proxy.recipe),
        },
        "target": {"frames": plan.target.frames, "size": list(plan.target.size)},
        "trials": settings.trials,
        "time_s": settings.time,
        "seed": settings.seed,
        "workers": plan.workers,
        "device": device_name(plan.device, "fp32", 1, available_cores()),
        "objectives": ["accuracy", "macs"],
        "versions": {name: version(name) for name in ("video-nas", "torch", "ray", "optuna")},
        "settings": asdict(settings),
    }
    with replacing(folder / "run.json") as draft:
        draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table of the run folder, whole or not at all: a run can be resumed whenever its
    driver is killed.
    """
    with replacing(path) as draft:
        table.to_csv(draft, index=False)


def counts(proposer: Proposer) -> dict[str, int]:
    """How many candidates were proposed, and what became of them."""
    states = [result["state"] for result in proposer.results.values()]
    return {
        "proposed": proposer.proposed,
        "rejected": proposer.rejected,
        "duplicates": proposer.duplicates,
        "trained": len(states) - states.count("failed"),
        "stopped_early": states.count("stopped"),
        "failed": states.count("failed"),
    }


def trials_table(
    proposer: Proposer, predicted: Callable[[Candidate], Mapping[str, float]] = lambda _: {}
) -> pd.DataFrame:
    """A row per candidate whose result is known, by number; the columns of `trials.csv`.

    Args:
        proposer: Of the search.
        predicted: The columns of a candidate's predicted latency, as far as it can be predicted.
    """
    rows = [
        {**_row(proposer.candidates[i], proposer.results[i]), **predicted(proposer.candidates[i])}
        for i in sorted(proposer.results)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _row(candidate: Candidate, result: Result) -> dict[str, Any]:
    architecture, figures = candidate.architecture, candidate.cost
    return {
        **{name: result.get(name) for name in ("state", "accuracy", "test_accuracy", "epochs", "seconds", "error")},
        "trial": candidate.index,
        "macs": figures.macs,
        "params": figures.params,
        "activation_bytes": figures.activation_bytes,
        "memory_bytes": training_memory(figures),
        "operators": " ".join(f"{op}*{n}" for op, n in architecture.operators.items()),
        "hash": architecture.hash,
    }

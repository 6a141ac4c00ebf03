"""Measuring candidates while nothing else runs: before a search under a latency limit, and its front afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.cost import cost
from nas.profiler.measure import Measurement, measure
from nas.search.front import non_dominated
from nas.search.latency_model import LatencyModel
from nas.search.plan import Plan
from nas.search.proposer import Proposer
from nas.search.record import trials_table
from nas.search.run_folder import PICKS, choose

CALIBRATED = 6  # measured candidates that a latency limit is predicted from
DRAWN = 32


def calibrated(plan: Plan, folder: Path) -> LatencyModel | None:
    """A latency model from a few measured candidates of all sizes, where the budget limits latency.

    The measurements are kept in the run folder, so that a resumed search rejects what it rejected before.
    """
    if "latency_ms" not in plan.budget.metrics():
        return None
    stored = folder / "calibration.json"
    if not stored.exists():
        rng = np.random.default_rng(plan.settings.seed)
        drawn = [plan.space.decode(plan.space.sample_params(rng)) for _ in range(DRAWN)]
        drawn.sort(key=lambda architecture: cost(architecture).macs)
        chosen = [drawn[i] for i in np.linspace(0, DRAWN - 1, CALIBRATED).astype(int)]
        rows = [
            {"architecture": architecture.document(), "latency_ms": _measured(plan, architecture).latency_ms.median}
            for architecture in track(chosen, "measuring", console=plan.console, disable=plan.console.quiet)
        ]
        stored.write_text(json.dumps(rows) + "\n")
    rows = json.loads(stored.read_text())
    costs = [cost(Architecture.parse(row["architecture"])) for row in rows]
    return LatencyModel.fit(costs, [row["latency_ms"] for row in rows])


def _measured(plan: Plan, architecture: Architecture) -> Measurement:
    return measure(architecture, str(plan.device), max_seconds=plan.settings.measure_seconds)


def measure_front(plan: Plan, folder: Path, proposer: Proposer) -> None:
    """Measures the front, and what takes the place of networks that break a latency limit as measured.

    Writes `front.csv`, `trials.csv` with latencies predicted from what was measured, `measurements.json` and
    `best.yaml`, the front's most accurate network.

    Raises:
        NasError: No trained candidate keeps the limits as measured.
    """
    measured: dict[int, Measurement] = {}
    trials = trials_table(proposer, None)
    eligible = trials[trials["state"] != "failed"]
    # A cheap network at chance is dominated by nothing and worth nothing; only if all are, the front shows them.
    learnt = eligible[eligible["accuracy"] > plan.data.chance]
    eligible = eligible if learnt.empty else learnt
    while True:
        front = eligible[non_dominated(eligible[["accuracy", "macs"]].to_numpy(), (True, False))]
        missing = [int(i) for i in front["trial"] if int(i) not in measured]
        for i in track(missing, "measuring the front", console=plan.console, disable=plan.console.quiet):
            measured[i] = _measured(plan, proposer.candidates[i].architecture)
        median = {i: measured[i].latency_ms.median for i in map(int, front["trial"])}
        slow = [i for i, latency in median.items() if plan.budget.violation({"latency_ms": latency})]
        if not slow:
            break
        eligible = eligible[~eligible["trial"].isin(slow)]
        if eligible.empty:
            raise NasError(
                f"budget {str(plan.budget)!r} is kept by none of the trained candidates as measured; "
                f"allowed: a wider limit, or more trials with nas search --resume {folder}"
            )
    model = LatencyModel.fit(
        [proposer.candidates[i].cost for i in measured], [m.latency_ms.median for m in measured.values()]
    )
    table = trials_table(proposer, model)
    front = _with_measurements(table[table["trial"].isin(front["trial"])].sort_values("macs"), measured)
    picks = {pick: choose(front, pick) for pick in PICKS}
    front["pick"] = [",".join(pick for pick, chosen in picks.items() if chosen == i) for i in front["trial"]]
    table.to_csv(folder / "trials.csv", index=False)
    front.to_csv(folder / "front.csv", index=False)
    taken = {i: measurement.to_dict() for i, measurement in sorted(measured.items())}
    (folder / "measurements.json").write_text(json.dumps(taken, indent=2) + "\n")
    proposer.candidates[picks["accuracy"]].architecture.save(folder / "best.yaml")


def _with_measurements(front: pd.DataFrame, measured: dict[int, Measurement]) -> pd.DataFrame:
    taken = [measured[int(i)] for i in front["trial"]]
    columns: dict[str, Sequence[float | None]] = {
        "latency_ms": [m.latency_ms.median for m in taken],
        "latency_iqr_ms": [m.latency_ms.iqr for m in taken],
        "latency_p95_ms": [m.latency_ms.p95 for m in taken],
        "peak_memory_bytes": [m.peak_memory_bytes for m in taken],
    }
    return front.assign(**{name: np.array(values, dtype=float) for name, values in columns.items()})

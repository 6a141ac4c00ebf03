"""Measuring candidates while nothing else runs: before a search under a latency limit, and its
front afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from nas.architecture import Architecture
from nas.errors import NasError, one_line
from nas.profiler.measured.device import Conditions, available_cores
from nas.profiler.measured.measure import Measurement, measure
from nas.profiler.tables.growth import grow
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.rows import part_workload
from nas.profiler.tables.table import Table
from nas.resources import replacing
from nas.runs.confirmations import read_confirmations
from nas.runs.folder import picks_of
from nas.runs.plan import Plan
from nas.runs.ranking import eligible, ranked_front, with_means
from nas.runs.tables import FRONT, TRIALS, trials_table, write_table
from nas.trials.proposer import Candidate, Proposer

MEASUREMENTS = "measurements.json"
TABLE = "latency_table.csv"  # layer latencies that a run predicts from; its draft is still growing
DRAFT = "latency_table.growing.csv"
WHOLE_NETWORKS = 12  # measured, from which the overhead of a network and the interval of a prediction are known
GROWTH_TIMES = 12  # a table grows for so many times as long as one network of the front is measured
SAMPLED = 32  # candidates that tell whether a table is one of this space
COVERED = 0.1  # of their layers are in a table that is: the others can be interpolated from those


def latency_predictor(plan: Plan, folder: Path) -> Predictor | None:
    """Predicts latencies from measured layers, where the budget limits latency.

    The table of this device is used if it holds layers of this space at this clip shape: the one in
    `profiles/`, where `nas latency grow` puts it, with the one that ships. Else layers of the
    space are measured for a limited time. What is predicted from is kept in the run folder, so that
    a resumed search rejects what it rejected before; growth that was cut short goes on. Layers that
    no table holds are interpolated from measured ones of the same operator.
    """
    if "latency_ms" not in plan.budget.metrics():
        return None
    stored, draft = folder / TABLE, folder / DRAFT
    if not stored.exists():
        conditions = Conditions(str(plan.device), "fp32", batch=1, threads=available_cores())
        table = Table.find(conditions)
        if not _is_of_space(table, plan):
            table = Table.load(draft) if draft.exists() else Table.under(conditions)
            seconds = GROWTH_TIMES * plan.settings.measure_seconds
            with plan.console.status("measuring layers"):
                reasons: dict[str, str] = {}
                grow(
                    plan.space,
                    table,
                    draft,
                    conditions,
                    max_seconds=seconds,
                    networks=WHOLE_NETWORKS,
                    skipped=lambda workload, reason: reasons.update({workload.op: reason}),
                )
            for op, reason in reasons.items():
                plan.console.print(f"layers of {op} that do not run here are interpolated: {reason}", highlight=False)
        table.save(draft)
        os.replace(draft, stored)
    table = Table.load(stored)
    predictor = Predictor(table)
    plan.console.print(
        f"Latency is predicted from {len(table.layers)} measured layers and {len(table.networks)} networks of "
        f"{table.device}",
        highlight=False,
    )
    return predictor


def predicted(predictor: Predictor | None) -> Callable[[Candidate], dict[str, float]]:
    """The columns of `trials.csv` that a predictor fills; none without one."""

    def columns(candidate: Candidate) -> dict[str, float]:
        if predictor is None:
            return {}
        found = predictor.predict(candidate.architecture)
        return {"latency_ms_predicted": found.ms, "latency_ms_low": found.low, "latency_ms_high": found.high}

    return columns


def _is_of_space(table: Table, plan: Plan) -> bool:
    rng = np.random.default_rng(plan.settings.seed)
    sample = [plan.space.decode(plan.space.sample_params(rng)) for _ in range(SAMPLED)]
    keys = [part_workload(part).key for architecture in sample for part in architecture.parts()]
    covered = sum(key in table.rows for key in keys) / len(keys)
    return covered >= COVERED and len(table.networks) >= WHOLE_NETWORKS


def _measured(plan: Plan, architecture: Architecture) -> Measurement:
    return measure(architecture, str(plan.device), max_seconds=plan.settings.measure_seconds)


def measured_latencies(folder: Path) -> dict[int, float]:
    """The milliseconds that the networks of a run took when they were last measured, by number;
    none before.

    Raises:
        NasError: The file holds something else.
    """
    path = folder / MEASUREMENTS
    try:
        taken = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {int(i): float(measurement["latency_ms"]["median"]) for i, measurement in taken.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NasError(
            f"{str(path)!r} holds no measurements ({one_line(error)}); allowed: the {MEASUREMENTS} of `nas search`"
        ) from None


def measure_front(plan: Plan, folder: Path, proposer: Proposer, predictor: Predictor | None) -> None:
    """Measures the front, and what takes the place of networks that break a latency limit as
    measured.

    The front is that of the means over all seeds with which its networks were trained. Writes
    `front.csv`, `trials.csv` with the latencies that were predicted, `measurements.json` and
    `best.yaml`, the front's most accurate network.

    Raises:
        NasError: No trained candidate keeps the limits as measured.
    """
    measured: dict[int, Measurement] = {}
    confirmations = read_confirmations(folder)
    trials = with_means(eligible(trials_table(proposer), plan.data.chance), confirmations)
    while True:
        front = ranked_front(trials, plan.data.chance)
        missing = [int(i) for i in front["trial"] if int(i) not in measured]
        for i in track(missing, "measuring the front", console=plan.console, disable=plan.console.quiet):
            measured[i] = _measured(plan, proposer.candidates[i].architecture)
        median = {i: measured[i].latency_ms.median for i in map(int, front["trial"])}
        slow = [i for i, latency in median.items() if plan.budget.violation({"latency_ms": latency})]
        if not slow:
            break
        trials = trials[~trials["trial"].isin(slow)]
        if trials.empty:
            raise NasError(
                f"budget {str(plan.budget)!r} is kept by none of the trained candidates as measured; "
                f"allowed: a wider limit, or more trials with nas search --resume {folder}"
            )
    table = trials_table(proposer, predicted(predictor))
    rows = with_means(table[table["trial"].isin(front["trial"])].sort_values("macs"), confirmations)
    front = _with_measurements(rows, measured)
    picks = picks_of(front)
    front["pick"] = [",".join(pick for pick, chosen in picks.items() if chosen == i) for i in front["trial"]]
    write_table(folder / TRIALS, table)
    write_table(folder / FRONT, front)
    taken = {i: measurement.to_dict() for i, measurement in sorted(measured.items())}
    with replacing(folder / MEASUREMENTS) as draft:
        draft.write_text(json.dumps(taken, indent=2) + "\n", encoding="utf-8")
    proposer.candidates[picks["accuracy"]].architecture.save(folder / "best.yaml")


def _with_measurements(front: pd.DataFrame, measured: dict[int, Measurement]) -> pd.DataFrame:
    taken = [measured[int(i)] for i in front["trial"]]
    columns: dict[str, Sequence[float | None]] = {
        "latency_ms": [m.latency_ms.median for m in taken],
        "latency_iqr_ms": [m.latency_ms.iqr for m in taken],
        "latency_p95_ms": [m.latency_ms.p95 for m in taken],
        "peak_memory_bytes": [m.peak_memory_bytes for m in taken],
    }
    flags = ["; ".join(m.flags) for m in taken]
    return front.assign(**{name: np.array(values, dtype=float) for name, values in columns.items()}, flags=flags)

"""Measuring candidates while nothing else runs: before a search under a latency limit, and its
front afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nas.architecture import Architecture
from nas.profiler.measured.measure import Measurement, measure
from nas.profiler.tables.growth import grow
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.rows import part_workload
from nas.profiler.tables.table import Table
from nas.runs.folder.confirmations import read_confirmations
from nas.runs.folder.measurements import append_measurement, keep, read_measurements
from nas.runs.folder.tables import FRONT, LATENCIES, TRIALS, trials_table, write_table
from nas.runs.planning.plan import Plan
from nas.runs.progress.news import announce, busy
from nas.runs.selection.ranking import eligible, keeping, ranked_front, with_means
from nas.trials.proposer import Candidate, Proposer
from nas.units import number

LATENCY = "latency_ms"  # the metric that is predicted
DRAFT = "latency_table.growing.csv"  # of the table of the run while it is still growing
WHOLE_NETWORKS = 12  # measured, from which the overhead of a network and the interval of a prediction are known
GROWTH_TIMES = 12  # a table grows for so many times as long as one network of the front is measured
SAMPLED = 32  # candidates that tell whether a table is one of this space
COVERED = 0.1  # of their layers are in a table that is: the others can be interpolated from those


def latency_predictor(plan: Plan, folder: Path) -> Predictor | None:
    """Predicts latencies from measured layers, where the budget limits latency or it is an
    objective.

    The table of this device is used if it holds layers of this space at this clip shape: the one in
    `profiles/`, where `nas latency grow` puts it, with the one that ships. Else layers of the
    space are measured for a limited time. What is predicted from is kept in the run folder, so that
    a resumed search rejects what it rejected before; growth that was cut short goes on. Layers that
    no table holds are interpolated from measured ones of the same operator.
    """
    if LATENCY not in plan.budget.metrics() | {*plan.objectives.names}:
        return None
    stored, draft = folder / LATENCIES, folder / DRAFT
    if not stored.exists():
        conditions = plan.conditions
        table = Table.find(conditions)
        if not _is_of_space(table, plan):
            table = Table.load(draft) if draft.exists() else Table.under(conditions)
            seconds = GROWTH_TIMES * plan.settings.measure_seconds
            with busy(plan.console, "measuring layers"):
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
                announce(plan.console, f"layers of {op} that do not run here are interpolated: {reason}")
        table.save(draft)
        os.replace(draft, stored)
    table = Table.load(stored)
    predictor = Predictor(table)
    announce(
        plan.console,
        f"Latency is predicted from {len(table.layers)} measured layers and {len(table.networks)} networks of "
        f"{table.device}",
    )
    return predictor


def predicted_latency(predictor: Predictor | None) -> Callable[[Architecture], dict[str, float]]:
    """The latency of a candidate as a gate takes it: the middle of what is predicted."""
    return lambda architecture: {} if predictor is None else {LATENCY: predictor.predict(architecture).ms}


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


def _measured(plan: Plan, architecture: Architecture, patience: float = 0.0) -> Measurement:
    under, seconds = plan.conditions, plan.settings.measure_seconds
    return measure(
        architecture, under.device, under.dtype, cuda_graph=under.cuda_graph, max_seconds=seconds, patience=patience
    )


def confirmed_front(plan: Plan, table: pd.DataFrame, confirmations: pd.DataFrame) -> pd.DataFrame:
    """Returns the front by their means of the trials that keep the limits, in order of the first
    cost.

    Args:
        plan: Of the run.
        table: The trials, with what was measured of them.
        confirmations: The further trainings.
    """
    kept = keeping(with_means(table, confirmations), plan.budget)["trial"]
    trials = eligible(table[table["trial"].isin(kept)], plan.data.chance)
    front = ranked_front(with_means(trials, confirmations), plan.data.chance, plan.objectives)
    return plan.objectives.ordered(front)


def measure_front(plan: Plan, folder: Path, proposer: Proposer, predictor: Predictor | None) -> None:
    """Measures the front, and what takes the place of networks that leave it as measured: by a
    limit, or dominated where latency or memory is an objective.

    The front is that of the means over all seeds with which its networks were trained, and of
    measured figures; of others it is known before that they do not reach it, or they are predicted
    not to. Every measurement is written down when it is taken, and what is known is not measured
    again, but for one that was disturbed: it is taken again before it decides that a network is off
    the front.

    Writes `front.csv`, without a row where no network keeps the limits, and `trials.csv` with what
    was predicted and measured.
    """
    measured = read_measurements(folder, plan.device_name)
    confirmations = read_confirmations(folder)
    again: set[int] = set()

    def take(trial: int, patience: float = 0.0) -> None:
        with busy(plan.console, f"measuring trial {trial}{' again' if patience else ''}"):
            taken = _measured(plan, proposer.candidates[trial].architecture, patience)
        append_measurement(folder, trial, taken)
        keep(measured, trial, taken)
        ms = taken.latency_ms.median
        disturbed = f", disturbed: {'; '.join(taken.flags)}" if taken.flags else ""
        text = f"trial {trial} takes {number(ms)} ms{' as measured again' if patience else ''}{disturbed}"
        announce(plan.console, text, "measured", trial=trial, latency_ms=ms, flags=taken.flags)

    while True:
        table = trials_table(proposer, predicted(predictor), measured)
        front = confirmed_front(plan, table, confirmations)
        doubtful = [i for i, taken in measured.items() if taken.flags and i not in again]
        # As if those had not been timed; what disturbs a measurement does not change its memory.
        hopeful = table.copy()
        hopeful.loc[hopeful["trial"].isin(doubtful), LATENCY] = np.nan
        on, hoped = set(front["trial"]), confirmed_front(plan, hopeful, confirmations)["trial"].tolist()
        missing = [i for i in dict.fromkeys([*front["trial"].tolist(), *hoped]) if i not in measured]
        for i in missing:
            take(i)
        disturbed = [i for i in hoped if i in doubtful and i not in on]
        for i in disturbed:
            again.add(i)
            take(i, patience=plan.settings.measure_seconds)
        if not (missing or disturbed):
            break
    write_table(folder / TRIALS, table)
    write_table(folder / FRONT, front.assign(flags=front["flags"].fillna("")))

"""Predicted against measured latency of random candidates that the fit has not seen, at a small
input.

A table is grown for the layers of some networks, which are also timed whole, and for the layers of
the candidates. Then the candidates are timed whole, each beside a reference computation, and
compared with three predictions: from all layers, from a table that knows none of the candidates
(their layers are interpolated), and from multiply-adds alone.

    OMP_NUM_THREADS=2 taskset -c 2,3 python benchmarks/latency_prediction.py [--threads 2] [--small]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from nas.architecture import Architecture
from nas.profiler.measured.device import Conditions
from nas.profiler.tables.growth import grow
from nas.profiler.tables.prediction import Overhead, Prediction
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.rows import Row, network_workload
from nas.profiler.tables.table import Table
from nas.space import SearchSpace

FRAMES, SIZE = 8, 64
CANDIDATES = {"hybrid": 60, "conv": 30}
FITTED = {"hybrid": 20, "conv": 10}
FIRST = 1000  # seed of the candidates; those of the fit begin at 0
AGAIN = 4  # every fourth candidate is measured twice, for the noise of the measurement itself
ALL = 10**6


def drawn(counts: dict[str, int], first: int) -> dict[str, list[Architecture]]:
    spaces = {name: SearchSpace.load(name) for name in counts}
    return {
        name: [spaces[name].sample(first + i).resized(FRAMES, SIZE) for i in range(count)]
        for name, count in counts.items()
    }


def summary(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    error = np.abs(predicted / measured - 1)
    ranks = [pd.Series(values).rank() for values in (predicted, measured)]
    return {
        "median error": float(np.median(error)),
        "p90 error": float(np.quantile(error, 0.9)),
        "Spearman": float(ranks[0].corr(ranks[1])),
    }


def inside(predictions: list[Prediction], measured: np.ndarray) -> float:
    return float(np.mean([p.low <= ms <= p.high for p, ms in zip(predictions, measured, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="a tenth of the networks")
    options = parser.parse_args()
    conditions = Conditions(options.device, "fp32", 1, options.threads)
    share = 10 if options.small else 1
    fitted = [a for group in drawn({k: n // share for k, n in FITTED.items()}, 0).values() for a in group]
    groups = drawn({k: n // share for k, n in CANDIDATES.items()}, FIRST)
    candidates = [a for group in groups.values() for a in group]

    begin = perf_counter()
    count = 0

    def progress(row: Row) -> None:
        nonlocal count
        count += 1
        if count % 200 == 0:
            print(f"{count} timed, {perf_counter() - begin:.0f} s", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:

        def grown(architectures: list[Architecture], table: Table, networks: int) -> Table:
            grow(
                architectures,
                table,
                Path(folder) / "table.csv",
                conditions,
                max_seconds=3600,
                networks=networks,
                progress=progress,
            )
            return table

        table = grown(fitted, Table.under(conditions), ALL)
        without = replace(table, rows=dict(table.rows))
        grown(candidates, table, 0)
        # The candidates as wholes go to copies, some of them twice: no prediction sees them.
        once, again = (
            grown(some, replace(table, rows=dict(table.rows)), ALL) for some in (candidates, candidates[::AGAIN])
        )

    measured = np.array([once.rows[network_workload(a).key].ms for a in candidates])
    repeated = np.array([again.rows[network_workload(a).key].ms for a in candidates[::AGAIN]])
    predictor, blind = Predictor(table), Predictor(without)
    wholes = [network_workload(a) for a in fitted]
    macs = Overhead.fit([network.macs / 1e9 for network in wholes], [table.rows[network.key].ms for network in wholes])

    print(
        f"{table.device}, input {FRAMES}x{SIZE}x{SIZE}; {len(table.layers)} layers, fitted to {len(table.networks)} "
        f"networks: {predictor.overhead.fixed:.3g} ms + {predictor.overhead.scale:.3f} x sum; "
        f"{perf_counter() - begin:.0f} s"
    )
    rows = []
    start = 0
    for name, group in [*groups.items(), ("both", candidates)]:
        chosen = slice(start, start + len(group)) if name in groups else slice(None)
        start += len(group)
        truth = measured[chosen]
        seen, unseen = ([p.predict(a) for a in group] for p in (predictor, blind))
        ways = {
            "layers, all measured": np.array([p.ms for p in seen]),
            f"layers, {np.mean([p.covered for p in unseen]):.0%} measured": np.array([p.ms for p in unseen]),
            "multiply-adds alone": np.array([macs.fixed + macs.scale * network_workload(a).macs / 1e9 for a in group]),
        }
        within = [inside(seen, truth), inside(unseen, truth), np.nan]
        for (way, predicted), part in zip(ways.items(), within, strict=True):
            rows.append({"space": name, "from": way, **summary(predicted, truth), "in 90 % interval": part})
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    noise = summary(repeated, measured[::AGAIN])
    print(f"{len(repeated)} of them measured again: " + ", ".join(f"{k} {v:.3f}" for k, v in noise.items()))


if __name__ == "__main__":
    main()

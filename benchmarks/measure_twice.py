"""Measures networks twice, quiet and beside busy neighbours, and prints by how much two
measurements differ.

    python benchmarks/measure_twice.py [--neighbours 1]

Four rounds: quiet, with neighbours, quiet, with neighbours; two rounds of a kind begin at least ten
minutes apart. The networks are random candidates of a search space at a small input. Two
differences are printed: of the medians as the clock showed them, and of the ratios to the reference
network. A pair counts as flagged if either measurement has flags. The project promises 4 % without
neighbours, and 8 % or a flag with them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Sequence

import nas
from nas.architecture import Architecture
from nas.profiler.measured.measure import Measurement, measure

FRAMES, SIZE = 8, (112, 112)


def candidates(space: str, count: int) -> list[Architecture]:
    """Random architectures of a space, at a small input."""
    drawn = nas.SearchSpace.load(space)
    return [drawn.sample(seed=seed).resized(FRAMES, SIZE) for seed in range(count)]


def difference(first: float, second: float) -> float:
    """Share of their mean by which two numbers differ."""
    return abs(first - second) / ((first + second) / 2)


def _burn() -> None:
    while True:
        sum(range(100_000))


def measured(
    networks: Sequence[Architecture], threads: int | None, seconds: float, patience: float, label: str
) -> list[Measurement]:
    """One measurement of each network on the CPU."""
    found = []
    for i, network in enumerate(networks):
        found.append(measure(network, "cpu", threads=threads, max_seconds=seconds, patience=patience))
        print(f"{label} {i:2d}: {found[-1].latency_ms.median:8.2f} ms  {'; '.join(found[-1].flags)}", flush=True)
    return found


def report(pairs: Sequence[tuple[Measurement, Measurement]], promised: float) -> None:
    """Prints a row per network and the medians."""
    print("\n first ms  second ms  difference  of ratios  flagged")
    rows = []
    for one, two in pairs:
        assert one.reference and two.reference
        row = (
            difference(one.latency_ms.median, two.latency_ms.median),
            difference(one.reference.ratio, two.reference.ratio),
            bool(one.flags or two.flags),
        )
        rows.append(row)
        print(
            f"{one.latency_ms.median:9.2f}  {two.latency_ms.median:9.2f}  {row[0]:10.1%}  {row[1]:9.1%}  "
            f"{'yes' if row[2] else ''}"
        )
    print(f"\nflagged: {sum(row[2] for row in rows)} of {len(rows)}")
    for label, kept in (("all", rows), ("without flags", [row for row in rows if not row[2]])):
        if kept:
            times, ratios = (statistics.median(row[column] for row in kept) for column in (0, 1))
            print(f"median difference, {label}: {times:.1%} of times, {ratios:.1%} of ratios (at most {promised:.0%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="hybrid", help="a search space")
    parser.add_argument("--networks", type=int, default=20, help="how many candidates of it")
    parser.add_argument("--apart", type=float, default=600.0, help="seconds between two rounds of a kind, at least")
    parser.add_argument("--threads", type=int, help="threads of a forward; all cores unless given")
    parser.add_argument("--seconds", type=float, default=10.0, help="most seconds of timing per network")
    parser.add_argument("--patience", type=float, default=20.0, help="further seconds for a disturbed measurement")
    parser.add_argument("--neighbours", type=int, default=1, help="busy processes in two of the rounds")
    options = parser.parse_args()
    networks = candidates(options.space, options.networks)
    rounds: dict[int, list[list[Measurement]]] = {0: [], options.neighbours: []}
    began: dict[int, float] = {}
    for number in (1, 2):
        for neighbours, found in rounds.items():
            if neighbours in began:
                time.sleep(max(0.0, began[neighbours] + options.apart - time.monotonic()))
            began[neighbours] = time.monotonic()
            burning = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(neighbours)]
            for process in burning:
                process.start()
            try:
                label = f"round {number}, {neighbours} neighbours,"
                found.append(measured(networks, options.threads, options.seconds, options.patience, label))
            finally:
                for process in burning:
                    process.terminate()
    for neighbours, (first, second) in rounds.items():
        print(f"\n{neighbours} neighbours")
        report(list(zip(first, second, strict=True)), 0.08 if neighbours else 0.04)


if __name__ == "__main__":
    main()

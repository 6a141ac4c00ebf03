"""Strategies of search replayed on public tables, where every network has been trained already.

    python benchmarks/search_quality.py [--seeds 15] [--data ../shared/data/nas_tables] [STRATEGY ...]

Objectives: the error of one randomly drawn training seed, and the logarithm of the cost, which is known. Score:
hypervolume of the true mean errors of everything trained, as a share of that of the whole table; regret is 100 minus
the share. Reference point: median error of the table, maximum cost. Printed: mean regret in % over all tables and
seeds after 50, 100 and 200 trainings, distinct networks among 200, and the mean of each table.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from nas.search.surrogate import Surrogate, expected_gain

MARKS = (50, 100, 200)
Array = NDArray[np.float64]


def hypervolume(errors: Array, costs: Array, reference: tuple[float, float]) -> float:
    """Area that points dominate up to the reference, both axes to be small."""
    order = np.lexsort((errors, costs))
    errors, costs = np.minimum(errors[order], reference[0]), np.minimum(costs[order], reference[1])
    levels = np.minimum.accumulate(errors)
    return float(((reference[0] - levels) * np.diff(np.append(costs, reference[1]))).sum())


def front(errors: Array, costs: Array) -> NDArray[np.intp]:
    """Positions of the points that no other dominates, the cheapest first."""
    order = np.lexsort((errors, costs))
    best = np.minimum.accumulate(errors[order])
    return order[np.flatnonzero(np.append(True, best[1:] < best[:-1]))]


@dataclass
class Table:
    """A space whose networks have all been trained: choices, an error per training seed, a known cost."""

    choices: NDArray[np.int64]
    errors: Array
    costs: Array

    def __post_init__(self) -> None:
        self.mean = np.nanmean(self.errors, 1)
        self.costs = np.log(self.costs)
        self.reference = float(np.median(self.mean)), float(self.costs.max())
        self.whole = hypervolume(self.mean, self.costs, self.reference)
        self.row = {tuple(choice): i for i, choice in enumerate(self.choices)}
        self.values = int(self.choices.max()) + 1

    def train(self, row: int, rng: np.random.Generator) -> float:
        known = self.errors[row][~np.isnan(self.errors[row])]
        return float(known[rng.integers(len(known))])

    def regret(self, rows: list[int]) -> float:
        return 100 * (1 - hypervolume(self.mean[rows], self.costs[rows], self.reference) / self.whole)


def tables(folder: Path) -> dict[str, Table]:
    macro = pd.read_parquet(folder / "nasbench_macro_cifar10.parquet")
    cells = pd.read_parquet(folder / "nasbench201_cifar10.parquet")

    def table(data: pd.DataFrame, choices: str, accuracy: str, cost: str) -> Table:
        return Table(
            data.filter(like=choices).to_numpy(np.int64),
            100 - data.filter(like=accuracy).to_numpy(float),
            data[cost].to_numpy(float),
        )

    return {"macro MACs": table(macro, "layer_", "test_accuracy", "macs")} | {
        f"201 {device}": table(cells, "edge_", "val_accuracy", f"latency_ms_{device}")
        for device in ("1080ti_1", "pixel3", "raspi4")
    }


# A strategy: from a table and a random generator to rows to train; each is sent the error of the one before.
Strategy = Callable[[Table, np.random.Generator], Iterator[int]]


def random_search(table: Table, rng: np.random.Generator) -> Iterator[int]:
    yield from (int(row) for row in rng.permutation(len(table.choices)))


def by_optuna(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Strategy:
    def strategy(table: Table, rng: np.random.Generator) -> Iterator[int]:
        study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(int(rng.integers(2**31))))
        while True:
            trial = study.ask()
            choice = tuple(
                trial.suggest_categorical(str(i), list(range(table.values))) for i in range(table.choices.shape[1])
            )
            row = table.row[choice]
            error = yield row
            study.tell(trial, [error, table.costs[row]])

    return strategy


def changed(table: Table, row: int, edits: int, rng: np.random.Generator) -> int:
    choice = table.choices[row].copy()
    for place in rng.choice(len(choice), edits, replace=False):
        choice[place] = (choice[place] + rng.integers(1, table.values)) % table.values
    return table.row[tuple(choice)]


def mutation(table: Table, rng: np.random.Generator) -> Iterator[int]:
    """Each member of the front is changed in one place, in turn; nothing is trained twice."""
    rows: list[int] = []
    errors: list[float] = []
    waiting: list[int] = []
    while True:
        if not waiting and len(rows) >= 16:
            for member in front(np.array(errors), table.costs[rows]):
                tried = (changed(table, rows[member], 1, rng) for _ in range(20))
                fresh = next((row for row in tried if row not in {*rows, *waiting}), None)
                waiting += [] if fresh is None else [fresh]
        row = waiting.pop(0) if waiting else next(r for r in random_search(table, rng) if r not in rows)
        rows.append(row)
        errors.append((yield row))


def ours(table: Table, rng: np.random.Generator) -> Iterator[int]:
    """Random first; then the largest expected gains of a pool of random and changed networks, four at a time."""
    counts = np.stack([(table.choices == value).sum(1) for value in range(table.values)], 1)
    features = np.column_stack([counts, table.costs])
    features = (features - features.mean(0)) / features.std(0)
    rows: list[int] = []
    errors: list[float] = []
    for row in random_search(table, rng):
        if len(rows) == 16:
            break
        rows.append(row)
        errors.append((yield row))
    while True:
        surrogate = Surrogate.fit(table.choices[rows], features[rows], np.array(errors))
        believed = np.exp(surrogate.predict(table.choices[rows], features[rows])[0])
        costs = table.costs[rows]
        reference = np.array([np.median(believed[:16]), table.costs.max()])
        pool = {int(row) for row in rng.integers(len(table.choices), size=400)}
        for member in front(believed, costs):
            pool |= {changed(table, rows[member], edits, rng) for edits in (1,) * 25 + (2,) * 15 + (3,) * 10}
        candidates = np.array(sorted(pool - {*rows}))
        mean, deviation = surrogate.predict(table.choices[candidates], features[candidates])
        chosen: list[int] = []
        for _ in range(4):
            known = front(believed, costs)
            staircase = np.column_stack([believed[known], costs[known]])
            gain = expected_gain(mean, deviation, table.costs[candidates], staircase, reference)
            gain[chosen] = -1
            chosen.append(int(gain.argmax()))
            # In training: it counts as what it is predicted to be.
            believed = np.append(believed, np.exp(mean[chosen[-1]]))
            costs = np.append(costs, table.costs[candidates[chosen[-1]]])
        for i in chosen:
            rows.append(int(candidates[i]))
            errors.append((yield rows[-1]))


STRATEGIES: dict[str, Strategy] = {
    "random": random_search,
    "Optuna NSGA-II, population 20": by_optuna(
        lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
    ),
    "Optuna TPE, multi-objective default": by_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "Optuna TPE, multivariate": by_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True)),
    "mutate every member of the front": mutation,
    "ours": ours,
}


def replay(table: Table, strategy: Strategy, seed: int) -> tuple[list[float], int]:
    """Regrets at the marks, and how many networks are distinct."""
    rng = np.random.default_rng(seed)
    rows: list[int] = []
    proposals = strategy(table, rng)
    row = next(proposals)
    regrets = []
    while True:
        rows.append(row)
        if len(rows) in MARKS:
            regrets.append(table.regret(rows))
        if len(rows) == MARKS[-1]:
            return regrets, len(set(rows))
        row = proposals.send(table.train(row, rng))  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="*", help=f"some of: {', '.join(STRATEGIES)}")
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/nas_tables")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    spaces = tables(options.data)
    print(f"{'strategy':38}{'50':>7}{'100':>7}{'200':>7}{'distinct':>10}   at 100 / 200: {', '.join(spaces)}")
    for name in options.strategies or STRATEGIES:
        begin = perf_counter()
        runs = {
            space: [replay(table, STRATEGIES[name], seed) for seed in range(options.seeds)]
            for space, table in spaces.items()
        }
        regrets = {space: np.mean([run[0] for run in found], 0) for space, found in runs.items()}
        mean = np.mean(list(regrets.values()), 0)
        distinct = np.mean([run[1] for found in runs.values() for run in found])
        each = ", ".join(f"{row[1]:.1f} / {row[2]:.1f}" for row in regrets.values())
        print(
            f"{name:38}{mean[0]:7.1f}{mean[1]:7.1f}{mean[2]:7.1f}{distinct:10.0f}   {each}   "
            f"({perf_counter() - begin:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()

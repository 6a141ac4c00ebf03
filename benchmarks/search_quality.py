"""Strategies of search replayed on public tables, where every network has been trained already.

    python benchmarks/search_quality.py [--seeds 15] [--workers 2] [--trainings 200]
        [--data ../shared/data/nas_tables] [--page docs/results/search_quality.md] [STRATEGY ...]

Objectives: the error of one randomly drawn training seed, and the logarithm of the cost, which is
known. Score: hypervolume of the true mean errors of everything trained, as a share of that of the
whole table; regret is 100 minus the share. Reference point: median error of the table, maximum
cost. The pick is the network with the best result; its score is how far its true mean error lies
above the least of the table, in points. Printed: both in the mean over all tables and seeds after
12, 25, 50, 100 and 200 trainings, with the standard error over seeds of the mean over tables,
distinct networks among them all, and the regret of each table after the last two.

With 100 trainings and more, then the same under a hard limit at the 10th percentile of cost, for
100 trainings: the share of them that is inside, proposals needed, and by how much the best true
mean accuracy inside that was trained lies below the table's best. Soft: what is outside is trained
and told with its violation. Gate: it is told as completed and infeasible instead.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from video.page import markdown, publish

from nas.pareto.front import hypervolume, non_dominated
from nas.pareto.parameters import Params
from nas.pareto.sampler import ParetoSampler
from nas.pareto.surrogate import Posterior, expected_hypervolume_improvement

MARKS = (12, 25, 50, 100, 200)
LIMITED, MOST = 100, 1000  # trainings under a limit, and proposals after which they are given up
Array = NDArray[np.float64]


def front(errors: Array, costs: Array) -> NDArray[np.intp]:
    """Positions of the points that no other dominates, the cheapest first."""
    found = np.flatnonzero(non_dominated(np.column_stack([errors, costs]), (False, False)))
    return found[np.argsort(costs[found])]


@dataclass
class Table:
    """A space whose networks have all been trained: choices, an error per training seed, a known
    cost.
    """

    choices: NDArray[np.int64]
    errors: Array
    costs: Array

    def __post_init__(self) -> None:
        self.mean = np.nanmean(self.errors, 1)
        self.costs = np.log(self.costs)
        self.reference = float(np.median(self.mean)), float(self.costs.max())
        self.whole = self.volume(range(len(self.mean)))
        self.row = {tuple(choice): i for i, choice in enumerate(self.choices)}
        self.values = int(self.choices.max()) + 1
        self.limit = float(np.quantile(self.costs, 0.1))
        # Counts of each value and the exact cost, each of unit deviation.
        features = np.column_stack([self.counts(range(len(self.choices))), self.costs])
        self.features = (features - features.mean(0)) / features.std(0)

    def counts(self, rows: Sequence[int]) -> Array:
        return np.stack([(self.choices[rows] == value).sum(1) for value in range(self.values)], 1).astype(float)

    def suggested(self, trial: optuna.Trial) -> int:
        choices = [trial.suggest_categorical(name, d.choices) for name, d in self.distributions.items()]
        return self.row[tuple(choices)]

    @property
    def distributions(self) -> dict[str, CategoricalDistribution]:
        return {str(i): CategoricalDistribution(range(self.values)) for i in range(self.choices.shape[1])}

    def rows(self, candidates: Sequence[Params]) -> list[int]:
        return [self.row[tuple(params[name] for name in self.distributions)] for params in candidates]

    def outside(self, rows: Sequence[int]) -> Array:
        """By what share of the limit each cost is above it."""
        return np.maximum(np.exp(self.costs[rows] - self.limit) - 1, 0)

    def train(self, row: int, rng: np.random.Generator) -> float:
        known = self.errors[row][~np.isnan(self.errors[row])]
        return float(known[rng.integers(len(known))])

    def regret(self, rows: list[int]) -> float:
        return 100 * (1 - self.volume(rows) / self.whole)

    def volume(self, rows: Sequence[int]) -> float:
        """Hypervolume of the true mean errors and the costs of some rows."""
        return hypervolume(np.column_stack([self.mean[rows], self.costs[rows]]), self.reference, (False, False))


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


# A strategy: from a table and a random generator to rows to train; each is sent the error of the
# one before.
Strategy = Callable[[Table, np.random.Generator], Generator[int, float, None]]


def random_search(table: Table, rng: np.random.Generator) -> Generator[int, float, None]:
    yield from (int(row) for row in rng.permutation(len(table.choices)))


Sampler = Callable[[Table, int], optuna.samplers.BaseSampler]


def by_optuna(sampler: Sampler) -> Strategy:
    def strategy(table: Table, rng: np.random.Generator) -> Generator[int, float, None]:
        study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(table, int(rng.integers(2**31))))
        while True:
            trial = study.ask()
            row = table.suggested(trial)
            error = yield row
            study.tell(trial, [error, table.costs[row]])

    return strategy


def ours(table: Table, seed: int, limited: bool = False, **options: Any) -> ParetoSampler:
    return ParetoSampler(
        table.distributions,
        cost=lambda candidates: table.costs[table.rows(candidates)],
        violation=(lambda candidates: table.outside(table.rows(candidates))) if limited else None,
        features=lambda candidates: table.counts(table.rows(candidates)),
        ideal=[0.0],
        seed=seed,
        **options,
    )


def tpe(table: Table, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def changed(table: Table, row: int, edits: int, rng: np.random.Generator) -> int:
    choice = table.choices[row].copy()
    for place in rng.choice(len(choice), edits, replace=False):
        choice[place] = (choice[place] + rng.integers(1, table.values)) % table.values
    return table.row[tuple(choice)]


def mutation(table: Table, rng: np.random.Generator) -> Generator[int, float, None]:
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


def forest(table: Table, rng: np.random.Generator) -> Generator[int, float, None]:
    """16 random ones, then batches of 4: half mutation of the front, half a random forest's
    expected gain.
    """
    from sklearn.ensemble import RandomForestRegressor

    one_hot = np.concatenate([table.choices == value for value in range(table.values)], 1)
    features = np.column_stack([one_hot, table.costs, table.counts(range(len(table.choices)))])
    rows: list[int] = []
    errors: list[float] = []
    for row in random_search(table, rng):
        if len(rows) == 16:
            break
        rows.append(row)
        errors.append((yield row))
    while True:
        model = RandomForestRegressor(100, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
        model.fit(features[rows], np.log(errors))
        members = front(np.array(errors), table.costs[rows])
        pool = {int(row) for row in rng.integers(len(table.choices), size=400)}
        pool |= {changed(table, rows[member], edits, rng) for member in members for edits in (1,) * 25 + (2,) * 25}
        candidates = np.array(sorted(pool - {*rows}))
        trees = np.array([tree.predict(features[candidates]) for tree in model.estimators_])
        belief = Posterior(trees.mean(0), np.maximum(trees.std(0), 0.01), logarithmic=True)
        known = np.column_stack([errors, table.costs[rows]])
        reference = np.array([np.median(errors), table.costs.max()])
        gain = expected_hypervolume_improvement([belief], table.costs[candidates][:, None], known, reference)
        chosen = [int(row) for row in candidates[np.argsort(-gain)[:2]]]
        for member in rng.permutation(members):
            tried = (changed(table, rows[member], 1, rng) for _ in range(20))
            chosen += [row for row in tried if row not in {*rows, *chosen}][:1]
        for row in chosen[:4]:
            rows.append(row)
            errors.append((yield row))


STRATEGIES: dict[str, Strategy] = {
    "random": random_search,
    "Optuna NSGA-II, population 20": by_optuna(
        lambda table, seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
    ),
    "Optuna TPE, multi-objective default": by_optuna(lambda table, seed: optuna.samplers.TPESampler(seed=seed)),
    "Optuna TPE, multivariate": by_optuna(tpe),
    "mutate every member of the front": mutation,
    "mutation and random forest": forest,
    "ours": by_optuna(ours),
    "ours, for hypervolume alone": by_optuna(lambda table, seed: ours(table, seed, first_every=0)),
}
LIMITS: dict[str, tuple[Sampler, bool]] = {
    "Optuna TPE, soft": (tpe, False),
    "Optuna TPE, gate": (tpe, True),
    "ours": (lambda table, seed: ours(table, seed, limited=True), True),
}


def replay(table: Table, strategy: Strategy, seed: int, trainings: int) -> tuple[list[tuple[float, float]], int]:
    """Regret, and how much worse the pick is than the best network, at the marks; and how many
    networks are distinct.
    """
    rng = np.random.default_rng(seed)
    rows: list[int] = []
    results: list[float] = []
    proposals = strategy(table, rng)
    row = next(proposals)
    found = []
    while True:
        rows.append(row)
        results.append(table.train(row, rng))
        if len(rows) in MARKS:
            found.append((table.regret(rows), float(table.mean[rows[int(np.argmin(results))]] - table.mean.min())))
        if len(rows) == trainings:
            return found, len(set(rows))
        row = proposals.send(results[-1])


def limited(table: Table, sampler: Sampler, gate: bool, seed: int) -> tuple[float, int, float]:
    """Share of trainings inside the limit in %, proposals, and regret in the best accuracy inside
    in points.
    """
    rng = np.random.default_rng(seed)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(table, int(rng.integers(2**31))))
    trained: list[int] = []
    proposals = 0
    while len(trained) < LIMITED and proposals < MOST:
        trial = study.ask()
        row = table.suggested(trial)
        proposals += 1
        violation = float(table.outside([row])[0])
        if gate and not violation and row in trained:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        trial.set_constraint("limit", violation)
        if not gate or not violation:
            trained.append(row)
        study.tell(trial, [100.0 if gate and violation else table.train(row, rng), table.costs[row]])
    inside = [row for row in trained if table.costs[row] <= table.limit]
    best = table.mean[table.costs <= table.limit].min()
    return 100 * len(inside) / len(trained), proposals, float(table.mean[inside].min() - best)


@cache
def loaded(folder: Path) -> dict[str, Table]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return tables(folder)


def run(folder: Path, space: str, name: str, seed: int, trainings: int) -> tuple[list[tuple[float, float]], int]:
    return replay(loaded(folder)[space], STRATEGIES[name], seed, trainings)


def run_limited(folder: Path, space: str, name: str, seed: int) -> tuple[float, int, float]:
    return limited(loaded(folder)[space], *LIMITS[name], seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="*", help=f"some of: {', '.join(STRATEGIES)}")
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="put the first table into a page of results")
    parser.add_argument("--trainings", type=int, default=MARKS[-1], choices=MARKS, help="of a replay, at most")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/nas_tables")
    options = parser.parse_args()
    spaces = list(tables(options.data))
    jobs = list(product(spaces, range(options.seeds)))
    marks = [mark for mark in MARKS if mark <= options.trainings]

    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:

        def each(function: Callable[..., Any], name: str, *more: int) -> tuple[list[list[Any]], float]:
            """What a function finds, by space and seed, and the seconds it took."""
            begin = perf_counter()
            columns = zip(*((options.data, space, name, seed, *more) for space, seed in jobs), strict=True)
            found = list(pool.map(function, *columns))
            return [found[i : i + options.seeds] for i in range(0, len(found), options.seeds)], perf_counter() - begin

        of_marks = [f"{what}, {mark}" for what in ("regret", "pick") for mark in marks]
        header = [
            "strategy",
            *of_marks,
            "distinct",
            f"regret at {' / '.join(map(str, marks[-2:]))}: {', '.join(spaces)}",
        ]
        lines = []
        for name in options.strategies or STRATEGIES:
            runs, seconds = each(run, name, marks[-1])
            scores = np.array([[scores for scores, _ in found] for found in runs])  # (spaces, seeds, marks, 2)
            means, of_seeds = scores.mean((0, 1)), scores.mean(0)
            errors = of_seeds.std(0, ddof=1) / np.sqrt(len(of_seeds))
            cells = [f"{means[i, j]:.{1 + j}f} ± {errors[i, j]:.{1 + j}f}" for j in range(2) for i in range(len(marks))]
            distinct = np.mean([count for found in runs for _, count in found])
            of_tables = [" / ".join(f"{regret:.1f}" for regret in row) for row in scores.mean(1)[:, -2:, 0]]
            lines.append([name, *cells, f"{distinct:.0f}", ", ".join(of_tables)])
            print(f"{', '.join(lines[-1])} ({seconds:.0f} s)", flush=True)
        note = f"Mean and standard error of {options.seeds} seeds, each the mean over {len(spaces)} tables."
        publish(options, "tables", f"{note}\n\n{markdown(header, lines)}")
        if options.trainings < LIMITED:
            return
        print(f"\n{'hard limit':38}{'inside':>8}{'proposals':>11}{'regret':>8}   regret of each")
        for name in LIMITS:
            limits, seconds = each(run_limited, name)
            mean = np.mean([row for found in limits for row in found], 0)
            shown = ", ".join(f"{np.mean([row[2] for row in found]):.2f}" for found in limits)
            print(f"{name:38}{mean[0]:7.0f}%{mean[1]:11.0f}{mean[2]:8.2f}   {shown}   ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

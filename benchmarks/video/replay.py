"""Samplers replayed on the table: a training is looked up."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from nas.architecture import ArchitectureError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.pareto.front import hypervolume
from nas.pareto.parameters import Params
from nas.pareto.sampler import ParetoSampler
from nas.space import Hole, Label
from nas.trials.samplers import CHANGES, DRAWS, INITIAL
from video.page import markdown, publish
from video.table import Known, known, space

MARKS = (12, 24, 48)
NEAREST = 8  # rows of which a changed network is one
STARTUP = 10  # random trainings of TPE, its default
Array = NDArray[np.float64]


class Rows:
    """The networks of the table; a `nas.pareto.parameters.Space`.

    A network with one choice changed is rarely in the table, so that a change is to one of the
    nearest rows.

    Attributes:
        log_macs, errors: (rows), and (rows, seeds) with nan where there is none.
        mean: (rows), error that is taken for the true one.
        codes_of: (rows, choices).
    """

    def __init__(self, table: Known) -> None:
        gate = Gate(space(), Budget(()))
        self.space, self.distributions = gate.space, gate.distributions
        self.params = [network.params for network in table.networks]
        self.log_macs, self.errors, self.mean = table.log_macs, 1 - table.accuracy[:, :, -1], 1 - table.final
        self.codes_of, self._features = gate.codes(self.params), gate.features(self.params)
        self._row = {frozenset(params.items()): row for row, params in enumerate(self.params)}
        self._nearest = [self.by_distance(codes)[1 : NEAREST + 1] for codes in self.codes_of]
        self._gate = gate
        self.reference = float(np.median(self.mean)), float(self.log_macs.max())
        self.whole = self.volume(range(len(self.params)))

    def by_distance(self, codes: NDArray[np.int64]) -> NDArray[np.intp]:
        """All rows, the one with the fewest choices that differ first."""
        return np.argsort((self.codes_of != codes).sum(1), kind="stable")

    def row(self, params: Params) -> int:
        return self._row[frozenset(params.items())]

    def rows(self, candidates: Sequence[Params]) -> list[int]:
        return [self.row(params) for params in candidates]

    def nearest(self, params: Params, rows: set[int]) -> int:
        """The first of some rows by distance from a network, be it one that cannot be built."""
        return next(row for row in map(int, self.by_distance(self._gate.codes([params])[0])) if row in rows)

    def contains(self, params: Params) -> bool:
        return frozenset(params.items()) in self._row

    def sample(self, rng: np.random.Generator) -> Params:
        return self.params[int(rng.integers(len(self.params)))]

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        return self.params[int(rng.choice(self._nearest[self.row(params)]))]

    def codes(self, candidates: Sequence[Params]) -> NDArray[np.int64]:
        return self.codes_of[self.rows(candidates)]

    def features(self, candidates: Sequence[Params]) -> Array:
        return self._features[self.rows(candidates)]

    def key(self, params: Params) -> int:
        return self.row(params)

    def train(self, row: int, rng: np.random.Generator) -> float:
        """The error of one seed."""
        found = self.errors[row][~np.isnan(self.errors[row])]
        return float(rng.choice(found))

    def volume(self, rows: Sequence[int]) -> float:
        points = np.column_stack([self.mean[rows], self.log_macs[rows]])
        return hypervolume(points, self.reference, [False, False])


# From rows and a random generator to rows to train; each is sent the error of the one before.
Strategy = Callable[[Rows, np.random.Generator], Generator[int, float, None]]


def random_search(rows: Rows, rng: np.random.Generator) -> Generator[int, float, None]:
    yield from (int(row) for row in rng.permutation(len(rows.params)))


def our_sampler(rows: Rows, seed: int, **options: Any) -> ParetoSampler:
    """The default sampler as `nas search` sets it, but for what is given."""
    return ParetoSampler(
        rows,
        cost=lambda candidates: rows.log_macs[rows.rows(candidates)],
        ideal=[0.0],
        initial=INITIAL,
        draws=DRAWS,
        changes=CHANGES,
        seed=seed,
        **options,
    )


def ours(rows: Rows, rng: np.random.Generator, **options: Any) -> Generator[int, float, None]:
    """Without reference networks to begin with: the table has none."""
    sampler = our_sampler(rows, int(rng.integers(2**31)), **options)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    while True:
        trial = study.ask()
        params, _ = rows.space.complete(suggested(trial, {}))
        row = rows.row(params)
        error = yield row
        study.tell(trial, [error, rows.log_macs[row]])


def tpe(rows: Rows, rng: np.random.Generator) -> Generator[int, float, None]:
    """Proposes any network of the space; the row nearest to it that is not trained yet is trained,
    and told as itself.

    So what it learns from is true, and nothing of its budget is lost. Its random beginnings are
    rows, as of the others.
    """
    sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)), multivariate=True, group=True)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    left = list(random_search(rows, rng))
    for count in range(len(left)):
        row = left[0]
        if count >= STARTUP:
            trial, asked = study.ask(), dict[str, Label]()
            with suppress(ArchitectureError):  # the nearest row can be built all the same
                rows.space.complete(suggested(trial, asked))
            study.tell(trial, state=TrialState.FAIL)  # which TPE does not learn from
            row = rows.nearest(asked, set(left))
        left.remove(row)
        error = yield row
        params = rows.params[row]
        values = [error, float(rows.log_macs[row])]
        distributions: dict[str, BaseDistribution] = {name: rows.distributions[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))


def suggested(trial: optuna.Trial, asked: dict[str, Label]) -> Callable[[Hole], Label]:
    """Has a trial choose for each hole; what it chose is put into `asked`."""

    def choose(hole: Hole) -> Label:
        asked[hole.name] = trial.suggest_categorical(hole.name, hole.values)
        return asked[hole.name]

    return choose


STRATEGIES: dict[str, Strategy] = {
    "random": random_search,
    "Optuna TPE, multivariate, group": tpe,
    "ours": ours,
    "ours, for hypervolume alone": partial(ours, first_every=0),
}


def shares(rows: Rows, strategy: Strategy, seed: int, marks: Sequence[int]) -> list[tuple[float, float]]:
    """What was trained at the marks: hypervolume of the true errors, in % of the table's; and by
    how many points the true error of the network with the best result lies above the table's least.
    """
    rng = np.random.default_rng(seed)
    trained: list[int] = []
    results: list[float] = []
    proposals = strategy(rows, rng)
    row = next(proposals)
    while True:
        trained.append(row)
        results.append(rows.train(row, rng))
        if len(trained) == marks[-1]:
            picks = [trained[int(np.argmin(results[:mark]))] for mark in marks]
            return [
                (100 * rows.volume(trained[:mark]) / rows.whole, 100 * float(rows.mean[pick] - rows.mean.min()))
                for mark, pick in zip(marks, picks, strict=True)
            ]
        row = proposals.send(results[-1])


def replay(options: argparse.Namespace) -> None:
    """Prints what every strategy has trained at the marks."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    table = known(options)
    rows = Rows(table)
    marks = [mark for mark in MARKS if mark < len(rows.params)]
    lines = []
    for name, strategy in STRATEGIES.items():
        found = np.array([shares(rows, strategy, seed, marks) for seed in range(options.seeds)])  # (seeds, marks, 2)
        means, errors = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
        cells = [f"{means[i, j]:.{1 + j}f} ± {errors[i, j]:.{1 + j}f}" for j in range(2) for i in range(len(marks))]
        lines.append([name, *cells])
    note = (
        f"{table.describe()}; hypervolume in % of the table's, and by how many points the network with the best result "
        f"is worse than the best of the table; mean and standard error of {options.seeds} seeds."
    )
    header = ["strategy", *(f"{what}, {mark} trainings" for what in ("hypervolume", "pick") for mark in marks)]
    publish(options, "replay", f"{note}\n\n{markdown(header, lines)}")

"""Searches with short proxies replayed on the table: rungs at several epochs, at the same device
time.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.trials.scheduler import promoted
from video.page import markdown, publish
from video.replay import Rows, our_sampler, suggested
from video.table import known

Array = NDArray[np.float64]
# Epochs of a proxy that is trained to its end: where it is judged before.
JUDGED = {3: ((), (1,)), 6: ((), (3,), (1, 3)), 12: ((), (6,), (1, 3, 6))}
MOST = 60  # trainings of a search
PROXIES = (12.0, 24.0)  # device time of a search, in trainings of a proxy of mean cost
CURVE = "curve"


@dataclass
class _Search:
    """One search as it goes.

    Attributes:
        finished: Rows that were trained to the end of the proxy, and their accuracies there.
        spent: Epochs times multiply-adds, so far.
    """

    finished: list[tuple[int, float]]
    spent: float = 0.0


def shares(
    rows: Rows, accuracy: Array, judged: Sequence[int], learns: bool, seed: int, budgets: Sequence[float]
) -> list[tuple[float, float, float]]:
    """What a search has at each budget of device time.

    Args:
        rows: The table.
        accuracy: (rows, seeds, epochs), nan where there is no seed.
        judged: The epochs at which trainings are judged, and the last, at which they end.
        learns: Whether the default sampler proposes, in place of random search.
        seed: Of all random numbers.
        budgets: Ascending, in epochs times multiply-adds.

    Returns:
        Each the number of trainings, the accuracy after full training of the network with the best
        finished proxy, and the hypervolume of the finished ones after full training, in % of the
        table's.
    """
    rng = np.random.default_rng(seed)
    sampler = our_sampler(rows, int(rng.integers(2**31)), curve=lambda trial: trial.user_attrs[CURVE])
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    order = rng.permutation(len(rows.log_macs))
    reached: dict[int, list[tuple[float, float]]] = {epoch: [] for epoch in judged}
    search, found = _Search([]), list[tuple[float, float, float]]()
    for count in range(MOST):
        row = int(order[count])
        if learns:
            trial = study.ask()
            row = rows.row(rows.space.complete(suggested(trial, {}))[0])
        curves = accuracy[row][~np.isnan(accuracy[row]).any(1)]
        whole = curves[int(rng.integers(len(curves)))]
        curve: list[float] = []
        for epoch in judged:
            curve.append(float(whole[epoch - 1]))
            point = (curve[-1], float(rows.log_macs[row]))
            goes_on = promoted(reached[epoch], point)
            reached[epoch].append(point)
            if epoch == judged[-1]:
                search.finished.append((row, curve[-1]))
            elif not goes_on:
                break
        search.spent += judged[len(curve) - 1] * 10 ** rows.log_macs[row]
        if learns:
            trial.set_user_attr(CURVE, [1 - each for each in curve])
            study.tell(trial, [1 - curve[-1], float(rows.log_macs[row])])
        while len(found) < len(budgets) and (search.spent >= budgets[len(found)] or count == MOST - 1):
            found.append(_result(rows, search, count + 1))
        if len(found) == len(budgets):
            break
    return found


def _result(rows: Rows, search: _Search, count: int) -> tuple[float, float, float]:
    if not search.finished:
        return count, math.nan, 0.0
    pick, _ = max(search.finished, key=lambda each: each[1])
    volume = rows.volume([row for row, _ in search.finished])
    return count, 100 * (1 - float(rows.mean[pick])), 100 * volume / rows.whole


def proxies(options: argparse.Namespace) -> None:
    """Prints what searches have at the same device time, by where proxies are judged."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    table = known(options)
    rows = Rows(table)
    mean = float(np.mean(10**rows.log_macs))
    lines = []
    for last, choices in JUDGED.items():
        budgets = [proxy * last * mean for proxy in PROXIES]
        for judged in choices:
            for name, learns in (("ours", True), ("random", False)):
                found = np.array(
                    [
                        shares(rows, table.accuracy, (*judged, last), learns, seed, budgets)
                        for seed in range(options.seeds)
                    ]
                )
                means, errors = found.mean(0), found.std(0, ddof=1) / math.sqrt(len(found))
                cells = [
                    text
                    for (count, pick, volume), (_, of_pick, of_volume) in zip(means, errors, strict=True)
                    for text in (f"{count:.0f}", f"{pick:.1f} ± {of_pick:.1f}", f"{volume:.1f} ± {of_volume:.1f}")
                ]
                lines.append([str(last), ", ".join(map(str, judged)) or "none", name, *cells])
    note = (
        f"{table.describe()}; mean and standard error of {options.seeds} seeds, at the device time (epochs times "
        f"multiply-adds) of {' and '.join(f'{each:g}' for each in PROXIES)} proxies of mean cost trained to their end, "
        f"at most {MOST} trainings."
    )
    columns = [f"{what}, {each:g}" for each in PROXIES for what in ("trainings", "pick", "hypervolume")]
    publish(options, "proxies", f"{note}\n\n{markdown(['epochs', 'rungs before', 'proposed by', *columns], lines)}")

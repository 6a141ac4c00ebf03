"""Rungs in simulated time: how much of the device time of full training finds as good a front.

    python benchmarks/rungs.py [--seeds 120] [--candidates 96] [--workers 8] [--noise 0.02]

A candidate has a place z, uniform in [0, 1]. Its cost is 10^(1 + 1.5 z). One epoch takes 10^(0.7 z
+ 0.3 u) time units, u uniform in [0, 1]: speeds spread over 10x and mostly follow cost. Its
accuracy after e of 27 epochs is

    a - (a - 0.1) exp(-e / (27 tau)),
    a = 0.45 + 0.35 z + N(0, 0.05),  log tau = log .08 + z log 5 + N(0, 0.4)

with a clipped to [0.1, 0.97]: expensive networks start slower and end higher, so curves cross, and
networks of one cost differ in speed of learning too. What a scheduler sees has noise N(0, 0.02)
added, new at every epoch; what is scored has none. Candidates come in random order, the same for
every strategy. Time is that of an event queue with 8 workers; device time is workers times time
passed, idle workers included.

Scored: hypervolume of true accuracy after 27 epochs and log10 cost (reference: accuracy .1, the
largest cost) of the networks trained to their end so far, in % of that of full training of the
first 96 candidates, after shares of the device time that full training takes. `100 %` and `99 %`:
the share at which the mean over seeds first reaches that level, and the median over seeds; `seeds`:
how many reach 100 % within the device time of full training; `started`: networks started in that
time; `busy`: share of device time spent training until nothing is left to start.

"as many as time allows" is a search: what is stopped early makes room for further candidates from
the same stream. "the same candidates" gives every strategy the 96 of full training and no other.
"started in order" starts candidate k once all up to k - 16 have ended, as `nas search` with several
workers does.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from nas.pareto.front import hypervolume
from nas.trials.results import Assignment
from nas.trials.scheduler import ParetoRungs, rungs

EPOCHS = 27
FIRST_SEED = 1000  # spacing and reduction of the rungs were chosen on the seeds below 64
STREAM = 2500  # candidates, more than anything starts in the time of full training
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
Array = NDArray[np.float64]


class Curves:
    """The candidates of a seed and how they learn, as the docstring of this file says."""

    def __init__(self, seed: int, noise: float) -> None:
        rng = np.random.default_rng(seed)
        place = rng.random(STREAM)
        self.log_cost = 1 + 1.5 * place
        self.epoch_time = 10 ** (0.7 * place + 0.3 * rng.random(STREAM))
        best = np.clip(0.45 + 0.35 * place + rng.normal(0, 0.05, STREAM), 0.1, 0.97)
        tau = np.exp(np.log(0.08) + place * np.log(5) + rng.normal(0, 0.4, STREAM))
        epochs = np.arange(EPOCHS + 1)
        self.true: Array = best[:, None] - (best - 0.1)[:, None] * np.exp(-epochs / EPOCHS / tau[:, None])
        self.seen = self.true + rng.normal(0, noise, self.true.shape)

    def score(self, trained: list[int]) -> float:
        points = np.column_stack([self.true[trained, -1], self.log_cost[trained]])
        return hypervolume(points, (0.1, 2.5), (True, False))


@dataclass(frozen=True)
class Strategy:
    """A Ray scheduler and when trials report to it.

    Attributes:
        scheduler: Makes one.
        rungs: Epochs after which trials report, the last one their end.
        timed: Trials report at the first end of an epoch after these epochs of the median
            candidate, by the clock.
        in_order: Candidate k starts once all up to k - 2 workers have ended, as proposals that
            learn in order do.
    """

    scheduler: Callable[[], TrialScheduler]
    rungs: tuple[int, ...]
    timed: bool = False
    in_order: bool = False


def asha(reduction: int) -> Strategy:
    return Strategy(
        lambda: AsyncHyperBandScheduler(
            "epochs", "accuracy", "max", max_t=EPOCHS, grace_period=1, reduction_factor=reduction
        ),
        tuple(range(1, EPOCHS + 1)),
    )


def ours(timed: bool = False, in_order: bool = False) -> Strategy:
    return Strategy(lambda: ParetoRungs(), JUDGED, timed, in_order)


JUDGED = rungs(EPOCHS, least=1)
STRATEGIES = {
    "full training": Strategy(lambda: FIFOScheduler(), (EPOCHS,)),
    "Ray ASHA, accuracy, factor 4 (default)": asha(4),
    "Ray ASHA, accuracy, factor 3": asha(3),
    "Ray ASHA, accuracy, factor 2": asha(2),
    "ours, epochs": ours(),
    "ours, seconds": ours(timed=True),
    "ours, epochs, started in order": ours(in_order=True),
}


@dataclass
class Running:
    """A trial in the simulation."""

    trial: Any
    epochs: int
    curve: list[float]


@dataclass
class Outcome:
    """What a simulation came to: when which candidate was trained to its end, how many started,
    time in training.
    """

    ended: list[tuple[float, int]]
    started: int = 0
    busy: float = 0.0


def simulate(curves: Curves, strategy: Strategy, workers: int, candidates: int, limit: float) -> Outcome:
    """Runs trials on workers until none is left or a time has passed."""
    scheduler = strategy.scheduler()
    median = float(np.median(curves.epoch_time))
    outcome = Outcome([])
    queue: list[tuple[float, int]] = []
    running: dict[int, Running] = {}
    now = 0.0

    def advance(index: int) -> None:
        run, time = running[index], curves.epoch_time[index]
        target = EPOCHS
        if len(run.curve) < len(strategy.rungs) - 1:
            rung = strategy.rungs[len(run.curve)]
            target = min(EPOCHS, math.ceil(rung * median / time) if strategy.timed else rung)
        heapq.heappush(queue, (now + (target - run.epochs) * time, index))
        outcome.busy += min((target - run.epochs) * time, limit - now)
        run.epochs = target

    while True:
        while len(running) < workers and outcome.started < candidates:
            index = outcome.started
            if strategy.in_order and min(running, default=index) <= index - 2 * workers:
                break
            config = Assignment(index, {}, (float(curves.log_cost[index]),)).config()
            running[index] = Running(SimpleNamespace(trial_id=str(index), config=config), 0, [])
            scheduler.on_trial_add(None, running[index].trial)  # type: ignore[arg-type]
            advance(index)
            outcome.started += 1
        if not queue or queue[0][0] > limit:
            return outcome
        now, index = heapq.heappop(queue)
        run = running[index]
        last = run.epochs == EPOCHS
        spent = run.epochs * curves.epoch_time[index] / median if strategy.timed else run.epochs
        passed = len(strategy.rungs) if last else sum(rung <= spent for rung in strategy.rungs[:-1])
        accuracy = float(curves.seen[index, run.epochs])
        run.curve += [accuracy] * (passed - len(run.curve))
        result = {"epochs": run.epochs, "accuracy": accuracy, "curve": run.curve}
        if last:
            scheduler.on_trial_complete(None, run.trial, result)  # type: ignore[arg-type]
            outcome.ended.append((now, index))
        elif scheduler.on_trial_result(None, run.trial, result) != TrialScheduler.STOP:  # type: ignore[arg-type]
            advance(index)
            continue
        del running[index]


GRID = np.linspace(0.01, 1, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=120)
    parser.add_argument("--candidates", type=int, default=96)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.02)
    options = parser.parse_args()
    seeds = [Curves(FIRST_SEED + number, options.noise) for number in range(options.seeds)]
    first = list(range(options.candidates))
    full = STRATEGIES["full training"]
    times = [simulate(c, full, options.workers, options.candidates, math.inf).ended[-1][0] for c in seeds]
    whole = [curves.score(first) for curves in seeds]
    crossed = [np.mean([crossing(c.true[first, epoch], c.true[first, -1]) for c in seeds]) for epoch in JUDGED[:-1]]
    shares = ", ".join(f"{100 * share:.0f} % after {epoch}" for share, epoch in zip(crossed, JUDGED, strict=False))
    print(f"pairs of candidates in the other order at the end: {shares} of {EPOCHS} epochs")
    for title, candidates in (("as many as time allows", STREAM), ("the same candidates", options.candidates)):
        marks = "".join(f"{f'{100 * share:.0f} %':>7}" for share in SHARES)
        print(f"\n{title:40}{marks}   100 % median seeds   99 % median started busy")
        for name, strategy in STRATEGIES.items():
            rows, reach, starts, busy = [], [], [], []
            for curves, time, level in zip(seeds, times, whole, strict=True):
                outcome = simulate(curves, strategy, options.workers, candidates, time)
                if outcome.started == STREAM:
                    raise SystemExit(f"{name} ran out of candidates")
                order = [index for _, index in outcome.ended]
                scores = [curves.score(order[:n]) / level for n in range(len(order) + 1)]
                ends = np.array([end for end, _ in outcome.ended]) / time
                rows.append([scores[int((ends <= share + 1e-9).sum())] for share in GRID])
                reach.append([first_share(ends, np.array(scores[1:]), level) for level in (1.0, 0.99)])
                starts.append(outcome.started)
                busy.append(outcome.busy / (options.workers * (time if candidates == STREAM else outcome.ended[-1][0])))
            mean = np.mean(rows, 0)
            cells = "".join(f"{100 * mean[round(100 * share) - 1]:7.1f}" for share in SHARES)
            exact, nearly = (first_share(GRID, mean, level) for level in (1.0, 0.99))
            medians = np.median(reach, 0)
            count = int(np.isfinite([row[0] for row in reach]).sum())
            print(
                f"{name:40}{cells}   {exact:5.2f}{medians[0]:7.2f}{count:6}   {nearly:4.2f}{medians[1]:7.2f}"
                f"{np.mean(starts):8.0f}{100 * np.mean(busy):5.0f}",
                flush=True,
            )


def first_share(shares: Array, scores: Array, level: float) -> float:
    """The first share with at least a score, inf without."""
    reached = shares[scores >= level - 1e-9]
    return float(reached[0]) if len(reached) else math.inf


def crossing(early: Array, late: Array) -> float:
    """Share of pairs in the other order later."""
    first, second = np.triu_indices(len(early), 1)
    return float(np.mean((early[first] - early[second]) * (late[first] - late[second]) < 0))


if __name__ == "__main__":
    main()

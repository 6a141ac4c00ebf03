"""What Ray costs a search: 40 trials that train nothing, ours against stock Ray Tune with Optuna,
paired in one run.

    python benchmarks/search_overhead.py [--trials 40] [--repeats 1] [--workers 2] [--bare]

Both suggest over the space `tiny` by its holes and train nothing: a trainable imports what a proxy
imports (nothing with `--bare`) and returns at once. Ours is the code of `nas search` as far as it
goes without clips: Pareto sampler, gate, journal, rungs, reused processes. Stock is
`Tuner(trainable)` with `OptunaSearch`, everything by default, as many trials at a time. Ray is
started once, before either, and both take turns to be first. Exit code 1 where ours takes more than
a quarter.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from ray import tune
from ray.tune.search.optuna import OptunaSearch

from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.space import SearchSpace
from nas.trials.cluster import connect, resources, session
from nas.trials.proposer import Proposer, ProposerSearcher
from nas.trials.results import Report
from nas.trials.scheduler import ParetoRungs
from nas.trials.tuning import Place, run_trials

TARGET = 0.25


class Nothing(tune.Trainable):
    """Returns at once."""

    def setup(self, config: dict[str, Any]) -> None:
        import nas.trials.trainable  # noqa: F401  # a trial of either kind needs torch and the rest

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {**Report(curve=(0.5,)).to_ray(), "accuracy": 0.5, "pid_of_trial": os.getpid()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""


class Bare(Nothing):
    """Imports nothing either."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing to set up."""


def ours(trainable: type[tune.Trainable], space: SearchSpace, trials: int, workers: int) -> float:
    """Seconds of our search."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        gate = Gate(space, Budget.parse("1gflops"))
        proposer = Proposer(gate, Path(folder), seed=0, lag=2 * workers)
        place = Place(None, workers, resources(1, 0), None, Path(folder))
        run_trials(trainable, {}, place, ProposerSearcher(proposer, lambda: None), ParetoRungs(), trials)
        seconds = time.perf_counter() - started
    if len(proposer.results) != trials:
        raise SystemExit(f"{len(proposer.results)} of {trials} trials were recorded")
    return seconds


def stock(trainable: type[tune.Trainable], space: SearchSpace, trials: int, workers: int) -> float:
    """Seconds of stock Ray Tune."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        results = tune.Tuner(
            trainable,
            param_space={hole.name: tune.choice(list(range(len(hole.values)))) for hole in space.holes},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric="accuracy", mode="max"),
                num_samples=trials,
                max_concurrent_trials=workers,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        seconds = time.perf_counter() - started
    if len(results) != trials or results.num_errors:
        raise SystemExit(f"{len(results) - results.num_errors} of {trials} trials came to their end")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bare", action="store_true", help="import nothing in a trial")
    options = parser.parse_args()
    trainable = Bare if options.bare else Nothing
    space = SearchSpace.load("tiny")
    ratios = []
    with session():
        connect(None, options.workers)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        for number in range(options.repeats):
            ways = {"ours": ours, "stock": stock}
            names = list(ways) if number % 2 == 0 else list(ways)[::-1]
            seconds = {name: ways[name](trainable, space, options.trials, options.workers) for name in names}
            ratios.append(seconds["ours"] / seconds["stock"])
            print(
                f"{options.trials} trials that train nothing, {options.workers} at a time: ours "
                f"{seconds['ours']:.1f} s, stock Tuner with OptunaSearch {seconds['stock']:.1f} s, "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    worst = max(ratios)
    print(f"target: at most {TARGET}; {'met' if worst <= TARGET else 'missed'} ({worst:.2f} at worst)")
    sys.exit(worst > TARGET)


if __name__ == "__main__":
    main()

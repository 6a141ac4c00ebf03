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
from typing import Any, NamedTuple

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


class Timing(NamedTuple):
    """Seconds by the clock, and of the driver alone, which bound how many workers it serves."""

    clock: float
    driver: float

    @classmethod
    def since(cls, started: Timing) -> Timing:
        now = cls.now()
        return cls(now.clock - started.clock, now.driver - started.driver)

    @classmethod
    def now(cls) -> Timing:
        return cls(time.perf_counter(), time.process_time())


def ours(trainable: type[tune.Trainable], space: SearchSpace, trials: int, workers: int) -> Timing:
    """What our search takes."""
    with tempfile.TemporaryDirectory() as folder:
        started = Timing.now()
        gate = Gate(space, Budget.parse("1gflops"))
        proposer = Proposer(gate, Path(folder), seed=0, lag=2 * workers)
        place = Place(None, workers, resources(1, 0), None, Path(folder))
        run_trials(trainable, {}, place, ProposerSearcher(proposer, lambda: None), ParetoRungs(), trials)
        took = Timing.since(started)
    if len(proposer.results) != trials:
        raise SystemExit(f"{len(proposer.results)} of {trials} trials were recorded")
    return took


def stock(trainable: type[tune.Trainable], space: SearchSpace, trials: int, workers: int) -> Timing:
    """What stock Ray Tune takes."""
    with tempfile.TemporaryDirectory() as folder:
        started = Timing.now()
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
        took = Timing.since(started)
    if len(results) != trials or results.num_errors:
        raise SystemExit(f"{len(results) - results.num_errors} of {trials} trials came to their end")
    return took


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
            took = {name: ways[name](trainable, space, options.trials, options.workers) for name in names}
            ratios.append(took["ours"].clock / took["stock"].clock)
            each = {name: 1e3 * timing.driver / options.trials for name, timing in took.items()}
            print(
                f"{options.trials} trials that train nothing, {options.workers} at a time: ours "
                f"{took['ours'].clock:.1f} s, stock Tuner with OptunaSearch {took['stock'].clock:.1f} s, "
                f"ratio {ratios[-1]:.2f}; the driver's processor {each['ours']:.0f} and {each['stock']:.0f} ms a trial",
                flush=True,
            )
    worst = max(ratios)
    print(f"target: at most {TARGET}; {'met' if worst <= TARGET else 'missed'} ({worst:.2f} at worst)")
    sys.exit(worst > TARGET)


if __name__ == "__main__":
    main()

"""A search of which one training in ten fails at random, beside the same search of which none does.

    python benchmarks/failing_trials.py [--trials 60] [--seeds 20] [--share 0.1] [--results FILE]

The space, the gate and the simulated results are those of `benchmarks/scale.py`; proposals are the
default sampler's. A training that fails is told as failed, with no accuracy, whatever its network,
and counts as one of the trainings. Scored is the hypervolume of accuracy above chance and log10
multiply-adds below the budget, of what was trained. Printed is its mean over seeds with its
standard error, without failures, with them, and that of the difference. With a results file, the
seeds that it holds are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scale import CHANCE, proposer, result

from nas.pareto.front import hypervolume
from nas.trials.results import TrialResult

FAILED = TrialResult("failed", error="failed at random", failure="error")


@dataclass(frozen=True)
class Score:
    """Of one search.

    Attributes:
        seed: Of its proposals and failures.
        trials: How many trainings it had.
        share: Of trainings that fail.
        failed: How many did.
        volume: Hypervolume of the others.
    """

    seed: int
    trials: int
    share: float
    failed: int
    volume: float


def search(seed: int, trials: int, share: float) -> Score:
    rng = np.random.default_rng((seed, 1))
    with tempfile.TemporaryDirectory() as folder:
        proposals = proposer(Path(folder), "pareto", seed)
        points = []
        for _ in range(trials):
            candidate = proposals.propose()
            if candidate is None:
                raise SystemExit("a proposal waits for a result that is there")
            fails = bool(rng.random() < share)
            told = FAILED if fails else result(candidate)
            proposals.record(candidate.index, told)
            if told.accuracy is not None:
                points.append((told.accuracy, math.log10(candidate.cost.macs)))
    volume = hypervolume(np.array(points), (CHANCE, 9.0), (True, False))  # up to the budget of a GFLOP
    return Score(seed, trials, share, trials - len(points), float(volume))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--results", type=Path, help="a line of JSON for each search")
    asked = parser.parse_args()
    lines = asked.results.read_text().splitlines() if asked.results and asked.results.exists() else []
    scores = [Score(**json.loads(line)) for line in lines]
    known = {(score.seed, score.share): score for score in scores if score.trials == asked.trials}
    for seed in range(asked.seeds):
        for share in (0.0, asked.share):
            if (seed, share) in known:
                continue
            score = known[seed, share] = search(seed, asked.trials, share)
            if asked.results:
                with asked.results.open("a") as file:
                    file.write(json.dumps(asdict(score)) + "\n")
            print(f"seed {seed}, {score.failed} of {asked.trials} failed: {score.volume:.4f}", flush=True)
    without, with_failures = (
        np.array([known[seed, share].volume for seed in range(asked.seeds)]) for share in (0.0, asked.share)
    )
    failed = sum(known[seed, asked.share].failed for seed in range(asked.seeds))
    print(f"{failed} of {asked.seeds * asked.trials} trainings failed")
    for name, values in (
        ("without failures", without),
        ("with failures", with_failures),
        ("difference", with_failures - without),
    ):
        error = values.std(ddof=1) / math.sqrt(len(values))
        print(f"{name}: {values.mean():.4f} ± {error:.4f}")


if __name__ == "__main__":
    main()

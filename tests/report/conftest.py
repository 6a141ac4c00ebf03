"""A run of 24 trials, written as `nas search` writes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.pareto.front import non_dominated
from nas.runs.folder.run import Run

TRIALS = 24
SETTINGS = {
    "space": "hybrid",
    "budget": "100gflops",
    "data": "motion",
    "data_description": "twelve classes of textures that differ only in how they move",
    "classes": ["move_right", "move_left", "turn_clockwise"],
    "chance": 1 / 12,
    "clips": {"train": 1024, "val": 256, "test": 256},
    "proxy": {"frames": 8, "size": [32, 32], "epochs": 6, "batch": 32},
    "target": {"frames": 16, "size": [224, 224]},
    "trials": TRIALS,
    "time_s": None,
    "seed": 0,
    "device": "cpu-epyc9654.torch2.13.fp32.b1",
    "objectives": ["accuracy", "macs", "activation_bytes"],
    "counts": {
        "proposed": 40,
        "rejected": 12,
        "duplicates": 3,
        "trained": 24,
        "stopped_early": 10,
        "failed": 1,
    },
    "wall_s": 312.0,
    "versions": {"nas": "0.1.0", "torch": "2.13.0"},
    "command": "nas search hybrid --budget 100gflops --data motion --trials 24 --out runs/motion",
}


def write_run(folder: Path, count: int = TRIALS) -> Path:
    """Writes the run with accuracy that grows with the logarithm of the cost, plus noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    macs = np.round(10 ** random.uniform(9.3, 10.98, count))
    reach = 0.2 + 0.55 * (1 - np.exp(-(np.log10(macs) - 9) * 1.6)) + random.normal(0, 0.05, count)
    stopped = (reach < np.median(reach)) & (np.arange(count) > 3)
    accuracy = np.round(np.where(stopped, reach * 0.7, reach) * 256) / 256
    names = np.array(["t2d", "tps", "factorized", "d2plus1d", "joint_filter", "full3d"])
    trials = pd.DataFrame(
        {
            "trial": np.arange(count),
            "state": np.where(stopped, "stopped", "finished"),
            "accuracy": accuracy,
            "test_accuracy": np.round((accuracy - 0.015) * 256) / 256,
            "epochs": np.where(stopped, 2, 6),
            "seconds": np.where(stopped, 5.0, 14.5),
            "macs": macs,
            "params": np.round(macs / 4000 * random.uniform(0.7, 1.4, count)),
            "activation_bytes": np.round(macs / 300 * random.uniform(0.5, 2, count)),
            "memory_bytes": np.round(macs / 250),
            "latency_ms_predicted": np.round(macs / 6e8 * random.uniform(0.8, 1.3, count), 2),
            "operators": [
                " ".join(f"{op}*{n}" for op, n in zip(random.choice(names, 3, False), (3, 2, 1), strict=True))
                for _ in range(count)
            ],
            "hash": [f"{i:012x}" for i in range(count)],
        }
    )
    trials.loc[7, "state"] = "failed"
    trials.loc[7, "accuracy"] = trials.loc[7, "test_accuracy"] = np.nan
    trained = trials[trials["state"] != "failed"]
    values = trained[["accuracy", "macs", "activation_bytes"]].to_numpy(float)
    front = trained[non_dominated(values, [True, False, False])].copy()
    front["latency_ms"] = np.round(front["latency_ms_predicted"] * random.uniform(0.9, 1.1, len(front)), 3)
    front["latency_iqr_ms"] = np.round(front["latency_ms"] * 0.03, 3)
    front["latency_p95_ms"] = np.round(front["latency_ms"] * 1.08, 3)
    front["peak_memory_bytes"] = front["activation_bytes"] * 1.4 + front["params"] * 4
    front["pick"] = ""
    (folder / "run.json").write_text(json.dumps(SETTINGS))
    trials.to_csv(folder / "trials.csv", index=False)
    front.to_csv(folder / "front.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(written, tmp_path / "run"))


@pytest.fixture
def large(tmp_path: Path) -> Run:
    """A run of 5,000 trials."""
    return Run(write_run(tmp_path / "large", 5000))

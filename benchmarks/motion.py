"""Each of the six operators on `motion`, beside the same network without what it does in time.

    OMP_NUM_THREADS=1 nice python benchmarks/motion.py [--out runs/motion] [--seeds 0 1] [--table]

A frame of `motion` says nothing about the class, and the stems see one frame, so that all that a
network knows of time comes from its operator. Trainings are what `nas train` runs, by
`benchmarks/motion_recipe.yaml`, the same for all, at the default difficulty; a training ends by its
epochs, so that other programs change its seconds alone. What is reported is the accuracy of the
last weights (their moving average) on the test clips, which no decision has seen. One thread. A row
is written to the table beside this script as soon as a training ends, and what has a row is not
trained again; a training that was broken off goes on in its folder.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from images import cell
from nagoya import append_row, rows_of

from nas.architecture import Architecture
from nas.data.motion import CLASSES
from nas.trained.folder import load_model
from nas.trained.outcome import TEST
from nas.trained.plan import Plan, TrainSettings
from nas.trained.train import resume, train

RECIPE, ROWS = (Path(__file__).with_name(name) for name in ("motion_recipe.yaml", "motion.csv"))
FRAMES, SIDE = 8, 16
KINDS = ("with", "without")
FIELDS = ("operator", "time", "seed", "test", "clips", "params", "epochs", "cpu_seconds")


@dataclass(frozen=True)
class Case:
    """A network of one operator.

    Attributes:
        stem: It sees single frames.
        width: Of the one stage.
        layers: Of the operator, which is added.
        without: What is other in each layer that sees no time.
        frames: Of the network that sees none.
    """

    stem: dict[str, Any]
    width: int
    layers: tuple[dict[str, Any], ...]
    without: dict[str, Any]
    frames: int = FRAMES


CONVOLUTIONS = {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]}
WIDE_CONVOLUTIONS = {"op": "conv", "kernel": [1, 5, 5], "stride": [1, 4, 4]}
PATCHES = {"op": "patch", "size": [1, 4, 4], "position": "factorized"}
TWO, THREE, SIX = ({"heads": heads, "mlp_ratio": 2} for heads in (2, 3, 6))
TPS = TWO | {"window": [2, 2]}
CASES = {
    "t2d": Case(PATCHES, 48, (THREE | {"window": [FRAMES, 2, 2], "cpe": "3d"},) * 2, {"variant": "2d", "cpe": "2d"}),
    "tps": Case(
        WIDE_CONVOLUTIONS,
        48,
        (TPS | {"shift": "channel"}, TPS | {"shift": "patch", "pattern": "2x2"}),
        {"shift": "none"},
    ),
    "factorized": Case(PATCHES, 48, (SIX | {"variant": "self_attention"},) * 2, {"variant": "space"}),
    # Its keys are of all frames whatever its tubes, so that without time is a clip of one frame.
    "sparse_tube": Case(PATCHES, 48, (THREE | {"tubes": [{"kernel": [3, 2, 2], "stride": [1, 1, 1]}]},) * 2, {}, 1),
    "d2plus1d": Case(CONVOLUTIONS, 32, ({"modules": 3, "expansion": 1},) * 2, {"temporal_kernel": 1}),
    "joint_filter": Case(CONVOLUTIONS, 24, ({},) * 2, {"temporal_kernel": 1, "temporal_atoms": 1}),
}


def architecture(operator: str, sees_time: bool) -> Architecture:
    """A network of one operator, as it is or without time."""
    case = CASES[operator]
    layers = [{"op": operator} | layer | ({} if sees_time else case.without) for layer in case.layers]
    document = {
        "name": operator,
        "input": {"frames": FRAMES, "size": SIDE},
        "num_classes": len(CLASSES),
        "stem": case.stem,
        "stages": [{"width": case.width, "layers": layers}],
        "head": {"op": "mean"},
    }
    made = Architecture.parse(document)
    return made if sees_time else made.resized(case.frames)


def trained(folder: Path, made: Architecture, seed: int, epochs: int) -> dict[str, object]:
    """Trains a network, or goes on with it: what it reached on the test clips, and its cost."""
    busy = time.process_time()
    if (folder / "training" / "settings.json").is_file():
        resume(folder, say=lambda text: None)
    else:
        asked = TrainSettings(
            data="motion",
            out=str(folder),
            recipe=str(RECIPE),
            epochs=epochs,
            seed=seed,
            device="cpu",
            threads=1,
            source=(made.name, None, None),
        )
        train(Plan.of(asked, made), say=lambda text: None)
    last = load_model(folder / "last", "cpu")
    figure = last.record.figures[TEST]
    return {
        "test": figure.value,
        "clips": figure.clips,
        "params": sum(parameter.numel() for parameter in last.network.parameters()),
        "epochs": last.record.provenance.epochs,
        "cpu_seconds": round(time.process_time() - busy),
    }


def kept(epochs: int) -> list[dict[str, str]]:
    """The rows of trainings of so many epochs."""
    return [row for row in rows_of(ROWS) if float(row["epochs"]) == epochs]


def table(rows: list[dict[str, str]]) -> str:
    """Test accuracy in per cent with and without time, mean and standard error over seeds."""
    lines = ["| operator | with time | without | parameters | CPU s | seeds |", "|---" * 6 + "|"]
    for operator in dict.fromkeys(row["operator"] for row in rows):
        own = {kind: [row for row in rows if (row["operator"], row["time"]) == (operator, kind)] for kind in KINDS}
        cells = [cell(same, "test") for same in own.values()]
        figures = next(row for same in own.values() for row in same)
        seconds = " and ".join(f"{np.mean([float(row['cpu_seconds']) for row in s]):.0f}" for s in own.values() if s)
        counts = " and ".join(str(len(same)) for same in own.values())
        lines.append(f"| {operator} | {' | '.join(cells)} | {figures['params']} | {seconds} | {counts} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/motion"), help="folder of trainings")
    parser.add_argument("--operators", nargs="+", default=list(CASES), choices=CASES, help="those alone")
    parser.add_argument("--time", nargs="+", default=KINDS, choices=KINDS, help="networks with it, without it, or both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    asked = parser.parse_args()
    epochs = asked.epochs or yaml.safe_load(RECIPE.read_text())["epochs"]
    asked.out.mkdir(parents=True, exist_ok=True)
    for seed, operator, kind in product(asked.seeds, asked.operators, () if asked.table else asked.time):
        if (operator, kind, str(seed)) in {(row["operator"], row["time"], row["seed"]) for row in kept(epochs)}:
            continue
        made = architecture(operator, kind == "with")
        found = trained(asked.out / f"{operator}-{kind}-{seed}-{epochs}", made, seed, epochs)
        append_row(ROWS, FIELDS, {"operator": operator, "time": kind, "seed": seed} | found)
    print(table(kept(epochs)))


if __name__ == "__main__":
    main()

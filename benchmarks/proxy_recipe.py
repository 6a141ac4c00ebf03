"""What a proxy's short training makes of random candidates of a space: one recipe beside others.

    python benchmarks/proxy_recipe.py [--set A|B|C] [--variants before,now] [--rows FILE]

The candidates of `benchmarks/proxy_candidates.jsonl` were drawn from `hybrid` when its widths ended
at 384: those of set A while causes were looked for, the cheaper and four larger ones; those of sets
B and C afterwards, the first from seed 60 on of less than 60 and of 90 to 125 million multiply-adds
as proxies. Each is trained on `motion` at 8x28x28 in every variant, from equal weights and clips. A
row is written to the file as soon as a training ends, and what has a row is not trained again.
Printed are, for each variant, steps, mean validation accuracy (512 clips, chance 8.3 %), candidates
below twice chance, core-seconds of all trainings, and the correlation of accuracy with the log
of multiply-adds; then the accuracies one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from torch import nn

from nas.architecture import Architecture
from nas.data.clips import Clips, load_split
from nas.data.datasets import open_data
from nas.data.preprocessing import Preprocessing
from nas.models.layers.joint_filter import JointFilterBlock
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.training.loop import Training, accuracy
from nas.training.recipe import Recipe

CANDIDATES = Path(__file__).with_name("proxy_candidates.jsonl")
FRAMES, SIZE = 8, (28, 28)
TWICE_CHANCE = 2 / 12
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        what: In words.
        recipe: Of the proxies, but for what is named here.
        clips: Distinct training clips.
        epochs: Passes over them.
        random_branches: Joint filters begin as random branches in place of their shortcuts.
    """

    what: str
    recipe: dict[str, Any] = field(default_factory=dict)
    clips: int = 512
    epochs: int = 3
    random_branches: bool = False


VARIANTS = {
    "before": Variant("random branches, one rate for all widths", {"lr_channels": 0}, random_branches=True),
    "shortcuts": Variant("joint filters begin as their shortcuts, one rate", {"lr_channels": 0}),
    "now": Variant("shortcuts, and rates by width"),
    "distinct": Variant("as now, every clip seen once", clips=1536, epochs=1),
}


def clips_of(data: Any, name: str, limit: int) -> Clips:
    return load_split(getattr(data, name), Preprocessing.of_input(FRAMES, SIZE).training, limit=limit)


def candidates(which: str) -> dict[str, Architecture]:
    """The candidates of a set, by name."""
    lines = [json.loads(line) for line in CANDIDATES.read_text(encoding="utf-8").splitlines()]
    return {line["name"]: Architecture.parse(line["architecture"]) for line in lines if line["set"] == which}


def trained(drawn: Architecture, variant: Variant, train: Clips, val: Clips) -> dict[str, float]:
    """Accuracy, steps and core-seconds of one training."""
    torch.manual_seed(0)
    model = build(drawn.resized(FRAMES, SIZE))
    if variant.random_branches:
        for block in model.modules():
            if isinstance(block, JointFilterBlock):
                nn.init.ones_(block.norm2.weight)
    recipe = Recipe(variant.epochs, **variant.recipe)
    loop = Training(model, train, SIZE, recipe, False, CPU)
    started = time.process_time()
    while not loop.ended:
        loop.epoch()
    seconds = time.process_time() - started
    return {"accuracy": accuracy(model, val, SIZE, CPU), "steps": loop.steps_done, "seconds": round(seconds, 1)}


def read(path: Path) -> pd.DataFrame:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return pd.DataFrame(
        map(json.loads, lines), columns=["variant", "candidate", "macs", "accuracy", "steps", "seconds"]
    )


def show(rows: pd.DataFrame, names: list[str]) -> None:
    """Two tables, over the candidates that every variant has trained."""
    table = rows.pivot(index="candidate", columns="variant", values="accuracy")[names].dropna()
    rows = rows[rows["candidate"].isin(table.index)]
    print("| variant | steps | mean accuracy | below twice chance | core-seconds | correlation with log cost |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in names:
        own = rows[rows["variant"] == name]
        low = int((own["accuracy"] < TWICE_CHANCE).sum())
        lean = np.corrcoef(own["accuracy"], np.log10(own["macs"]))[0, 1] if len(own) > 1 else float("nan")
        print(
            f"| {name}: {VARIANTS[name].what} | {own['steps'].median():.0f} | {100 * own['accuracy'].mean():.1f} % | "
            f"{low} of {len(own)} | {own['seconds'].sum():.0f} | {lean:+.2f} |"
        )
    cost_of = dict(zip(rows["candidate"], rows["macs"], strict=True))
    print(f"\n| candidate | GFLOPs | {' | '.join(names)} |\n|---|---:|{'---:|' * len(names)}")
    for candidate, line in zip(map(str, table.index), table.to_dict("records"), strict=True):
        values = " | ".join(f"{100 * line[name]:.1f}" for name in names)
        print(f"| {candidate} | {cost_of[candidate] / 1e9:.1f} | {values} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="B", choices=["A", "B", "C"], dest="which")
    parser.add_argument("--variants", default="before,now", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--rows", type=Path, default=Path("proxy_recipe.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.variants.split(",")
    data = open_data("motion", seed=0)
    train = {n: clips_of(data, "train", n) for n in {VARIANTS[name].clips for name in names}}
    val = clips_of(data, "val", 512)
    chosen = candidates(options.which)
    for candidate, drawn in chosen.items():
        for name in names:
            rows, variant = read(options.rows), VARIANTS[name]
            if ((rows["variant"] == name) & (rows["candidate"] == candidate)).any():
                continue
            row: dict[str, Any] = {"variant": name, "candidate": candidate, "macs": cost(drawn).macs}
            row |= trained(drawn, variant, train[variant.clips], val)
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    rows = read(options.rows)
    show(rows[rows["candidate"].isin(list(chosen))], names)


if __name__ == "__main__":
    main()

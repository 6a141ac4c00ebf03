"""Two-stage training of joint filters beside training on whole clips: memory and accuracy.

    python benchmarks/joint_filters.py [--seeds 0,1] [--variants whole,halves] [--rows FILE]

First table: the computed peak of a training step (float32, AdamW) of `joint_r3d18_3_6` at
16x112x112 in each stage, beside that of whole clips. Second table: a small network of three joint
filters trained on `motion` at 16x32x32 (1,024 clips; accuracy is of 512 validation clips, chance
8.3 %) in every variant and seed, from equal weights and clips. A row is written to the file as soon
as a training ends, and what has a row is not trained again. Core-seconds are those of the process,
evaluations not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

from nas.architecture import Architecture, load
from nas.data.clips import Clips, load_split
from nas.data.datasets import open_data
from nas.data.preprocessing import Preprocessing
from nas.models.network import build
from nas.trained.stage_memory import stage_memory
from nas.training.loop import Training, accuracy
from nas.training.recipe import WHOLE, Recipe, Stage

REFERENCE = "joint_r3d18_3_6"
FRAMES, SIZE = 16, (32, 32)
CLIPS = 1024
CPU = torch.device("cpu")
TEMPORAL = Stage(size=0.5, fixed=("spatial",))
HALF, QUARTER = (Stage(frames=share, fixed=("temporal",)) for share in (0.5, 0.25))


@dataclass(frozen=True)
class Variant:
    """A way to train: in words, stages, epochs."""

    what: str
    stages: tuple[Stage, ...] = ()
    epochs: int = 10


VARIANTS = {
    "whole": Variant("whole clips"),
    "halves": Variant("half the size, then half the frames", (TEMPORAL, HALF)),
    "free": Variant("the same, no atoms fixed", (Stage(size=0.5), Stage(frames=0.5))),
    "longer": Variant("half the size, then half the frames, more epochs", (TEMPORAL, HALF), 16),
    "quarter": Variant("half the size, then a quarter of the frames", (TEMPORAL, QUARTER)),
}


def small() -> Architecture:
    """R3D-18 in small: three stages of one block each, 0.105 GFLOPs."""
    layers = [{"op": "joint_filter"}]
    widths = [{"width": width, "downsample": {"op": "in_layer", "stride": [2, 2, 2]}} for width in (32, 64)]
    return Architecture.parse(
        {
            "input": {"frames": FRAMES, "size": SIZE},
            "num_classes": 12,
            "stem": {"op": "conv", "kernel": [3, 5, 5], "stride": [1, 2, 2]},
            "stages": [{"width": 16, "layers": layers}, *({**stage, "layers": layers} for stage in widths)],
            "head": {"op": "mean"},
        }
    )


def show_memory() -> None:
    network = load(REFERENCE)
    print(
        "| clips of a step | whole clips | 16x56x56, spatial atoms fixed | 8x112x112, temporal atoms fixed | ", end=""
    )
    print("4x112x112, temporal atoms fixed |\n|---:|---:|---:|---:|---:|")
    for batch in (1, 4, 16, 32, 64):
        whole, *stages = (stage_memory(network, stage, batch, batch) for stage in (WHOLE, TEMPORAL, HALF, QUARTER))
        cells = " | ".join(f"{found / 1e9:.2f} GB, {whole / found:.2f} times less" for found in stages)
        print(f"| {batch} | {whole / 1e9:.2f} GB | {cells} |")


def trained(variant: Variant, seed: int, train: Clips, val: Clips) -> dict[str, Any]:
    """Accuracy after each epoch, and core-seconds of one training."""
    torch.manual_seed(seed)
    model = build(small())
    loop = Training(model, train, SIZE, Recipe(variant.epochs, stages=variant.stages, seed=seed), False, CPU)
    curve, seconds = [], 0.0
    while not loop.ended:
        started = time.process_time()
        loop.epoch()
        seconds += time.process_time() - started
        curve.append(accuracy(model, val, SIZE, CPU))
    return {"accuracy": curve[-1], "best": max(curve), "seconds": round(seconds, 1), "curve": curve}


def read(path: Path) -> pd.DataFrame:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return pd.DataFrame(map(json.loads, lines), columns=["variant", "seed", "accuracy", "best", "seconds", "curve"])


def show(rows: pd.DataFrame, names: list[str]) -> None:
    print("| variant | epochs | at the end | mean | best epoch, mean | core-seconds |\n|---|---:|---|---:|---:|---:|")
    for name in names:
        own = rows[rows["variant"] == name].sort_values("seed")
        ends = ", ".join(f"{100 * value:.1f}" for value in own["accuracy"])
        print(
            f"| {VARIANTS[name].what} | {VARIANTS[name].epochs} | {ends} | {100 * own['accuracy'].mean():.1f} % | "
            f"{100 * own['best'].mean():.1f} % | {own['seconds'].mean():.0f} |"
        )
    for name in names:
        curves = np.mean(rows[rows["variant"] == name]["curve"].tolist(), axis=0)
        print(f"{name}, mean after each epoch: {', '.join(f'{100 * value:.0f}' for value in curves)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--variants", default=",".join(VARIANTS), help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--rows", type=Path, default=Path("joint_filters.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    show_memory()
    names, seeds = options.variants.split(","), [int(seed) for seed in options.seeds.split(",")]
    data, sampling = open_data("motion", seed=0), Preprocessing.of_input(FRAMES, SIZE).training
    train, val = load_split(data.train, sampling, limit=CLIPS), load_split(data.val, sampling)
    for seed in seeds:
        for name in names:
            rows = read(options.rows)
            if ((rows["variant"] == name) & (rows["seed"] == seed)).any():
                continue
            row = {"variant": name, "seed": seed, **trained(VARIANTS[name], seed, train, val)}
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    rows = read(options.rows)
    show(rows[rows["seed"].isin(seeds)], names)


if __name__ == "__main__":
    main()

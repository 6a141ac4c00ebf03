"""Milliseconds of a proxy's training clip over the six operators of `hybrid`: before beside now, in
turns, in one run.

    python benchmarks/proxy_speed.py [--rounds 5] [--steps 4] [--before-batch 16] [--batch 16]
        [--bf16]

Each network is of one operator throughout, at middling widths of `hybrid` and the input of its
proxies, 8x28x28. Before is the optimizer's loop over tensors, now its fused pass; batches are
options, and `--bf16` trains what is now under autocast. A round runs both, each first in every
other one; times are those of the process, so that what else runs on the machine counts little.
Printed are medians, their ratios, and the geometric mean of these.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.models.network import build
from nas.training.loop import Training
from nas.training.recipe import Recipe

FRAMES, SIDE, CLASSES = 8, 28, 12
WIDTHS = (32, 64, 128, 192)
TUBES = ((4, 4, 4), (4, 4, 4), (2, 2, 2), (2, 1, 1))  # a kernel, which is its stride, for each stage's map
OPERATORS = ("t2d", "tps", "factorized", "sparse_tube", "d2plus1d", "joint_filter")


def architecture(operator: str) -> Architecture:
    """Four stages of two layers of an operator."""
    stages = []
    for number, (width, tube) in enumerate(zip(WIDTHS, TUBES, strict=True)):
        layer: dict[str, object] = {"op": operator}
        if operator not in ("d2plus1d", "joint_filter"):
            layer["heads"] = 4
        if operator == "sparse_tube":
            layer["tubes"] = [{"kernel": list(tube), "stride": list(tube)}]
        stage: dict[str, object] = {"width": width, "layers": [layer, layer]}
        if number:
            stage["downsample"] = {"op": "conv", "stride": [1, 2, 2]}
        stages.append(stage)
    return Architecture.parse(
        {
            "input": {"frames": FRAMES, "size": 8 * SIDE},
            "num_classes": CLASSES,
            "stem": {"op": "conv", "kernel": [3, 7, 7], "stride": [2, 4, 4]},
            "stages": stages,
            "head": {"op": "mean"},
        }
    ).resized(FRAMES, (SIDE, SIDE))


def training(made: Architecture, clips: Clips, batch: int, fused: bool, bf16: bool) -> Training:
    """A training of a new network; without `fused` its optimizer is a loop over tensors."""
    torch.manual_seed(0)
    loop = Training(build(made), clips, (SIDE, SIDE), Recipe(1000, batch_size=batch), False, torch.device("cpu"))
    for group in loop.optimizer.param_groups:
        group["fused"] = fused
    if bf16:
        loop._forward = torch.autocast("cpu", torch.bfloat16)(loop.model)
    return loop


def milliseconds(loop: Training, steps: int) -> float:
    """Of the process, a clip."""
    started = time.process_time()
    for _ in range(steps):
        loop.step()
    return 1000 * (time.process_time() - started) / (steps * loop.recipe.batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of the larger batch, and as many clips of the smaller")
    parser.add_argument("--before-batch", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--bf16", action="store_true", help="what is now under autocast")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batches = {"before": options.before_batch, "now": options.batch}
    clips_a_turn = options.steps * max(batches.values())
    count = 4 * max(batches.values())
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, FRAMES, SIDE + 4, SIDE + 4, 3), dtype=np.uint8)
    clips = Clips(pixels, np.arange(count, dtype=np.int64) % CLASSES)
    print(f"| operator | before, batches of {batches['before']} | now, batches of {batches['now']} | ratio |")
    print("|---|---:|---:|---:|")
    ratios = []
    for operator in OPERATORS:
        made = architecture(operator)
        loops = {
            name: training(made, clips, batch, name == "now", name == "now" and options.bf16)
            for name, batch in batches.items()
        }
        for loop in loops.values():
            loop.step()
        taken: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(options.rounds):
            for name in list(loops)[:: 1 if number % 2 == 0 else -1]:
                taken[name].append(milliseconds(loops[name], max(1, clips_a_turn // batches[name])))
        medians = {name: statistics.median(values) for name, values in taken.items()}
        ratios.append(medians["before"] / medians["now"])
        print(f"| {operator} | {medians['before']:.2f} | {medians['now']:.2f} | {ratios[-1]:.2f} |", flush=True)
    print(f"geometric mean of the ratios: {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")


if __name__ == "__main__":
    main()

"""A training that is killed at random moments and resumed, against the same one left alone.

    python benchmarks/kill_training.py [--kills 10] [--seed 0] [--epochs 8]

`nas train` of a small network on 120 small videos, on one thread of a CPU; a state is written at
the end of each epoch and every tenth of a second. Every run is killed (SIGKILL) once, up to 50 ms
after the beginning of a random step: in that step or a later one, or while a state or a network is
written. Then `nas train --resume FOLDER` finishes it. Checked: the curve (steps, loss,
learning rate, accuracy) and the best and last weights are those of the training left alone, bit for
bit. Exit code 1 where one of these fails.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import load_file

NETWORK = """
input: {frames: 4, size: 32}
stem: {op: conv, stride: [1, 4, 4]}
stages: [{width: 16, layers: [{op: full3d}]}]
head: {op: mean, dropout: 0.2}
"""
DELAY = 0.05  # seconds, a few steps or the end of an epoch
EXACT = ("epoch", "steps", "loss", "rate", "accuracy")
WEIGHTS = ("model.safetensors", "last/model.safetensors")
# The kill is set off from inside, when a step begins, and comes from outside of what Python does.
PROGRAM = """
import os, signal, threading
import nas.trained.train as train
from nas.training.loop import Training
train.SAVE_SECONDS = 0.1
step, left, delay = Training.step, int(os.environ.get("KILL_STEP", -1)), float(os.environ.get("KILL_DELAY", 0))
def counted(training):
    global left
    left -= 1
    if left == 0:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return step(training)
Training.step = counted
from nas.cli.app import main
main()
"""


def write_videos(folder: Path, count: int = 60) -> None:
    """Two classes of moving stripes: those of one move to the left, of the other to the right."""
    rng = np.random.default_rng(0)
    for name, step in (("left", -2), ("right", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            stripes = np.kron(rng.integers(0, 255, (1, 10, 3)), np.ones((40, 4, 1))).astype(np.uint8)
            with av.open(str(folder / name / f"{number}.mp4"), "w") as container:
                stream = container.add_stream("mpeg4", rate=10)
                stream.width = stream.height = 40
                for frame in range(8):
                    picture = np.ascontiguousarray(np.roll(stripes, step * frame, 1))
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())


def start(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", *arguments, "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"nas train ended with {process.returncode}:\n{output.decode()}")


def curve(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the curve, without times."""
    path = folder / "curves.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [tuple(row[name] for name in EXACT) for row in csv.DictReader(file)]


def differences(found: Path, expected: Path) -> list[str]:
    """What is not as in the training left alone."""
    wrong = [] if curve(found) == curve(expected) else ["another curve"]
    for name in WEIGHTS:
        one, other = load_file(found / name), load_file(expected / name)
        if one.keys() != other.keys() or not all(torch.equal(one[key], other[key]) for key in one):
            wrong.append(f"other weights in {name}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as root:
        network = Path(root) / "network.yaml"
        network.write_text(NETWORK)
        videos = Path(root) / "videos"
        write_videos(videos)
        common = (
            str(network),
            "--data",
            str(videos),
            "--no-flip",
            "--epochs",
            str(asked.epochs),
            "--device",
            "cpu",
            "--threads",
            "1",
        )
        alone = Path(root) / "alone"
        started = time.monotonic()
        finish(start(*common, "--out", str(alone)))
        whole = time.monotonic() - started
        steps = int(curve(alone)[-1][1])
        print(f"left alone: {steps} steps, {whole:.0f} s", flush=True)
        for number in range(asked.kills):
            folder = Path(root) / str(number)
            step, delay = rng.randint(1, steps), rng.uniform(0, DELAY)
            process = start(*common, "--out", str(folder), KILL_STEP=str(step), KILL_DELAY=str(delay))
            output, _ = process.communicate()
            if process.returncode != -signal.SIGKILL:
                raise SystemExit(f"run {number} ended with {process.returncode} before its kill:\n{output.decode()}")
            kept = "a state" if (folder / "training" / "state.safetensors").exists() else "no state yet"
            finish(start("--resume", str(folder)))
            wrong = differences(folder, alone)
            failures += bool(wrong)
            print(
                f"kill {number}: {1000 * delay:.0f} ms after step {step} of {steps} began, {kept}: "
                f"{', '.join(wrong) or 'the same training'}",
                flush=True,
            )
    print(f"{asked.kills - failures} of {asked.kills} resumed as if nothing had happened")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

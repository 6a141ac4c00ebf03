"""A training that is killed at random moments and resumed, against the same one left alone.

    python benchmarks/kill_training.py [--kills 10] [--seed 0] [--epochs 8] [--workers 1]

`nas train` of a small network on 120 small videos, on one thread of a CPU; a state is written at
the end of each epoch and every tenth of a second. Every run is killed (SIGKILL) once, up to 50 ms
after the beginning of a random step: in that step or a later one, or while a state or a network is
written. Then `nas train --resume FOLDER` finishes it. With several workers one of them is killed or
the command, in turn; a worker is replaced by the command itself. Checked: the curve (steps, loss,
learning rate, accuracy) and the best and last weights are those of the training left alone, bit for
bit, and with several workers nothing of a killed command but Ray's agents is there after 30 s. Exit
code 1 where one of these fails.
"""

from __future__ import annotations

import argparse
import contextlib
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
MARK = "KILL_RUN"  # in the environment of a training's processes
ORPHANS_SECONDS = 30.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # of Ray, which look for their node now and then
DELAY = 0.05  # seconds, a few steps or the end of an epoch
EXACT = ("epoch", "steps", "loss", "rate", "accuracy")
WEIGHTS = ("model.safetensors", "last/model.safetensors")
# An extension of every process of a training. The kill is set off from inside, when a step of the
# first worker or of the one that is killed begins, and comes from outside of what Python does.
KILLING = """
import os, signal, threading
from pathlib import Path
import nas.trained.train as train
from nas.training.loop import Training

train.SAVE_SECONDS = 0.1
driver = int(os.environ.setdefault("KILL_DRIVER", str(os.getpid())))
step, left, done = Training.step, int(os.environ.get("KILL_STEP", -1)), Path(os.environ["KILL_RUN"] + ".killed")
victim = int(os.environ.get("KILL_WORKER", -1))

def counted(training):
    global left
    left -= 1
    if left == 0 and training.workers.rank == max(0, victim) and not done.exists():
        done.touch()
        process = driver if victim < 0 else os.getpid()
        threading.Timer(float(os.environ["KILL_DELAY"]), os.kill, (process, signal.SIGKILL)).start()
    return step(training)

Training.step = counted
"""
PROGRAM = "from nas.cli.app import main; main()"


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


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    extension = folder.with_name("killing.py")
    extension.write_text(KILLING)
    common = {"OMP_NUM_THREADS": "1", "NAS_OPERATORS": str(extension), MARK: str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", *arguments, "--quiet"],
        env={**os.environ, **common, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"nas train ended with {process.returncode}:\n{output.decode()}")


def outlived(folder: Path) -> list[str]:
    """The processes of a killed training that are there after half a minute."""
    end = time.monotonic() + ORPHANS_SECONDS
    while (there := processes(folder)) and time.monotonic() < end:
        time.sleep(0.5)
    return list(there.values())


def processes(folder: Path) -> dict[str, str]:
    """The commands of a training's processes, by number, without Ray's agents."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found[path.name] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return {number: command for number, command in found.items() if not command.startswith(AGENTS)}


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
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as root:
        network = Path(root) / "network.yaml"
        network.write_text(NETWORK)
        videos = Path(root) / "videos"
        write_videos(videos)
        common = [str(network), "--data", str(videos), "--no-flip", "--epochs", str(asked.epochs), "--device", "cpu"]
        common += ["--threads", "1", "--workers", str(asked.workers)]
        alone = Path(root) / "alone"
        started = time.monotonic()
        finish(start(alone, *common, "--out", str(alone)))
        whole = time.monotonic() - started
        steps = int(curve(alone)[-1][1])
        print(f"left alone: {steps} steps, {whole:.0f} s", flush=True)
        for number in range(asked.kills):
            folder = Path(root) / str(number)
            step, delay = rng.randint(1, steps), rng.uniform(0, DELAY)
            victim = number % (asked.workers + 1) - 1 if asked.workers > 1 else -1
            kill = {"KILL_STEP": str(step), "KILL_DELAY": str(delay), "KILL_WORKER": str(victim)}
            process = start(folder, *common, "--out", str(folder), **kill)
            output, _ = process.communicate()
            if process.returncode != (-signal.SIGKILL if victim < 0 else 0):
                raise SystemExit(f"run {number} ended with {process.returncode}:\n{output.decode()}")
            kept = "resumed from a state" if (folder / "training" / "state.safetensors").exists() else "begun again"
            left = outlived(folder)
            if victim < 0:
                finish(start(folder, "--resume", str(folder)))
            wrong = differences(folder, alone) + [f"still there: {command}" for command in left]
            failures += bool(wrong)
            whom = "the command" if victim < 0 else f"worker {victim}"
            print(
                f"kill {number} of {whom}: {1000 * delay:.0f} ms after step {step} of {steps} began, "
                f"{kept if victim < 0 else 'gone on by itself'}: {', '.join(wrong) or 'the same training'}",
                flush=True,
            )
    print(f"{asked.kills - failures} of {asked.kills} came to their end as if nothing had happened")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

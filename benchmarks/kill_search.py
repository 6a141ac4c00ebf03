"""A search whose driver is killed at random moments, resumed, against the same search left alone.

    python benchmarks/kill_search.py [--kills 10] [--trials 24] [--seed 0]

One trial at a time. Every run is killed (SIGKILL) once, after a random number of lines in its
journal and up to 50 ms more: every other time the driver alone, else its whole process group. Then
`nas search --resume RUN` finishes it. Checked: it finds the same candidates (hashes) with the same
accuracies as the search left alone; every result that was known before the kill is there unchanged;
no candidate has two results; the trial and Ray's servers end with the killed driver (two idle
agents of Ray take a minute and a half to notice; the script ends them). Exit code 1 where one of
these fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

SPACE = {
    "input": {"frames": 4, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [
        {
            "width": {"choice": [8, 16, 24, 32]},
            "layers": {
                "repeat": {"choice": [1, 2]},
                "layer": {"choice": [{"op": "full3d", "temporal_kernel": {"choice": [1, 3]}}, {"op": "d2plus1d"}]},
            },
        }
    ],
}
OPTIONS = (
    *("--budget", "20mflops", "--workers", "1", "--epochs", "2", "--proxy", "4x16", "--train-clips", "32"),
    *("--val-clips", "24", "--measure-seconds", "0.1", "--confirm-seeds", "0", "--quiet"),
)
MARK = "NAS_KILLED_RUN"  # in the environment of a run's processes, to find those that outlive it
ORPHANS_SECONDS = 20.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    program = "from nas.cli.app import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "search", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", MARK: str(folder)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"nas search ended with {process.returncode}:\n{output.decode()}")


def entries(folder: Path) -> list[dict[str, Any]]:
    """The journal; its last line may be cut off."""
    path = folder / "study.log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def results(folder: Path) -> list[tuple[int, Any]]:
    """Every result that the journal was told, by the number of its proposal."""
    return [
        (entry["trial_id"], entry["user_attr"]["result"])
        for entry in entries(folder)
        if "result" in entry.get("user_attr", {})
    ]


def processes(folder: Path) -> dict[int, str]:
    """Those that were started in a run, by number, with their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
            command = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if f"{MARK}={folder}".encode() in variables:
            found[int(path.parent.name)] = command
    return found


def kill(process: subprocess.Popen[bytes], folder: Path, lines: int, delay: float, group: bool) -> bool:
    """Kills a search once its journal has so many lines; returns whether it came to that."""
    while len(entries(folder)) < lines:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    return True


def outlived(folder: Path) -> tuple[float, list[str]]:
    """How long processes of a killed run were there, and the commands of those that had to be
    killed in the end.
    """
    started = time.monotonic()
    while True:
        left = processes(folder)
        working = [command for command in left.values() if not command.startswith(AGENTS)]
        seconds = time.monotonic() - started
        if not working or seconds > ORPHANS_SECONDS:
            break
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return seconds, working


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # a trial gets a thread per core, which is too many for it
    rng = random.Random(asked.seed)
    columns = ["trial", "hash", "state", "accuracy"]
    failures = 0
    with tempfile.TemporaryDirectory() as root:
        space = Path(root) / "space.yaml"
        space.write_text(yaml.safe_dump(SPACE))
        arguments = (str(space), *OPTIONS, "--trials", str(asked.trials))
        started = time.monotonic()
        alone = Path(root) / "alone"
        finish(start(alone, *arguments, "--out", str(alone)))
        expected = pd.read_csv(alone / "trials.csv")[columns]
        whole = len(entries(alone))
        print(
            f"left alone: {len(expected)} trials, {whole} lines of journal, {time.monotonic() - started:.0f} s",
            flush=True,
        )
        for number in range(asked.kills):
            folder = Path(root) / str(number)
            lines, delay, group = rng.randint(1, whole - 1), rng.uniform(0, 0.05), number % 2 == 1
            process = start(folder, *arguments, "--out", str(folder))
            if not kill(process, folder, lines, delay, group):
                raise SystemExit(f"run {number} ended before it was killed: {process.communicate()[0].decode()}")
            known = results(folder)
            reached = len(entries(folder))
            seconds, orphans = outlived(folder)
            started = time.monotonic()
            finish(start(folder, "--resume", str(folder), "--quiet"))
            took = time.monotonic() - started
            told = results(folder)
            found = pd.read_csv(folder / "trials.csv")[columns]
            wrong = [
                name
                for name, fine in {
                    "other candidates": found["hash"].tolist() == expected["hash"].tolist(),
                    "other accuracies": found.equals(expected),
                    "a lost result": told[: len(known)] == known,
                    "a candidate trained twice": len({trial for trial, _ in told}) == len(told) == asked.trials,
                    "orphaned processes": not orphans,
                }.items()
                if not fine
            ]
            failures += bool(wrong)
            print(
                f"kill {number}: {'process group' if group else 'driver'} at line {reached} of {whole}, "
                f"{len(known)} results known; its processes ended within {seconds:.1f} s; resumed in {took:.0f} s: "
                f"{', '.join(wrong) or 'the same search'}",
                flush=True,
            )
    print(f"{asked.kills - failures} of {asked.kills} resumed as if nothing had happened")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

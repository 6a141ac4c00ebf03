"""A search that is killed at random moments and resumed, against the same search left alone.

    python benchmarks/kill_search.py [--kills 100] [--trials 12] [--workers 1] [--work FOLDER]

One trial at a time, or several with `--reproducible`, so that the search does not hang on who ends
first; the front is confirmed with one further seed. Every run is hit (SIGKILL) once.
What is hit goes by turns: the driver, its process group, the trial's process, the raylet, or all
that was started at once. The moment is, four times in five, after a random number of lines in the
journal and up to 0.3 s more; else a random moment of the time that the search takes, from its start
to its end. A search that ends by itself with success, as with a killed trial, is not resumed; else
`nas search --resume RUN`, or where nothing is written yet the same command, finishes it. Checked:
the candidates (hashes), accuracies and front are those of the search left alone; every result that
was known before the kill is there unchanged; no candidate has two results; `nas check` passes;
nothing but Ray's agents outlives the kill for more than 20 s (two idle ones take a minute and a
half to notice; the script ends them). Exit code 1 where one of these fails.

With a folder to work in, what is done is kept there (`kills.jsonl`), and the same command goes on.
Other code may propose other networks, so the script ends where the package has changed since the
search was left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import nas

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
    *("--budget", "20mflops", "--epochs", "2", "--proxy", "4x16", "--train-clips", "32"),
    *("--val-clips", "24", "--measure-seconds", "0.1", "--confirm-seeds", "1", "--baselines", "none", "--quiet"),
)
MARK = "NAS_KILLED_RUN"  # in the environment of a run's processes, to find those that outlive it
ORPHANS_SECONDS = 20.0
HANG_SECONDS = 180.0  # in which a search that lost a trial or Ray ends
DELAY = 0.3  # seconds, about a training
KINDS = ("driver", "process group", "trial", "raylet", "everything")
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


def fingerprint(package: Path) -> str:
    """Of the sources of a package: what a process that is started now runs."""
    files = sorted(package.rglob("*.py"))
    digests = [f"{file.relative_to(package)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def check_unchanged(known: str, package: Path) -> None:
    """Ends the script where searches of two states of the code would be compared."""
    if fingerprint(package) != known:
        raise SystemExit(
            f"the sources of {str(package)!r} have changed since the search was left alone; allowed: a new folder to "
            "work in, or the sources as they were"
        )


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


def victims(what: str, process: subprocess.Popen[bytes], folder: Path) -> list[int]:
    """The processes that a kill of this kind hits; none where there is none at the moment."""
    there = processes(folder)
    if what == "trial":
        workers = [pid for pid, command in there.items() if command.startswith("ray::")]
        return [pid for pid in workers if not there[pid].startswith((*AGENTS, "ray::IDLE"))]
    if what == "raylet":
        return [pid for pid, command in there.items() if command.split(" ")[0].endswith("/raylet")]
    if what == "driver":
        return [process.pid]
    if what == "process group":
        return [pid for pid in there if group_of(pid) == process.pid]
    return list(there)


def group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def hit(what: str, process: subprocess.Popen[bytes], folder: Path, ready: Callable[[], bool], delay: float) -> bool:
    """Kills once it is time to; returns whether it came to that before the search ended."""
    while not ready():
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    time.sleep(delay)
    while process.poll() is None:
        if found := victims(what, process, folder):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return True
    return False


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
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return seconds, working


def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a search that was hit; one that hangs is killed and has -1000."""
    try:
        process.communicate(timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -1000
    return process.returncode


def figures(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What must be as in the search left alone: of the trials, and of the front with its means."""
    front = pd.read_csv(folder / "front.csv")[["trial", "hash", "state", "accuracy", "seeds"]]
    return pd.read_csv(folder / "trials.csv")[["trial", "hash", "state", "accuracy"]], front


def one(number: int, root: Path, arguments: Sequence[str], whole: int, took: float, seed: int) -> dict[str, Any] | None:
    """Hits one run and finishes it; None where it ended before."""
    rng = random.Random(f"{seed} {number}")
    what = KINDS[number % len(KINDS)]
    folder = root / str(number)
    by_time = rng.random() < 0.2
    lines, moment, delay = rng.randint(1, whole - 1), rng.uniform(0, took), rng.uniform(0, DELAY)
    began = time.monotonic()

    def ready() -> bool:
        return time.monotonic() - began > moment if by_time else len(entries(folder)) >= lines

    process = start(folder, *arguments, "--out", str(folder))
    if not hit(what, process, folder, ready, delay):
        process.communicate()
        outlived(folder)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    known, reached = results(folder), len(entries(folder))
    code = ended(process)
    seconds, orphans = outlived(folder)
    wrong = ["it hung"] if code == -1000 else []
    if code:
        again = ("--resume", str(folder), "--quiet") if (folder / "run.json").exists() else arguments
        finish(start(folder, *again, *(() if again[0] == "--resume" else ("--out", str(folder)))))
    told = results(folder)
    found, front = figures(folder)
    expected, expected_front = figures(root / "alone")
    check = subprocess.run([sys.executable, "-m", "nas.cli.app", "check", str(folder)], capture_output=True, text=True)
    wrong += [
        name
        for name, fine in {
            "other candidates": found["hash"].tolist() == expected["hash"].tolist(),
            "other accuracies": found.equals(expected),
            "another front": front.equals(expected_front),
            "a lost result": told[: len(known)] == known,
            "a candidate trained twice": len({trial for trial, _ in told}) == len(told) == len(expected),
            f"nas check: {check.stderr.strip()}": check.returncode == 0,
            f"orphaned processes ({', '.join(each[:40] for each in orphans)})": not orphans,
        }.items()
        if not fine
    ]
    if not wrong:  # else it stays to be looked at
        shutil.rmtree(folder)
    return {
        "number": number,
        "what": what,
        "by": "time" if by_time else "journal",
        "line": reached,
        "known": len(known),
        "code": code,
        "seconds": round(seconds, 1),
        "wrong": wrong,
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of all kills, by what was hit."""
    lines = [
        "| killed | kills | the same search | lost or repeated results | resumed | ended by itself | orphans |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for what in KINDS:
        some = [row for row in rows if row["what"] == what]
        words = [" ".join(row["wrong"]) for row in some]
        cells = (
            len(some),
            sum(not row["wrong"] for row in some),
            sum("lost" in text or "twice" in text for text in words),
            sum(row["code"] != 0 for row in some),
            sum(row["code"] == 0 for row in some),
            sum("orphan" in text for text in words),
        )
        lines.append(f"| {what} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", type=Path, help="folder to work in, and to go on in")
    asked = parser.parse_args()
    if asked.workers == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # it gets a thread per core, which is too many for it
    with contextlib.nullcontext(asked.work) if asked.work else tempfile.TemporaryDirectory() as root_name:
        root = Path(root_name).resolve()
        root.mkdir(parents=True, exist_ok=True)
        space, done = root / "space.yaml", root / "kills.jsonl"
        space.write_text(yaml.safe_dump(SPACE))
        arguments = (str(space), *OPTIONS, "--trials", str(asked.trials), "--workers", str(asked.workers))
        arguments += ("--reproducible",) * (asked.workers > 1)
        alone = root / "alone"
        package, left_alone = Path(nas.__file__).parent, root / "alone.json"
        if not left_alone.exists():
            shutil.rmtree(alone, ignore_errors=True)
            code, started = fingerprint(package), time.monotonic()
            finish(start(alone, *arguments, "--out", str(alone)))
            left_alone.write_text(json.dumps({"seconds": time.monotonic() - started, "code": code}))
        found = json.loads(left_alone.read_text())
        took, whole = found["seconds"], len(entries(alone))
        check_unchanged(found["code"], package)
        print(f"left alone: {asked.trials} trials, {whole} lines of journal, {took:.0f} s", flush=True)
        rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        number = rows[-1]["number"] + 1 if rows else 0
        while len(rows) < asked.kills:
            shutil.rmtree(root / str(number), ignore_errors=True)
            row = one(number, root, arguments, whole, took, asked.seed)
            check_unchanged(found["code"], package)
            if row:
                rows.append(row)
                with done.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    f"kill {number}: {row['what']} at line {row['line']} of {whole}, {row['known']} results known; "
                    f"ended with {row['code']}, its processes within {row['seconds']} s: "
                    f"{', '.join(row['wrong']) or 'the same search'}",
                    flush=True,
                )
            number += 1
    print(summary(rows))
    failures = sum(bool(row["wrong"]) for row in rows)
    print(f"{len(rows) - failures} of {len(rows)} as if nothing had happened")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

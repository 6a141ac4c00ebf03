"""An hour of searches one after the other, and what each leaves behind on the machine.

    python benchmarks/soak.py [--minutes 60] [--trials 6] [--rows FILE]

As root on Linux: the script goes into namespaces of its own (`unshare`), where /tmp, /dev/shm and
the home folder are empty and every process but this one was started by a search. By turns a search
is left alone, or hit at a random moment by SIGINT (Ctrl-C), SIGTERM or SIGKILL of its driver; each
has a folder of its own, which is removed. Counted after each: the processes that are there 30 s
after its end, or 120 s where they are Ray's agents, and how long the last one took to go; the files
and bytes of /tmp and /dev/shm, and the files of the home folder. Exit code 1 where a process was
there for longer, a search that was left alone failed, or one of the counts is larger at any search
after the first sixth of the time than it ever was in it, SIGKILL excepted, whose files the next
search removes; and where no search ended in one of both.

A row is printed, and with `--rows` written, as soon as a search ends.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml
from kill_search import AGENTS, OPTIONS, SPACE

from nas.cli.search import NOTHING_FOUND

TEMPORARY, SHARED = Path("/tmp"), Path("/dev/shm")
STRAY_SECONDS = 30.0  # after which no process of a search may be there, but for Ray's agents
AGENT_SECONDS = 120.0
ENDINGS = ("left alone", "SIGINT", "SIGTERM", "SIGKILL")
COUNTS = ("temporary_files", "temporary_bytes", "shared_files", "shared_bytes", "home_files")
INSIDE = "NAS_SOAK_INSIDE"  # in the environment of the script within its namespaces


@dataclass(frozen=True)
class Row:
    """One search: how it ended, and what was there of it."""

    minute: float
    ending: str
    code: int
    processes_seconds: float
    strays: int
    agents_seconds: float
    temporary_files: int
    temporary_bytes: int
    shared_files: int
    shared_bytes: int
    home_files: int


def strays() -> list[str]:
    """The commands of all processes but this one, with those that have ended taken away."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if int(path.parent.name) != os.getpid():
            with contextlib.suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode().strip())
    return found


def wait_for_end(started: float) -> tuple[float, int, float]:
    """How long processes of a search were there after its end, how many had to be killed, and how
    long Ray's agents were there.
    """
    while (left := strays()) and time.monotonic() - started < STRAY_SECONDS:
        if all(command.startswith(AGENTS) for command in left):
            break
        time.sleep(0.1)
    seconds = time.monotonic() - started
    wrong = [command for command in left if not command.startswith(AGENTS)]
    while not wrong and strays() and time.monotonic() - started < AGENT_SECONDS:
        time.sleep(0.1)
    agents = time.monotonic() - started
    while left := strays():
        wrong = wrong or left
        os.kill(-1, signal.SIGKILL)  # every process of the namespace but its first, which is this one
        time.sleep(0.1)
    for command in wrong:
        print(f"did not go: {command[:100]}", flush=True)
    return round(seconds, 1), len(wrong), round(agents, 1)


def contents(folder: Path) -> tuple[int, int]:
    """Files and folders below a folder, and the bytes that they take."""
    found = list(folder.rglob("*"))
    return len(found), sum(path.lstat().st_size for path in found if not path.is_dir())


def grown(rows: Sequence[Row], minutes: float) -> list[str]:
    """What was larger after the first sixth of the time than it ever was within it; what a killed
    driver leaves goes when the next search starts, and is not counted.
    """
    rows = [row for row in rows if row.ending != "SIGKILL"]
    first = [row for row in rows if row.minute <= minutes / 6]
    rest = [row for row in rows if row.minute > minutes / 6]
    if not (first and rest):
        return ["the time was too short to tell whether anything grows"]
    return [
        f"{name} grew from {most} to {later}"
        for name in COUNTS
        for most, later in [(max(getattr(row, name) for row in first), max(getattr(row, name) for row in rest))]
        if later > most
    ]


def failed(rows: Sequence[Row]) -> list[str]:
    """How many searches left processes, and how many failed though they were left alone."""
    left = sum(row.strays > 0 for row in rows)
    broken = sum(row.ending == ENDINGS[0] and row.code not in (0, NOTHING_FOUND) for row in rows)
    counts = {"left processes": left, "failed, left alone": broken}
    return [f"{count} of {len(rows)} searches {what}" for what, count in counts.items() if count]


def search(number: int, root: Path, arguments: Sequence[str], took: float) -> Row:
    """Runs one search to its ending, and counts what is left once its folder is removed."""
    ending = ENDINGS[number % len(ENDINGS)]
    run = root / f"run{number}"
    program = "from nas.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "search", *arguments, "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if ending != "left alone":
        try:
            process.wait(random.Random(number).uniform(0, took))
            ending = "left alone"
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, ending))
    code = process.wait()
    went = wait_for_end(time.monotonic())
    shutil.rmtree(run, ignore_errors=True)
    temporary, shared, home = (contents(folder) for folder in (TEMPORARY, SHARED, Path.home()))
    return Row(0.0, ending, code, *went, *temporary, *shared, home[0])


def soak(minutes: float, trials: int, rows_file: Path | None, root: Path) -> int:
    """Searches until the time is over; returns the exit code."""
    space = root / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    arguments = (str(space), *OPTIONS, "--workers", "1", "--trials", str(trials))
    rows, started, took = list[Row](), time.monotonic(), 0.0
    while time.monotonic() - started < 60 * minutes:
        began = time.monotonic()
        row = search(len(rows), root, arguments, took)
        took = took or time.monotonic() - began  # of the first, which is left alone
        row = replace(row, minute=round((time.monotonic() - started) / 60, 1))
        rows.append(row)
        print(" ".join(f"{name}={value}" for name, value in asdict(row).items()), flush=True)
        if rows_file:
            with rows_file.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(asdict(row)))
                writer.writeheader()
                writer.writerows(asdict(each) for each in rows)
    wrong = [*failed(rows), *grown(rows, minutes)]
    print(f"{len(rows)} searches in {minutes:g} minutes: {'; '.join(wrong) or 'nothing grew, no process was left'}")
    return 1 if wrong else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rows", type=Path, help="CSV file to write")
    parser.add_argument("--work", type=Path, default=Path("soak"), help="folder outside /tmp for the runs")
    asked = parser.parse_args()
    # Ignored where a shell started this in the background, and then by what is started here too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    root = asked.work.resolve()
    root.mkdir(parents=True, exist_ok=True)
    if INSIDE not in os.environ:
        mounts = " && ".join(f"mount -t tmpfs tmpfs {folder}" for folder in (TEMPORARY, SHARED))
        shell = ("sh", "-c", f'{mounts} && mkdir /tmp/home && exec "$0" "$@"', sys.executable, *sys.argv)
        command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", *shell]
        os.execvpe("unshare", command, {**os.environ, INSIDE: "1", "HOME": "/tmp/home", "OMP_NUM_THREADS": "1"})
    sys.exit(soak(asked.minutes, asked.trials, asked.rows and asked.rows.resolve(), root))


if __name__ == "__main__":
    main()

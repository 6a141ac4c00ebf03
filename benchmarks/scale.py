"""A study of 10,000 simulated trials: memory, time of a proposal, of a resumption, of a report.

    python benchmarks/scale.py [--trials 10000] [--work FOLDER] [--seconds 300]

No network is trained: an accuracy follows from the multiply-adds and from the hash, which stands
for luck. The study is filled behind the gate of `nas search` with random proposals, each told as
finished, then cut to 100, 1000 and so on results. At each size a fresh process of one thread takes
the study up from its journal, as a resumed search does, and proposes with the default sampler and
with random search; its peak memory is that of the whole process. What does not come to its end
within the seconds is printed as such. At the full size the tables of a run are written, its report,
and what `nas check` says. Times are seconds of the processor, which other work on the machine
changes little: compare rows of one run. The waits for the disk, at each proposal and result, are
not among them. With a folder to work in, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.report import write
from nas.runs.folder.consistency import check_run
from nas.runs.folder.record import Counts, RunRecord, write_record
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS, trials_table, write_table
from nas.runs.selection.ranking import front_of
from nas.runs.settings import Settings
from nas.space import SearchSpace
from nas.trials.proposer import Candidate, Proposer
from nas.trials.results import STUDY, TrialResult

# Many networks of few kinds of parts, so that pricing, which other benchmarks time, is cheap.
OPERATORS = [{"op": "full3d", "temporal_kernel": {"choice": [1, 3]}}, {"op": "d2plus1d"}]
STAGE = {
    "width": {"choice": [8, 16, 24, 32]},
    "downsample": {"op": "conv", "stride": [1, 2, 2]},
    "layers": {"repeat": {"choice": [1, 2, 3, 4]}, "layer": {"choice": OPERATORS}},
}
SPACE = {"input": {"frames": 4, "size": 64}, "stem": {"op": "conv", "stride": [1, 2, 2]}, "stages": [STAGE] * 3}
BUDGET = "1gflops"
PROPOSALS = 8  # that are timed; the first chooses kernels
CHANCE = 0.1


def proposer(folder: Path, sampler: str, seed: int = 0) -> Proposer:
    space = SearchSpace.from_document(SPACE, "scale")
    return Proposer(Gate(space, Budget.parse(BUDGET)), folder, seed=seed, sampler=sampler)


def result(candidate: Candidate) -> TrialResult:
    """More multiply-adds are better, with luck."""
    luck = int(candidate.architecture.hash[:6], 16) / 16**6 - 0.5
    accuracy = CHANCE + 0.6 * (1 - np.exp(-candidate.cost.macs / 20e6)) + 0.1 * luck
    return TrialResult("finished", accuracy=float(accuracy), epochs=4, seconds=1.0, curve=(float(accuracy),))


def fill(folder: Path, trials: int) -> None:
    search = proposer(folder, "random")
    while len(search.results) < trials:
        candidate = search.propose()
        if candidate is None:
            raise SystemExit("a proposal waits for a result that is there")
        search.record(candidate.index, result(candidate))
        if len(search.results) % 1000 == 0:
            print(f"{len(search.results)} trials in the study", flush=True)


def cut(whole: Path, folder: Path, trials: int) -> None:
    """The journal up to so many results."""
    folder.mkdir(exist_ok=True)
    known = 0
    with (whole / STUDY).open() as lines, (folder / STUDY).open("w") as file:
        for line in lines:
            file.write(line)
            known += "result" in json.loads(line).get("user_attr", {})
            if known == trials:
                break


def peak_mb() -> float:
    """Of this program alone; `getrusage` begins with the peak of the one that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    started = time.process_time()
    yield
    times.append(time.process_time() - started)


def proposals(folder: Path, sampler: str) -> None:
    """In a process of its own: takes the study up and proposes; prints seconds and memory."""
    resumed, took = list[float](), list[float]()
    with timed(resumed):
        search = proposer(folder, sampler)
    for _ in range(PROPOSALS):
        with timed(took):
            candidate = search.propose()
        if candidate is None:
            raise SystemExit("a proposal waits for a result that is there")
        search.record(candidate.index, result(candidate))
    print(json.dumps({"resume": resumed[0], "median": float(np.median(took)), "most": max(took), "mb": peak_mb()}))


def report(folder: Path, trials: int) -> None:
    """In a process of its own: the tables of a run, its report and its check."""
    search = proposer(folder, "random")
    architectures = folder / "architectures"
    architectures.mkdir(exist_ok=True)
    stages = {name: list[float]() for name in ("tables", "architectures", "report", "check")}
    with timed(stages["architectures"]):
        for index in search.results:
            search.candidates[index].architecture.save(architectures / f"{index}.yaml")
    record = RunRecord(
        space="scale",
        budget=BUDGET,
        chance=CHANCE,
        counts=Counts(search.proposed, search.rejected, search.duplicates, trials, 0, 0),
        searched=True,
        front_of=trials,
        settings=Settings(trials=trials),
    )
    write_record(record, folder)
    with timed(stages["tables"]):
        table = trials_table(search)
        write_table(folder / TRIALS, table)
        front = front_of(table, Run(folder).objectives)
        write_table(folder / FRONT, front.assign(accuracy_searched=front["accuracy"], seeds=1))
    with timed(stages["report"]):
        page, *_ = write(Run(folder))
    with timed(stages["check"]):
        problems = check_run(folder).problems
    figures = {name: round(seconds[0], 1) for name, seconds in stages.items()}
    print(json.dumps(figures | {"mb": peak_mb(), "page_mb": page.stat().st_size / 1e6, "problems": problems}))


def in_process(seconds: float, *arguments: object) -> dict[str, float] | None:
    """What this script prints last in a process of its own; None where it takes too long."""
    command = [sys.executable, __file__, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--work", type=Path, help="folder to work in, and to go on in")
    parser.add_argument("--seconds", type=float, default=300, help="that a process may take")
    parser.add_argument("--propose", nargs=2, metavar=("FOLDER", "SAMPLER"), help=argparse.SUPPRESS)
    parser.add_argument("--report", metavar="FOLDER", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.propose:
        proposals(Path(asked.propose[0]), asked.propose[1])
        return
    if asked.report:
        report(Path(asked.report), asked.trials)
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.work or Path(scratch)
        whole = root / "whole"
        whole.mkdir(parents=True, exist_ok=True)
        fill(whole, asked.trials)
        print(f"journal: {(whole / STUDY).stat().st_size / 1e6:.0f} MB")
        print("| results | sampler | resumed in | a proposal | the slowest | peak memory |")
        print("|---:|---|---:|---:|---:|---:|", flush=True)
        sizes = [n for n in (100, 1000, 3000, 10_000) if n < asked.trials] + [asked.trials]
        for trials in sizes:
            for sampler in ("random", "pareto"):
                folder = root / f"{trials}-{sampler}"
                cut(whole, folder, trials)
                found = in_process(asked.seconds, "--propose", folder, sampler)
                cells = (
                    "| not within the seconds | | | |"
                    if found is None
                    else f"| {found['resume']:.1f} s | {1000 * found['median']:.0f} ms | {1000 * found['most']:.0f} ms "
                    f"| {found['mb']:.0f} MB |"
                )
                print(f"| {trials:,} | {sampler} {cells}", flush=True)
        folder = root / "report"
        cut(whole, folder, asked.trials)
        found = in_process(asked.seconds, "--trials", asked.trials, "--report", folder)
        print(f"report of {asked.trials:,}: {found or 'not within the seconds'}")


if __name__ == "__main__":
    main()

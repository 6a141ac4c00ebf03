"""Growing a table of layer latencies: which layers and networks are missing, and the fresh process
that times them.

A layer that runs again and again by itself is faster, or slower, than between its neighbours: its
weights stay in the caches, its input is old. So layers are timed in turn, some at a time, each on a
copy of its input made just before, and a fixed reference computation opens and closes every turn.
What is kept of a layer is its shortest time over that of the reference in the same turns: a phase
in which the machine is slow divides out, and what other processes take of the cores, which only
ever adds, falls away. Medians stay disturbed for as long as there is a neighbour.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import Architecture, Part
from nas.errors import NasError, out_of_memory
from nas.models.network import build, build_part, part_inputs
from nas.profiler.measured.device import Conditions, pin
from nas.profiler.tables.table import Piece, Row, Table, describe, pieces, whole
from nas.space import SearchSpace

NETWORKS = 30  # whole networks that a table should hold: the fit of the overhead has two numbers and an interval
TOGETHER = 16  # layers timed in turn, about as many as a network has
WARM_UP, FEWEST, MOST = 2, 5, 60  # turns
SECONDS = {"layer": 0.08, "network": 1.0}  # time for the turns, per layer or network, once there are enough of them
TOLERANCE = 0.03  # turns end when the third shortest time of all jobs is within this of the shortest
DISTURBED = 0.1  # where it is further away than this, other processes are at work, and turns go on for
PATIENCE = 3  # times as long
SEEDS = 10_000  # samples of a space at most
IDLE = 300  # samples in a row without a new layer that end the growth
BATCH = 8  # architectures whose missing layers are handed over together
SAVE_SECONDS = 2.0
_COMMAND = [
    sys.executable,
    "-P",
    "-m",
    "nas.profiler.tables.growth",
]  # -P: a folder `nas` where the user works is not us


def grow(
    what: SearchSpace | Iterable[Architecture],
    table: Table,
    path: str | Path,
    conditions: Conditions,
    *,
    max_seconds: float = 600.0,
    networks: int = NETWORKS,
    progress: Callable[[Row], None] | None = None,
) -> int:
    """Times what the table does not know yet, and writes the file as it goes: whatever ends it,
    nothing is lost.

    Args:
        what: Architectures whose layers the table should hold, or a space, which is sampled until
            nothing new comes.
        table: Grows in place.
        path: Its file.
        conditions: What the table was measured under.
        max_seconds: Time limit; what has begun is finished.
        networks: Whole networks that the table should hold in the end, taken from the first
            architectures.
        progress: Called with every new line.

    Returns:
        Number of new lines.

    Raises:
        NasError: The table belongs to another device or environment, or the measuring process
            failed.
    """
    table.check(Table.under(conditions))
    if not max_seconds > 0:
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    begin = perf_counter()
    architectures = _sampled(what, table) if isinstance(what, SearchSpace) else iter(what)
    session = _Session(table, Path(path), progress)
    try:
        with _Worker(conditions) as worker:
            while (left := max_seconds - (perf_counter() - begin)) > 0:
                batch = list(itertools.islice(architectures, BATCH))
                if not batch:
                    break
                request, wanted = _missing(batch, table, networks)
                for answer in worker.ask(request | {"seconds": left}) if wanted else ():
                    session.take(wanted[answer["index"]], answer)
    finally:
        session.close()
    return len(session.shares)


def _sampled(space: SearchSpace, table: Table) -> Iterator[Architecture]:
    """Samples with layers that the table lacks when they are drawn, until they become rare."""
    met: set[str] = set()
    idle = 0
    for seed in range(SEEDS):
        architecture = space.sample(seed)
        new = {describe(part).key for part in architecture.parts()} - table.rows.keys() - met
        met |= new
        idle = 0 if new else idle + 1
        if idle == IDLE:
            return
        # The first ones are the networks of the fit, whether their layers are known or not.
        if new or seed < NETWORKS:
            yield architecture


def _missing(batch: Sequence[Architecture], table: Table, networks: int) -> tuple[dict[str, Any], list[Piece]]:
    """What to ask for, and the pieces that the indices of the answers stand for."""
    layers: dict[str, tuple[Piece, tuple[int, int]]] = {}
    wholes: dict[str, tuple[Piece, int]] = {}
    room = networks - len(table.networks)
    for a, architecture in enumerate(batch):
        for p, piece in enumerate(pieces(architecture)):
            if piece.key not in table.rows:
                layers.setdefault(piece.key, (piece, (a, p)))
        network = whole(architecture)
        if len(wholes) < room and network.key not in table.rows:
            wholes[network.key] = network, a
    # Neighbours of one network are alike; shuffled, every turn has layers of all sizes.
    order = random.Random(0).sample(list(layers.values()), len(layers))
    request = {
        "architectures": [architecture.document() for architecture in batch],
        "layers": [place for _, place in order],
        "networks": [a for _, a in wholes.values()],
    }
    return request, [piece for piece, _ in order] + [piece for piece, _ in wholes.values()]


class _Session:
    """New lines of a table, scaled to its reference, or to the median reference of the session if
    it has none yet.
    """

    def __init__(self, table: Table, path: Path, progress: Callable[[Row], None] | None) -> None:
        self.table, self.path, self.progress = table, path, progress
        self.fixed = table.reference_ms
        self.references: list[float] = []
        self.shares: dict[str, float] = {}
        self.saved = perf_counter()

    def take(self, piece: Piece, answer: dict[str, Any]) -> None:
        self.references.append(answer["reference"])
        self.shares[piece.key] = answer["share"]
        row = Row(piece, answer["share"] * (self.fixed or median(self.references)), answer["error"], answer["runs"])
        self.table.add(row)
        if self.progress:
            self.progress(row)
        if perf_counter() - self.saved > SAVE_SECONDS:
            self.close()

    def close(self) -> None:
        if self.shares:
            self.table.reference_ms = self.fixed or median(self.references)
            for key, share in self.shares.items():
                self.table.rows[key] = replace(self.table.rows[key], ms=share * self.table.reference_ms)
            self.table.save(self.path)
        self.saved = perf_counter()


class _Worker:
    """The process that measures: one JSON document a line in, one a line out."""

    def __init__(self, conditions: Conditions) -> None:
        env = dict(os.environ)
        root = str(Path(__file__).resolve().parents[2])
        if root != sysconfig.get_path("purelib"):  # in a checkout: the child finds this package where this process did
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
        # A session of its own: Ctrl-C is for the parent, which saves and ends the child.
        self.process = subprocess.Popen(
            _COMMAND, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._send(
            {
                "device": str(conditions.resolved),
                "dtype": conditions.dtype,
                "batch": conditions.batch,
                "threads": conditions.threads,
            }
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def _send(self, document: dict[str, Any]) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(document) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def _gone(self) -> NasError:
        return NasError(
            f"the process that times layers ended with exit code {self.process.wait()}; "
            f"allowed: layers that fit into memory (what was measured before is kept)"
        )

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._send(request)
        assert self.process.stdout
        for line in self.process.stdout:
            answer = json.loads(line)
            if "error" in answer and "index" not in answer:
                raise NasError(answer["error"])
            if "index" not in answer:
                return
            yield answer
        raise self._gone()


# ----------------------------------------------------------------------------- in the fresh process

Job = tuple[Callable[[], tuple[Tensor, ...]], Callable[..., object]]  # makes the arguments, untimed; is timed


class _Bench:
    """Times jobs in turn, beside the reference."""

    def __init__(self, device: torch.device, dtype: torch.dtype, batch: int) -> None:
        self.device, self.dtype, self.batch = device, dtype, batch
        cuda = device.type == "cuda"
        # A millisecond or so of what networks consist of: convolution, linear layer, normalisation,
        # activation.
        size = 56 if cuda else 16
        x = torch.randn(1, 64 if cuda else 4, size, size, 32, device=device, dtype=dtype)
        kernel = torch.randn(32, 32, 3, 3, 3, device=device, dtype=dtype) / 30
        weight = torch.randn(32, 32, device=device, dtype=dtype) / 6

        def reference() -> Tensor:
            y = F.conv3d(x.permute(0, 4, 1, 2, 3), kernel, padding=1).permute(0, 2, 3, 4, 1)
            return F.gelu(F.linear(F.layer_norm(y, (32,)), weight))

        self.reference: Job = tuple, reference
        flush = 2 * torch.cuda.get_device_properties(device).L2_cache_size if cuda else 0
        self.flush = torch.empty(flush, dtype=torch.int8, device=device)
        if not cuda:
            # glibc keeps freed memory for itself once it has seen large blocks come and go, as
            # networks have them.
            for _ in range(3):
                torch.empty(30_000_000, dtype=torch.int8).fill_(1)

    def layer(self, part: Part) -> Job:
        x, *stem = part_inputs(part, self._random, self.batch)
        with self.device:
            module = build_part(part)
        return lambda: (x.clone(), *stem), module.to(self.dtype).eval()

    def network(self, architecture: Architecture) -> Job:
        entry = architecture.input
        clip = self._random(self.batch, entry.channels, entry.frames, *entry.size)
        model = build(architecture, device=self.device).to(self.dtype).eval()

        def prepare() -> tuple[Tensor]:
            if self.device.type == "cuda":  # from an idle device whose cache holds nothing of the network
                self.flush.zero_()
                torch.cuda.synchronize(self.device)
            return (clip,)

        return prepare, model

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job], seconds: float) -> list[list[float]]:
        """Times the jobs in turn until the shortest times have been met again, or the time is up.

        Returns:
            Milliseconds of every turn, first those of the reference (the faster of two), then those
            of each job.
        """
        for _ in range(WARM_UP):
            self._timed(jobs)
        turns: list[list[float]] = []
        begin = perf_counter()
        while len(turns) < MOST:
            before, *times, after = self._timed([self.reference, *jobs, self.reference])
            turns.append([min(before, after), *times])
            spent = perf_counter() - begin
            if len(turns) < FEWEST:
                continue
            error = max(_error(times) for times in zip(*turns, strict=True))
            if error <= TOLERANCE or spent > seconds * (PATIENCE if error > DISTURBED else 1):
                break
        return [list(times) for times in zip(*turns, strict=True)]

    def _timed(self, jobs: Sequence[Job]) -> list[float]:
        if self.device.type == "cuda":
            return self._timed_on_gpu(jobs)
        times = []
        for prepare, run in jobs:
            arguments = prepare()
            begin = perf_counter()
            run(*arguments)
            times.append((perf_counter() - begin) * 1e3)
        return times

    def _timed_on_gpu(self, jobs: Sequence[Job]) -> list[float]:
        events = []
        torch.cuda.synchronize(self.device)
        for prepare, run in jobs:
            arguments = prepare()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            run(*arguments)
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize(self.device)
        return [float(begin.elapsed_time(end)) for begin, end in events]


def _error(times: Sequence[float]) -> float:
    """How far above the shortest time the third shortest is: 0 where the shortest is met again and
    again.
    """
    shortest, _, third = heapq.nsmallest(3, times)
    return third / shortest - 1


def _answers(bench: _Bench, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    end = perf_counter() + request["seconds"]
    architectures = [Architecture.parse(document) for document in request["architectures"]]
    parts = [architectures[a].parts()[p] for a, p in request["layers"]]
    groups = [("layer", parts[i : i + TOGETHER]) for i in range(0, len(parts), TOGETHER)]
    groups += [("network", [architectures[a]]) for a in request["networks"]]
    index = 0
    for kind, group in groups:
        if perf_counter() > end:
            return
        jobs = [bench.layer(each) if isinstance(each, Part) else bench.network(each) for each in group]
        references, *times = bench.run(jobs, SECONDS[kind] * len(jobs))
        reference = min(references)
        for own in times:
            yield {
                "index": index,
                "share": min(own) / reference,
                "error": _error(own),
                "runs": len(own),
                "reference": reference,
            }
            index += 1


def _main() -> None:
    # Whatever libraries print goes to stderr: stdout carries the answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    conditions = Conditions(**settings)
    pin(conditions.threads)
    torch.set_num_threads(conditions.threads)
    bench = _Bench(conditions.resolved, conditions.torch_dtype, conditions.batch)
    for line in sys.stdin:
        try:
            for answer in _answers(bench, json.loads(line)):
                print(json.dumps(answer), file=answers)
            print("{}", file=answers)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            problem = "a layer or network does not fit into memory; allowed: a smaller batch, input or network"
            print(json.dumps({"error": problem}), file=answers)


if __name__ == "__main__":
    _main()

"""Growing a table of layer latencies: which layers and networks it lacks, asked of the fresh
process that times them, and written as they come.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Self

from pydantic import TypeAdapter

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.process import MeasuringProcess
from nas.profiler.tables.rows import Row, Workload, joined, part_workload, part_workloads
from nas.profiler.tables.table import Table
from nas.profiler.tables.turns import Answer, Skipped, Timed, TurnsRequest
from nas.space import SearchSpace

NETWORKS = 30  # whole networks that a table should hold: the fit of the overhead has two numbers and an interval
MODULE = "nas.profiler.tables.turns"  # of the process that times
SEEDS = 10_000  # samples of a space at most
IDLE = 300  # samples in a row without a new layer that end the growth
BATCH = 8  # architectures whose missing layers are handed over together
SAVE_SECONDS = 2.0
DEATHS = 3  # measuring processes that may die in a growth: one layer can take a device's context with it

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


def grow(
    what: SearchSpace | Iterable[Architecture],
    table: Table,
    path: str | Path,
    conditions: Conditions,
    *,
    max_seconds: float = 600.0,
    networks: int = NETWORKS,
    progress: Callable[[Row], None] | None = None,
    skipped: Callable[[Workload, str], None] | None = None,
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
        skipped: Called with every layer or network that does not run here, and the reason. It is
            not asked for again in this growth.

    Returns:
        Number of new lines.

    Raises:
        NasError: The table belongs to another device or environment, or measuring processes failed
            again and again.
    """
    table.check(Table.under(conditions))
    if not max_seconds > 0:
        raise NasError(f"max_seconds {max_seconds} is not allowed; allowed: positive seconds")
    begin = perf_counter()
    architectures = _sampled(what, table) if isinstance(what, SearchSpace) else iter(what)
    session = _Session(table, Path(path), progress, skipped)
    try:
        with _Turns(f"timing layers on {table.device}") as turns:
            while (left := max_seconds - (perf_counter() - begin)) > 0:
                batch = list(itertools.islice(architectures, BATCH))
                if not batch:
                    break
                request, wanted = _missing(batch, table, networks, conditions, left, session.reasons)
                for answer in turns.ask(request) if wanted else ():
                    if isinstance(answer, Timed):
                        session.add(wanted[answer.index], answer)
                    else:
                        session.skip(wanted[answer.index], answer.reason)
    finally:
        session.save()
    return len(session.shares)


class _Turns:
    """A measuring process, and another in its place when it dies.

    What was not answered by then is asked again one by one, so that the process that dies next
    tells which layer or network it died of. That one is skipped.
    """

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.deaths = 0
        self._process = MeasuringProcess(MODULE, doing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def ask(self, request: TurnsRequest) -> Iterator[Answer]:
        """Yields an answer for each layer and network, as far as the time goes.

        Raises:
            NasError: More than `DEATHS` processes died.
        """
        places = list(range(len(request.layers) + len(request.networks)))  # of what is still to be answered
        while places:
            left, answered = _only(request, places), set[int]()
            try:
                for answer in self._process.ask(left, _ANSWER):
                    answered.add(answer.index)
                    yield replace(answer, index=places[answer.index])
                return
            except NasError as error:
                self.deaths += 1
                if self.deaths > DEATHS:
                    raise
                first = next(i for i in range(len(places)) if i not in answered)
                if request.together == 1:
                    answered.add(first)
                    yield Skipped(places[first], str(error))
            self._process.end()
            self._process = MeasuringProcess(MODULE, self.doing)
            request = replace(request, together=1)
            places = [place for i, place in enumerate(places) if i not in answered]


def _only(request: TurnsRequest, places: Sequence[int]) -> TurnsRequest:
    """A request for some of its layers and networks, by their places among all."""
    count = len(request.layers)
    return replace(
        request,
        layers=[request.layers[i] for i in places if i < count],
        networks=[request.networks[i - count] for i in places if i >= count],
    )


def _sampled(space: SearchSpace, table: Table) -> Iterator[Architecture]:
    """Samples with layers that the table lacks when they are drawn, until they become rare."""
    met: set[str] = set()
    idle = 0
    for seed in range(SEEDS):
        architecture = space.sample(seed)
        new = {part_workload(part).key for part in architecture.parts()} - table.rows.keys() - met
        met |= new
        idle = 0 if new else idle + 1
        if idle == IDLE:
            return
        # The first ones are the networks of the fit, whether their layers are known or not.
        if new or seed < NETWORKS:
            yield architecture


def _missing(
    batch: Sequence[Architecture],
    table: Table,
    networks: int,
    conditions: Conditions,
    seconds: float,
    skipped: Container[str],
) -> tuple[TurnsRequest, list[Workload]]:
    """What to ask for, and the workloads that the indices of the answers stand for; nothing whose
    key was skipped.
    """
    layers: dict[str, tuple[Workload, tuple[int, int]]] = {}
    wholes: dict[str, tuple[Workload, int]] = {}
    room = networks - len(table.networks)
    for a, architecture in enumerate(batch):
        parts = part_workloads(architecture)
        for p, part in enumerate(parts):
            if part.key not in table.rows and part.key not in skipped:
                layers.setdefault(part.key, (part, (a, p)))
        network = joined(parts)
        if len(wholes) < room and network.key not in table.rows and network.key not in skipped:
            wholes[network.key] = network, a
    # Neighbours of one network are alike; shuffled, every turn has layers of all sizes.
    order = random.Random(0).sample(list(layers.values()), len(layers))  # nosec B311  # an order, no secret
    request = TurnsRequest(
        conditions=conditions,
        architectures=[architecture.document() for architecture in batch],
        layers=[place for _, place in order],
        networks=[a for _, a in wholes.values()],
        seconds=seconds,
    )
    return request, [part for part, _ in order] + [network for network, _ in wholes.values()]


class _Session:
    """New rows of a table, scaled to its reference, or to the median reference of the session if it
    has none yet.
    """

    def __init__(
        self,
        table: Table,
        path: Path,
        progress: Callable[[Row], None] | None,
        skipped: Callable[[Workload, str], None] | None,
    ) -> None:
        self.table, self.path, self.progress, self.skipped = table, path, progress, skipped
        self.reasons: dict[str, str] = {}
        self.fixed = table.reference_ms
        self.references: list[float] = []
        self.shares: dict[str, float] = {}
        self.saved = perf_counter()

    def add(self, workload: Workload, timed: Timed) -> None:
        self.references.append(timed.reference_ms)
        self.shares[workload.key] = timed.share
        ms = timed.share * (self.fixed or median(self.references))
        row = Row(workload, ms, timed.error, timed.runs, timed.launch_ms)
        self.table.add(row)
        if self.progress:
            self.progress(row)
        if perf_counter() - self.saved > SAVE_SECONDS:
            self.save()

    def skip(self, workload: Workload, reason: str) -> None:
        self.reasons[workload.key] = reason
        if self.skipped:
            self.skipped(workload, reason)

    def save(self) -> None:
        if self.shares:
            self.table.reference_ms = self.fixed or median(self.references)
            for key, share in self.shares.items():
                self.table.rows[key] = replace(self.table.rows[key], ms=share * self.table.reference_ms)
            self.table.save(self.path)
        self.saved = perf_counter()

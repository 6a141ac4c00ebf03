"""What growth asks of the process that times layers, and what it keeps of the answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.measured import process as process_module
from nas.profiler.measured.device import Conditions
from nas.profiler.tables import growth, turns
from nas.profiler.tables.growth import grow
from nas.profiler.tables.rows import Row, joined, part_workloads
from nas.profiler.tables.table import Table
from nas.profiler.tables.turns import Answer, Skipped, Timed, TurnsRequest
from nas.space import SearchSpace

HERE = Conditions("cpu", "fp32", 1, 1)
Make = Callable[..., Architecture]


def test_growing_times_what_is_missing_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    monkeypatch.setattr(growth, "SAVE_SECONDS", 0.0)
    path = tmp_path / "here.csv"
    first, second = architecture(), architecture(modules=3)
    rows: list[Row] = []
    made = Table.under(HERE)
    assert grow([first], made, path, HERE, networks=1, progress=rows.append) == 4
    assert [row.workload.op for row in rows].count("network") == 1
    assert all(row.ms > 0 and row.runs >= turns.FEWEST for row in made.rows.values())
    loaded = Table.load(path)
    assert loaded.rows.keys() == made.rows.keys()
    reference = loaded.reference_ms
    assert reference and reference > 0

    assert grow([first, second], loaded, path, HERE, networks=1) == 1  # its one new layer
    again = Table.load(path)
    assert again.reference_ms == reference
    assert {row.workload.config for row in again.layers} >= {"expansion=2.0 kernel=3 modules=3 temporal_kernel=3"}
    assert grow([first, second], again, path, HERE, networks=1) == 0


class Fake:
    """A process in which layer or network i takes i + 1 times the reference; that takes 2 ms."""

    requests: ClassVar[list[TurnsRequest]] = []
    references: ClassVar[Iterator[float]] = iter(())
    fails_after = 10**6

    def __init__(self, module: str, doing: str) -> None:
        assert module == turns.__name__
        self.count = 0

    def end(self) -> None:
        pass

    def ask(self, request: TurnsRequest, answer: object) -> Iterator[Answer]:
        self.requests.append(request)
        for index in range(len(request.layers) + len(request.networks)):
            if self.count == self.fails_after:
                raise KeyboardInterrupt
            self.count += 1
            yield Timed(index, index + 1.0, 0.01, 9, next(self.references, 2.0))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(growth, "MeasuringProcess", Fake)
    monkeypatch.setattr(Fake, "requests", [])
    return Fake


def test_every_layer_is_asked_for_once_in_mixed_order_and_known_by_its_place(
    tmp_path: Path, fake: type[Fake], architecture: Make
) -> None:
    batch = [architecture(modules) for modules in (1, 2, 3, 4, 5)]
    made = Table.under(HERE)
    # Stem, five layers, head; two networks.
    assert grow(batch, made, tmp_path / "here.csv", HERE, networks=2) == 9
    (request,) = fake.requests
    assert request.conditions == HERE
    assert [Architecture.parse(document) for document in request.architectures] == batch
    places = [(0, 0), (0, 1), (0, 2), (1, 1), (2, 1), (3, 1), (4, 1)]
    assert sorted(request.layers) == places != request.layers
    assert request.networks == [0, 1]
    workloads = [part_workloads(batch[a])[p] for a, p in request.layers]
    workloads += [joined(part_workloads(batch[a])) for a in request.networks]
    assert {key: row.ms for key, row in made.rows.items()} == {
        workload.key: 2.0 * (index + 1) for index, workload in enumerate(workloads)
    }
    assert {(row.error, row.runs) for row in made.rows.values()} == {(0.01, 9)}


def test_what_the_table_holds_is_not_asked_for_again(tmp_path: Path, fake: type[Fake], architecture: Make) -> None:
    made = Table.under(HERE)
    grow([architecture(1)], made, tmp_path / "here.csv", HERE, networks=1)
    grow([architecture(1), architecture(2)], made, tmp_path / "here.csv", HERE, networks=1)
    assert [(request.layers, request.networks) for request in fake.requests[1:]] == [([(1, 1)], [])]
    assert grow([architecture(1), architecture(2)], made, tmp_path / "here.csv", HERE, networks=1) == 0
    assert len(fake.requests) == 2


def test_time_limit_ends_growth_between_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    """One architecture a batch, of which each takes 4 s: with 10 s the third is the last."""
    now = 0.0
    ask = Fake.ask

    def slow(self: Fake, request: TurnsRequest, answer: object) -> Iterator[Answer]:
        nonlocal now
        now += 4.0
        return ask(self, request, answer)

    monkeypatch.setattr(Fake, "ask", slow)
    monkeypatch.setattr(growth, "perf_counter", lambda: now)
    monkeypatch.setattr(growth, "BATCH", 1)
    made = Table.under(HERE)
    grow([architecture(m) for m in range(1, 9)], made, tmp_path / "here.csv", HERE, max_seconds=10, networks=0)
    assert [request.seconds for request in fake.requests] == [10.0, 6.0, 2.0]
    assert len(made.layers) == 5


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_time_limit_is_positive(tmp_path: Path, architecture: Make, seconds: float) -> None:
    with pytest.raises(NasError, match=r"max_seconds .* is not allowed; allowed: positive seconds"):
        grow([architecture()], Table.under(HERE), tmp_path / "here.csv", HERE, max_seconds=seconds)


def test_interrupt_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    monkeypatch.setattr(Fake, "fails_after", 2)
    with pytest.raises(KeyboardInterrupt):
        grow([architecture()], Table.under(HERE), tmp_path / "here.csv", HERE)
    saved = Table.load(tmp_path / "here.csv")
    assert sorted(row.ms for row in saved.rows.values()) == [2.0, 4.0]


def test_first_session_is_scaled_to_its_median_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    """The reference takes 2 ms at first, and later 8, 6 and 9: the median is 7."""
    monkeypatch.setattr(Fake, "references", iter([2.0, 8.0, 6.0, 9.0]))
    made = Table.under(HERE)
    grow([architecture()], made, tmp_path / "here.csv", HERE, networks=1)
    saved = Table.load(tmp_path / "here.csv")
    assert saved.reference_ms == made.reference_ms == 7.0
    assert sorted(row.ms for row in saved.rows.values()) == [7.0, 14.0, 21.0, 28.0]


def test_later_sessions_are_scaled_to_the_reference_of_the_first(
    tmp_path: Path, fake: type[Fake], architecture: Make
) -> None:
    made = Table.under(HERE)
    made.reference_ms = 1.0
    grow([architecture()], made, tmp_path / "here.csv", HERE, networks=0)
    assert sorted(row.ms for row in made.rows.values()) == [1.0, 2.0, 3.0]
    assert made.reference_ms == 1.0


def test_file_is_written_while_the_table_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    monkeypatch.setattr(growth, "SAVE_SECONDS", 0.0)
    path, found = tmp_path / "here.csv", []
    grow([architecture()], Table.under(HERE), path, HERE, progress=lambda _: found.append(path.exists()))
    assert found == [False, True, True, True]


def test_space_is_sampled_until_nothing_new_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    monkeypatch.setattr(growth, "IDLE", 20)
    document = architecture().document()
    document["stages"][0]["layers"][0]["modules"] = {"choice": [1, 2, 3]}
    made = Table.under(HERE)
    space = SearchSpace.from_document(document, "tiny")
    sample, drawn = space.sample, list[int]()

    def counted(_: SearchSpace, seed: int) -> Architecture:
        drawn.append(seed)
        return sample(seed)

    monkeypatch.setattr(SearchSpace, "sample", counted)
    grow(space, made, tmp_path / "here.csv", HERE, networks=2)
    # The last of three layers comes within the first dozen samples, then twenty bring nothing new.
    assert drawn == list(range(len(drawn))) and 20 < len(drawn) < 40
    assert len(made.layers) == 5  # stem, three layers, head
    assert len(made.networks) == 2


def test_table_of_another_device_does_not_grow(tmp_path: Path, architecture: Make) -> None:
    with pytest.raises(NasError, match="latency table of 'phone' cannot be used"):
        grow([architecture()], Table("phone"), tmp_path / "here.csv", HERE)


def test_layer_that_cannot_run_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake], architecture: Make
) -> None:
    """The second of three layers has no kernel: the others and the network stand in the table, and
    it is not asked for again with the next architectures.
    """
    ask = Fake.ask

    def refused(self: Fake, request: TurnsRequest, answer: object) -> Iterator[Answer]:
        for found in ask(self, request, answer):
            yield Skipped(1, "no kernel") if found.index == 1 and len(request.layers) == 3 else found

    monkeypatch.setattr(Fake, "ask", refused)
    monkeypatch.setattr(growth, "BATCH", 1)
    reasons: dict[str, str] = {}
    made = Table.under(HERE)
    grow(
        [architecture(), architecture(layers=2)],
        made,
        tmp_path / "here.csv",
        HERE,
        networks=1,
        skipped=lambda workload, reason: reasons.update({workload.key: reason}),
    )
    (request,) = fake.requests
    _, p = request.layers[1]
    skipped = part_workloads(architecture())[p].key
    assert reasons == {skipped: "no kernel"}
    assert skipped not in made.rows and len(made.rows) == 3


class Mortal(Fake):
    """A process that dies of one layer, by its place, before it has answered any of those that are
    timed together with it.
    """

    deadly: ClassVar[tuple[int, int]] = (0, 1)
    born = 0

    def __init__(self, module: str, doing: str) -> None:
        super().__init__(module, doing)
        Mortal.born += 1

    def ask(self, request: TurnsRequest, answer: object) -> Iterator[Answer]:
        self.requests.append(request)
        for start in range(0, len(request.layers), request.together):
            group = request.layers[start : start + request.together]
            if self.deadly in group:
                raise NasError("the device is gone; allowed: another")
            yield from (Timed(start + i, 3.0, 0.01, 9, 2.0) for i in range(len(group)))
        for i in range(len(request.networks)):
            yield Timed(len(request.layers) + i, 3.0, 0.01, 9, 2.0)


def test_layer_that_kills_its_process_is_found_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    """The first process dies with all three layers, the second of the one by itself, the third goes
    on: everything else is in the table.
    """
    monkeypatch.setattr(growth, "MeasuringProcess", Mortal)
    monkeypatch.setattr(Mortal, "born", 0)
    monkeypatch.setattr(Fake, "requests", [])
    reasons: dict[str, str] = {}
    made = Table.under(HERE)
    grow(
        [architecture()],
        made,
        tmp_path / "here.csv",
        HERE,
        networks=1,
        skipped=lambda workload, reason: reasons.update({workload.key: reason}),
    )
    deadly = part_workloads(architecture())[1].key
    assert reasons == {deadly: "the device is gone; allowed: another"}
    assert len(made.rows) == 3 and deadly not in made.rows
    assert Mortal.born == 3
    assert [request.together for request in Fake.requests] == [turns.TOGETHER, 1, 1]


def test_process_that_dies_again_and_again_is_told_and_what_it_measured_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    answer = '{"index": 0, "share": 3.0, "error": 0.01, "runs": 9, "reference_ms": 2.0}'
    program: list[Any] = [sys.executable, "-c", f"print({answer!r}); raise SystemExit('no such kernel')"]
    monkeypatch.setattr(process_module, "command", lambda module: program)
    monkeypatch.setattr(growth, "DEATHS", 1)
    with pytest.raises(NasError, match=r"^timing layers on .* failed with exit code 1: no such kernel; allowed: "):
        grow([architecture()], Table.under(HERE), tmp_path / "here.csv", HERE)
    assert [row.ms for row in Table.load(tmp_path / "here.csv").rows.values()] == [6.0, 6.0]

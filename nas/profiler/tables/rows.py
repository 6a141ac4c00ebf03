"""Rows of latency tables: what identifies a layer or a network, what was measured of it, and the
lines of the CSV file that both become.

A layer is identified by what it computes: operator, options, the shapes that go in and out, stride.
A whole network, a row `network`, is identified by the keys of its layers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from nas.architecture import Architecture, Config, LayerConfig, Part, Shape
from nas.documents import read_text
from nas.errors import NasError, brief
from nas.profiler.computed.cost import LayerCost, PartsCost, Record, cost
from nas.units import whole

NETWORK = "network"  # in place of an operator
MAX_FILE = 20_000_000  # bytes of a table
MAX_LINE = 100_000  # characters of a line
LARGEST = 10**18  # of a count
ROW_COLUMNS = ("key", "op", "input", "output", "stride", "config", "macs", "params", "ms", "error", "runs")
LAUNCH_COLUMN = "launch_ms"  # a further one, where a GPU was timed


@dataclass(frozen=True)
class Workload:
    """What a row is about: a layer (or stem, downsampling, head), or a whole network.

    Attributes:
        op: Operator; `stem:`, `downsample:` and `head:` stand before those that are no layers.
        input, output: Shapes, frames x height x width x channels.
        stride: That the layer carries itself.
        config: Its options, `name=value` separated by spaces; of a network, the keys of its layers,
            `key*count`.
        macs, params: Multiply-adds of one clip, and parameters.
    """

    op: str
    input: str
    output: str
    stride: str
    config: str
    macs: int
    params: int

    @cached_property
    def key(self) -> str:
        """Twelve hexadecimal digits of everything but the cost, which follows from it."""
        text = "|".join((self.op, self.input, self.output, self.stride, self.config))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def options(self) -> dict[str, str]:
        """The options by name."""
        return {name: value for name, _, value in (pair.partition("=") for pair in self.config.split(" "))}

    @property
    def numbers(self) -> list[int]:
        """Sizes for a regression: multiply-adds, parameters, and the numbers of both shapes."""
        shapes = (int(n) for shape in (self.input, self.output) for n in shape.split(" ")[0].split("x"))
        return [self.macs, self.params, *shapes]

    def layers(self) -> Iterator[tuple[str, int]]:
        """Keys of a network's layers, with how often each occurs."""
        for pair in self.config.split(" "):
            key, _, count = pair.partition("*")
            yield key, int(count or 1)


@cache
def _workload(config: Config, shape_in: Shape, shape_out: Shape, stride: tuple[int, ...], role: str) -> Workload:
    options = config.model_dump(mode="json")
    op = options.pop("op")
    texts = (f"{name}={_text(value)}" for name, value in sorted(options.items()))
    before, after = (str(shape) if shape.grid else f"{shape} tokens" for shape in (shape_in, shape_out))
    return Workload(role + op, before, after, "x".join(map(str, stride)), " ".join(texts), macs=0, params=0)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def part_workload(part: Part) -> Workload:
    """Returns a part as a table knows it, its cost left out."""
    role = "" if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:"
    return _workload(part.config, part.input, part.output, part.stride, role)


def part_workloads(architecture: Architecture) -> list[Workload]:
    """Returns the parts of an architecture, in order, as a table knows them."""
    priced = cost(architecture)
    # Rows of layers trace training as well.
    rows: Sequence[Record | LayerCost] = priced.records if isinstance(priced, PartsCost) else priced.layers
    described = [part_workload(part) for part in architecture.parts()]
    return [replace(workload, macs=row.macs, params=row.params) for workload, row in zip(described, rows, strict=True)]


def network_workload(architecture: Architecture) -> Workload:
    """Returns an architecture as one row of a table."""
    return joined(part_workloads(architecture))


def joined(parts: Sequence[Workload]) -> Workload:
    """Returns the network that consists of these parts, in order."""
    counts = Counter(part.key for part in parts)
    config = " ".join(f"{key}*{n}" if n > 1 else key for key, n in sorted(counts.items()))
    macs, params = sum(part.macs for part in parts), sum(part.params for part in parts)
    return Workload(NETWORK, parts[0].input, parts[-1].output, "1x1x1", config, macs, params)


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, and how long it took.

    Attributes:
        ms: Milliseconds of one forward of the batch that nothing else disturbs: the shortest time.
            Of a layer on a GPU, that of its kernels.
        error: How well it is known: the share by which the third shortest time is longer; 0 where
            nobody said.
        runs: Timed runs; 0 where nobody said.
        launch_ms: Of a layer on a GPU, the shortest time in which the host launched it; else 0.
    """

    workload: Workload
    ms: float
    error: float
    runs: int
    launch_ms: float = 0.0


def read_lines(path: str | Path) -> list[str]:
    """Returns the lines of a text file.

    Raises:
        NasError: It cannot be read, or is too large.
    """
    return read_text("file", path, MAX_FILE).splitlines()


def read_rows(lines: Sequence[str], where: str) -> Iterator[tuple[int, Row]]:
    """Yields the lines below the header with their numbers in the file; `#` begins a comment line.

    Lines without milliseconds are passed over. `error` and `runs` may be empty.

    Raises:
        NasError: A line is not right, with its number.
    """
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    header = _cells(numbered[0][1], f"{where}, line {numbered[0][0]}") if numbered else []
    if sorted({*header, LAUNCH_COLUMN}) != sorted((*ROW_COLUMNS, LAUNCH_COLUMN)) or len(header) != len({*header}):
        found = brief(", ".join(header), 200) if header else "none"
        raise NasError(f"{where} has columns {found}; allowed: {', '.join(ROW_COLUMNS)}, and {LAUNCH_COLUMN}")
    for i, line in numbered[1:]:
        cells = _cells(line, f"{where}, line {i}")
        if len(cells) != len(header):
            raise NasError(f"{where}, line {i}, has {len(cells)} cells; allowed: {len(header)}")
        values = dict(zip(header, cells, strict=True))
        if values["ms"].strip():
            yield i, _row(values, f"{where}, line {i}")


def _cells(line: str, where: str) -> list[str]:
    """The cells of one line, which quotes do not make longer."""
    if len(line) > MAX_LINE:
        raise NasError(f"{where}, has {len(line):,} characters; allowed: up to {MAX_LINE:,}")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise NasError(f"{where}, is no CSV ({error}); allowed: values between commas, quotes in pairs") from None


def _row(values: Mapping[str, str], where: str) -> Row:
    op, before, after, stride, config = (values[name] for name in ("op", "input", "output", "stride", "config"))
    macs, params = (_count(values, name, where) for name in ("macs", "params"))
    workload = Workload(op, before, after, stride, config, macs, params)
    if workload.key != values["key"]:
        raise NasError(
            f"{where}: key {brief(values['key'])} is not that of the layer that the line describes; "
            f"allowed: {workload.key!r}"
        )
    try:
        if workload.op == NETWORK:
            list(workload.layers())
        elif len(workload.numbers) != 10 or max(workload.numbers) > LARGEST:
            raise ValueError
    except ValueError:
        raise NasError(
            f"{where}: {brief(workload.op)} from {brief(workload.input)} to {brief(workload.output)} is not "
            f"understood; allowed: shapes such as 8x14x14x96, and the keys of its layers for a network"
        ) from None
    numbers = {}
    for name, least in (("ms", "above 0"), ("error", "from 0"), (LAUNCH_COLUMN, "from 0")):
        text = values.get(name, "").strip() or "0"
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (name == "ms" and number == 0):
            raise NasError(f"{where}: {name} {brief(text)} is not allowed; allowed: a number {least}")
        numbers[name] = number
    return Row(workload, numbers["ms"], numbers["error"], _count(values, "runs", where), numbers[LAUNCH_COLUMN])


def _count(values: Mapping[str, str], name: str, where: str) -> int:
    text = values[name].strip() or "0"
    number = whole(text)
    if number is None or not 0 <= number <= 10**18:
        raise NasError(f"{where}: {name} {brief(text)} is not allowed; allowed: whole numbers from 0 to 10^18")
    return number


def write_rows(
    file: io.TextIOBase,
    rows: Iterable[tuple[Workload, str, str, int | str]],
    launches: Mapping[str, float] | None = None,
) -> None:
    """Writes header and lines, sorted.

    Args:
        file: What is written to.
        rows: Workloads with ms, error and runs.
        launches: `launch_ms` by the key of the workload; without any there is no such column.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*ROW_COLUMNS, LAUNCH_COLUMN) if launches else ROW_COLUMNS)
    lines = []
    for workload, ms, error, runs in rows:
        texts = (workload.op, workload.input, workload.output, workload.stride, workload.config)
        launch = (f"{launches.get(workload.key, 0.0):.6g}",) if launches else ()
        lines.append((texts, (workload.key, *texts, workload.macs, workload.params, ms, error, runs, *launch)))
    writer.writerows(line for _, line in sorted(lines))

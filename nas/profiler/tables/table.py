"""Tables of layer latencies, one file per device, and what they say about a network that was never
timed.

A table is a CSV file that stays readable in a diff: comment lines that say what was measured on,
then one line per layer or whole network, sorted. Its name is that of the device,
`profiles/<device>.csv`. Two files of one device merge by the union of their lines, by hand, by git
or by `Table.merged`; of two lines about the same thing the smaller error counts.

A layer is known by what it computes: operator, options, the shapes that go in and out, stride. A
line `network` holds a whole network by the keys of its layers; from these lines the overhead of a
network is fitted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from nas.architecture import Architecture, Config, LayerConfig, Part, Shape
from nas.errors import NasError
from nas.profiler.computed.cost import LayerCost, PartsCost, Record, cost
from nas.profiler.measured.device import Conditions, environment
from nas.profiler.tables.prediction import Array, LayerRegression, Overhead, Prediction
from nas.resources import replacing, resource_folder

NETWORK = "network"
COLUMNS = ("key", "op", "input", "output", "stride", "config", "macs", "params", "ms", "error", "runs")
# What must agree before numbers of two sessions may stand in one table; the device's name says the
# rest.
IDENTITY = ("cpu", "cpu_capability", "gpu", "torch", "cuda", "threads")
FEWEST = 8  # measured layers of an operator that a regression of its own needs
FOREIGN = 0.3  # standard deviation, in logarithms, of layers of one operator about those of all others


@dataclass(frozen=True)
class Piece:
    """What a line is about: a layer (or stem, downsampling, head), or a whole network.

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
def _described(config: Config, shape_in: Shape, shape_out: Shape, stride: tuple[int, ...], role: str) -> Piece:
    options = config.model_dump(mode="json")
    op = options.pop("op")
    texts = (f"{name}={_text(value)}" for name, value in sorted(options.items()))
    before, after = (str(shape) if shape.grid else f"{shape} tokens" for shape in (shape_in, shape_out))
    return Piece(role + op, before, after, "x".join(map(str, stride)), " ".join(texts), macs=0, params=0)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def describe(part: Part) -> Piece:
    """Returns a part as a table knows it, its cost left out."""
    role = "" if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:"
    return _described(part.config, part.input, part.output, part.stride, role)


def pieces(architecture: Architecture) -> list[Piece]:
    """Returns the parts of an architecture, in order, as a table knows them."""
    priced = cost(architecture)
    # Rows of layers trace training as well.
    rows: Sequence[Record | LayerCost] = priced.records if isinstance(priced, PartsCost) else priced.layers
    described = [describe(part) for part in architecture.parts()]
    return [replace(piece, macs=row.macs, params=row.params) for piece, row in zip(described, rows, strict=True)]


def whole(architecture: Architecture) -> Piece:
    """Returns an architecture as one line of a table."""
    layers = pieces(architecture)
    counts = Counter(piece.key for piece in layers)
    config = " ".join(f"{key}*{n}" if n > 1 else key for key, n in sorted(counts.items()))
    macs, params = sum(piece.macs for piece in layers), sum(piece.params for piece in layers)
    return Piece(NETWORK, layers[0].input, layers[-1].output, "1x1x1", config, macs, params)


@dataclass(frozen=True)
class Row:
    """One line: a piece and what was measured of it.

    Attributes:
        ms: Milliseconds of one forward of the batch that nothing else disturbs: the shortest time.
        error: How well it is known: the share by which the third shortest time is longer; 0 where
            nobody said.
        runs: Timed runs; 0 where nobody said.
    """

    piece: Piece
    ms: float
    error: float
    runs: int


@dataclass
class Table:
    """Measured layers and networks of one device.

    Attributes:
        device: Name of what was measured on, as `nas.profiler.measured.device.device_name` gives
            it, or as a user named it.
        environment: Hardware and software behind the name; empty for a device that others measured.
        reference_ms: Milliseconds of the reference computation that every session of this table is
            scaled to.
        rows: Lines by key.
    """

    device: str
    environment: dict[str, Any] = field(default_factory=dict)
    reference_ms: float | None = None
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def under(cls, conditions: Conditions) -> Self:
        """Returns the empty table of this machine.

        Raises:
            NasError: Something is not possible here, or is more than plain inference in torch.
        """
        conditions.check()
        if conditions.options:
            raise NasError(
                f"a latency table with {', '.join(conditions.options)} is not allowed; allowed: plain inference"
            )
        found = environment(conditions.resolved) | {"threads": conditions.threads}
        if conditions.resolved.type == "cuda":
            del found["threads"]
        return cls(conditions.name, {name: found[name] for name in IDENTITY if name in found})

    @classmethod
    def find(cls, conditions: Conditions, folder: str | Path = "profiles") -> Self:
        """Returns what is known about this machine: the table in `folder` merged with the one that
        ships; else empty.

        Raises:
            NasError: A file is no table, or was measured in another environment.
        """
        table = cls.under(conditions)
        for place in (Path(folder), resource_folder("profiles")):
            path = place / f"{table.device}.csv"
            if path.is_file():
                table = table.merged(cls.load(path))
        return table

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a table.

        Raises:
            NasError: The file cannot be read or is no table; the message names the line.
        """
        lines = read_lines(path)
        comments = [line[1:].strip() for line in lines if line.startswith("#")]
        header = dict(line.split(": ", 1) for line in comments if ": " in line)
        where = f"latency table {str(path)!r}"
        try:
            found = json.loads(header.get("environment", "{}"))
            reference = float(header["reference_ms"]) if "reference_ms" in header else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not header.get("device") or (reference is not None and not reference > 0):
            raise NasError(
                f"{where} does not say what it was measured on; allowed: comment lines '# device: NAME' and, where "
                f"known, '# environment: {{JSON}}' and '# reference_ms: NUMBER'"
            )
        table = cls(header["device"], found, reference)
        for _, row in read_rows(lines, where):
            table.add(row)
        return table

    def save(self, path: str | Path) -> None:
        """Writes the file, or leaves it as it was if writing does not come to its end."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        text.write(f"# device: {self.device}\n# environment: {json.dumps(self.environment, sort_keys=True)}\n")
        if self.reference_ms is not None:
            text.write(f"# reference_ms: {self.reference_ms:.6g}\n")
        write_rows(text, ((row.piece, f"{row.ms:.6g}", f"{row.error:.3g}", row.runs) for row in self.rows.values()))
        with replacing(path) as draft:
            draft.write_text(text.getvalue())

    def add(self, row: Row) -> None:
        """Takes a line in, unless one about the same thing with a smaller error is there."""
        known = self.rows.get(row.piece.key)
        if known is None or row.error <= known.error:
            self.rows[row.piece.key] = row

    def merged(self, other: Table) -> Self:
        """Returns the union of two tables of one device.

        Raises:
            NasError: The other one was measured on another device or in another environment.
        """
        other.check(self)
        table = replace(self, rows=dict(self.rows), reference_ms=self.reference_ms or other.reference_ms)
        for row in other.rows.values():
            table.add(row)
        return table

    def check(self, wanted: Table) -> None:
        """Raises a NasError if this table must not be used where that of another device or
        environment is wanted.
        """
        if self.device != wanted.device:
            raise NasError(
                f"latency table of {self.device!r} cannot be used for {wanted.device!r}; "
                f"allowed: a table of that device"
            )
        for name in IDENTITY:
            here, there = wanted.environment.get(name), self.environment.get(name)
            if here != there:
                raise NasError(
                    f"latency table of {self.device!r} was measured with {name} {there!r}, and here it is {here!r}; "
                    f"allowed: the same, or a table of its own"
                )

    @property
    def layers(self) -> list[Row]:
        """The lines of layers."""
        return [row for row in self.rows.values() if row.piece.op != NETWORK]

    @property
    def networks(self) -> list[Row]:
        """The lines of whole networks."""
        return [row for row in self.rows.values() if row.piece.op == NETWORK]


class Predictor:
    """Predicts latencies from a table as it is now; operators are fitted when an unknown layer
    first needs them.

    Attributes:
        overhead: What was fitted to the networks of the table whose layers are all in it.

    Raises:
        NasError: The table holds too few layers.
    """

    def __init__(self, table: Table) -> None:
        if len(table.layers) < 2:
            raise NasError(
                f"latency table of {table.device!r} holds {len(table.layers)} layers, too few to predict from; "
                f"allowed: at least 2"
            )
        self.device = table.device
        self._ms = {row.piece.key: row.ms for row in table.layers}
        self._layers: dict[str, list[Row]] = {}
        for row in table.layers:
            self._layers.setdefault(row.piece.op, []).append(row)
        known = [row for row in table.networks if all(key in self._ms for key, _ in row.piece.layers())]
        sums = [sum(n * self._ms[key] for key, n in row.piece.layers()) for row in known]
        self.overhead = Overhead.fit(sums, [row.ms for row in known])
        self._regressions: dict[str, LayerRegression] = {}
        self._interpolated: dict[str, tuple[float, float]] = {}

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicts one architecture: layers of the table as measured, others from those of the same
        operator.
        """
        layers = pieces(architecture)
        self._interpolate([piece for piece in layers if piece.key not in self._ms])
        found = [
            (self._ms[piece.key], 0.0) if piece.key in self._ms else self._interpolated[piece.key] for piece in layers
        ]
        return self.overhead.predict([ms for ms, _ in found], [deviation for _, deviation in found])

    def _interpolate(self, unknown: Sequence[Piece]) -> None:
        groups: dict[str, dict[str, Piece]] = {}
        for piece in unknown:
            if piece.key not in self._interpolated:
                # An operator that was hardly met is judged by its size, among all others.
                own = len(self._layers.get(piece.op, ())) >= FEWEST
                groups.setdefault(piece.op if own else "", {})[piece.key] = piece
        for op, group in groups.items():
            if op not in self._regressions:
                rows = self._layers[op] if op else [row for rows in self._layers.values() for row in rows]
                options = [row.piece.options if op else {} for row in rows]
                numbers = _numbers(row.piece for row in rows)
                self._regressions[op] = LayerRegression(numbers, options, [row.ms for row in rows])
            options = [piece.options if op else {} for piece in group.values()]
            ms, deviations = self._regressions[op].predict(_numbers(group.values()), options)
            for key, mean, deviation in zip(group, ms, deviations, strict=True):
                self._interpolated[key] = float(mean), math.hypot(deviation, 0 if op else FOREIGN)


def _numbers(pieces: Iterable[Piece]) -> Array:
    return np.array([piece.numbers for piece in pieces], dtype=float)


# -------------------------------------------------------------------------------------------- lines


def read_lines(path: str | Path) -> list[str]:
    """Returns the lines of a text file.

    Raises:
        NasError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NasError(f"file {str(path)!r} cannot be read ({error}); allowed: a CSV file in UTF-8") from None


def read_rows(lines: Sequence[str], where: str) -> Iterator[tuple[int, Row]]:
    """Yields the lines below the header with their numbers in the file; `#` begins a comment line.

    Lines without milliseconds are passed over. `error` and `runs` may be empty.

    Raises:
        NasError: A line is not right, with its number.
    """
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    header = next(csv.reader([numbered[0][1]])) if numbered else []
    if sorted(header) != sorted(COLUMNS):
        raise NasError(f"{where} has columns {', '.join(header) or 'none'}; allowed: {', '.join(COLUMNS)}")
    for i, line in numbered[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise NasError(f"{where}, line {i}, has {len(cells)} cells; allowed: {len(header)}")
        values = dict(zip(header, cells, strict=True))
        if values["ms"].strip():
            yield i, _row(values, f"{where}, line {i}")


def _row(values: Mapping[str, str], where: str) -> Row:
    op, before, after, stride, config = (values[name] for name in ("op", "input", "output", "stride", "config"))
    macs, params = (_whole(values, name, where) for name in ("macs", "params"))
    piece = Piece(op, before, after, stride, config, macs, params)
    if piece.key != values["key"]:
        raise NasError(
            f"{where}: key {values['key']!r} is not that of the layer that the line describes; allowed: {piece.key!r}"
        )
    try:
        if piece.op == NETWORK:
            list(piece.layers())
        elif len(piece.numbers) != 10:
            raise ValueError
    except ValueError:
        raise NasError(
            f"{where}: {piece.op!r} from {piece.input!r} to {piece.output!r} is not understood; "
            f"allowed: shapes such as 8x14x14x96, and the keys of its layers for a network"
        ) from None
    numbers = {}
    for name, least in (("ms", "above 0"), ("error", "from 0")):
        text = values[name].strip() or "0"
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (name == "ms" and number == 0):
            raise NasError(f"{where}: {name} {text!r} is not allowed; allowed: a number {least}")
        numbers[name] = number
    return Row(piece, numbers["ms"], numbers["error"], _whole(values, "runs", where))


def _whole(values: Mapping[str, str], name: str, where: str) -> int:
    text = values[name].strip() or "0"
    if not (text.isascii() and text.isdigit()):
        raise NasError(f"{where}: {name} {text!r} is not allowed; allowed: whole numbers from 0")
    return int(text)


def write_rows(file: io.TextIOBase, rows: Iterable[tuple[Piece, str, str, int | str]]) -> None:
    """Writes header and lines: pieces with ms, error and runs, sorted."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    lines = []
    for piece, ms, error, runs in rows:
        texts = (piece.op, piece.input, piece.output, piece.stride, piece.config)
        lines.append((texts, (piece.key, *texts, piece.macs, piece.params, ms, error, runs)))
    writer.writerows(line for _, line in sorted(lines))

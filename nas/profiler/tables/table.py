"""Tables of layer latencies, one file per device.

A table is a CSV file that stays readable in a diff: comment lines that say what was measured on,
then one line per layer or whole network, sorted. Its name is that of the device,
`profiles/<device>.csv`. Two files of one device merge by `Table.merged`; where their references are
the same, also by the union of their lines, by hand or by git. Of two rows about the same thing the
one with the smaller error counts.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from nas.documents import of_schema, parse_json
from nas.errors import NasError
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.environment import Environment
from nas.profiler.tables.rows import NETWORK, Row, read_lines, read_rows, write_rows
from nas.resources import replacing, resource_folder
from nas.units import whole

SCHEMA = 1  # of the form of a table
# What must agree before numbers of two sessions may stand in one table; the device's name says the
# rest.
IDENTITY = ("cpu", "cpu_capability", "gpu", "torch", "cuda", "cudnn", "tf32", "threads")


@dataclass
class Table:
    """Measured layers and networks of one device.

    Attributes:
        device: Name of what was measured on, as `nas.profiler.measured.device.device_name` gives
            it, or as a user named it.
        environment: Hardware and software behind the name; empty for a device that others measured.
        reference_ms: Milliseconds of the reference computation that every session of this table is
            scaled to.
        rows: By the key of their workload.
    """

    device: str
    environment: Environment = field(default_factory=Environment)
    reference_ms: float | None = None
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def under(cls, conditions: Conditions) -> Self:
        """Returns the empty table of this machine.

        Raises:
            NasError: Something is not possible here, or is more than inference in torch, plain or
                as a CUDA graph.
        """
        conditions.check()
        if refused := [option for option in conditions.options if option != "graph"]:
            raise NasError(f"a latency table with {', '.join(refused)} is not allowed; allowed: plain inference")
        found = Environment.here(conditions.resolved, conditions.threads)
        kept = {name: getattr(found, name) for name in IDENTITY}
        if conditions.resolved.type == "cuda":
            kept["threads"] = None
        return cls(conditions.name, Environment(**kept))

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
        schema = header.get("schema", "1")
        number = whole(schema)
        of_schema({"schema": schema if number is None else number}, SCHEMA, where)
        try:
            document = parse_json(f"{where}, environment", header.get("environment", "{}"))
            reference = float(header["reference_ms"]) if "reference_ms" in header else None
        except ValueError:
            document = None
        if (
            not isinstance(document, dict)
            or not header.get("device")
            or not (reference is None or 0 < reference < math.inf)
        ):
            raise NasError(
                f"{where} does not say what it was measured on; allowed: comment lines '# device: NAME' and, where "
                f"known, '# environment: {{JSON}}' and '# reference_ms: NUMBER'"
            )
        table = cls(header["device"], Environment.from_document(document, where), reference)
        for _, row in read_rows(lines, where):
            table.add(row)
        return table

    def save(self, path: str | Path) -> None:
        """Writes the file, or leaves it as it was if writing does not come to its end."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        text.write(f"# schema: {SCHEMA}\n# device: {self.device}\n")
        text.write(f"# environment: {json.dumps(self.environment.to_document(), sort_keys=True)}\n")
        if self.reference_ms is not None:
            text.write(f"# reference_ms: {self.reference_ms:.6g}\n")
        lines = ((row.workload, f"{row.ms:.6g}", f"{row.error:.3g}", row.runs) for row in self.rows.values())
        write_rows(text, lines, {key: row.launch_ms for key, row in self.rows.items() if row.launch_ms})
        with replacing(path) as draft:
            draft.write_text(text.getvalue(), encoding="utf-8")

    def add(self, row: Row) -> None:
        """Takes a row in, unless one about the same thing with a smaller error is there."""
        present = self.rows.get(row.workload.key)
        if present is None or row.error <= present.error:
            self.rows[row.workload.key] = row

    def merged(self, other: Table) -> Self:
        """Returns the union of two tables of one device, scaled to the reference of this one.

        Raises:
            NasError: The other one was measured on another device or in another environment.
        """
        other.check(self)
        table = replace(self, rows=dict(self.rows), reference_ms=self.reference_ms or other.reference_ms)
        scale = self.reference_ms / other.reference_ms if self.reference_ms and other.reference_ms else 1.0
        for row in other.rows.values():
            table.add(replace(row, ms=scale * row.ms))
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
        theirs, ours = wanted.environment.to_document(), self.environment.to_document()
        for name in IDENTITY:
            here, there = theirs.get(name), ours.get(name)
            if here != there:
                raise NasError(
                    f"latency table of {self.device!r} was measured with {name} {there!r}, and here it is {here!r}; "
                    f"allowed: the same, or a table of its own"
                )

    @property
    def layers(self) -> list[Row]:
        """The rows of layers."""
        return [row for row in self.rows.values() if row.workload.op != NETWORK]

    @property
    def networks(self) -> list[Row]:
        """The rows of whole networks."""
        return [row for row in self.rows.values() if row.workload.op == NETWORK]

"""The tables of `nas profile`: rows grouped by path, laid out for a terminal or as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.resources import csv_cell
from nas.units import COLUMNS, OPERATOR_COLUMNS, SUMS, Column, Unit, quantity

if TYPE_CHECKING:
    from nas.profiler.computed.compare import Comparison
    from nas.profiler.computed.cost import Cost, LayerCost, OperatorCost
    from nas.profiler.measured.measure import Measurement

ROWS = 40  # of a table that is still read at a glance
LONGEST_PATH = 30  # characters of a part's name that are never broken
_LEAST = ("inference_bytes", "activation_bytes", "elementwise", "bytes_moved")  # left out first where there is no room
_UNBOUNDED = 10_000  # characters, more than any table needs


def grouped(rows: Sequence[LayerCost], depth: int | None, kinds: Mapping[str, str]) -> list[LayerCost]:
    """Sums rows over everything below so many levels of their paths.

    Args:
        rows: Rows of a cost.
        depth: Levels of a path that are told apart; as many as give a readable table unless given.
        kinds: Types of modules by path, for groups that have no row of their own.

    Returns:
        A partition: each row counts in exactly one group.
    """
    if depth is None:
        deepest = max((_depth(row.path) for row in rows), default=1)
        depth = next((d for d in range(deepest, 1, -1) if len({_cut(row.path, d) for row in rows}) <= ROWS), 1)
    groups: dict[str, list[LayerCost]] = {}
    for row in rows:
        groups.setdefault(_cut(row.path, depth), []).append(row)
    return [_summed(path, group, kinds) for path, group in groups.items()]


def _depth(path: str) -> int:
    return path.count(".") + 1


def _cut(path: str, depth: int) -> str:
    return ".".join(path.split(".")[:depth])


def _summed(path: str, group: Sequence[LayerCost], kinds: Mapping[str, str]) -> LayerCost:
    own = next((row for row in group if row.path == path), None)
    if own and len(group) == 1:
        return own
    counts = Counter(row.op for row in group)
    parts = ", ".join(f"{op}*{n}" if n > 1 else op for op, n in counts.items())
    return replace(
        group[0],
        path=path,
        op=own.op if own else kinds.get(path, parts),
        shape=own.shape if own else "",
        inference_bytes=max(row.inference_bytes for row in group),
        **{column.name: sum(getattr(row, column.name) for row in group) for column in SUMS},
    )


def layer_table(rows: Sequence[LayerCost], figures: Cost, title: str, console: Console) -> tuple[Table, list[str]]:
    """The table by part or module, with totals, and the columns that a narrow console has no room
    for: those that are wanted least, so that no name is broken into pieces.
    """
    unbounded = console.options.update(width=_UNBOUNDED)  # what a table needs is else cut to what there is
    left_out = 0
    while True:
        columns = [column for column in COLUMNS if column.name not in _LEAST[:left_out]]
        table = _layer_table(rows, figures, title, columns)
        if left_out == len(_LEAST) or console.measure(table, options=unbounded).minimum <= console.width:
            return table, [column.head for column in COLUMNS if column not in columns]
        left_out += 1


def _layer_table(rows: Sequence[LayerCost], figures: Cost, title: str, columns: Sequence[Column]) -> Table:
    table = Table(title=escape(title))
    for name in ("part", "operator", "output"):
        longest = max((len(row.path) for row in rows), default=0) if name == "part" else 0
        table.add_column(name, overflow="fold", no_wrap=name != "operator" and longest <= LONGEST_PATH)
    units = [column.unit(figures) for column in columns]
    for column, unit in zip(columns, units, strict=True):
        table.add_column(unit.head(column.head).replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(row.path or "(itself)"), escape(row.op), row.shape, *_cells(row, columns, units))
    table.add_section()
    table.add_row("total", "", "", *_cells(figures, columns, units), style="bold")
    return table


def _cells(row: LayerCost | OperatorCost | Cost, columns: Sequence[Column], units: Sequence[Unit]) -> list[str]:
    return [unit.text(getattr(row, column.name)) for column, unit in zip(columns, units, strict=True)]


def operator_table(rows: Sequence[OperatorCost], figures: Cost, title: str) -> Table:
    """The table by ATen operator, with totals."""
    table = Table("operator", title=escape(title))
    table.add_column("calls", justify="right", no_wrap=True)
    units = [column.unit(figures) for column in OPERATOR_COLUMNS]
    for column, unit in zip(OPERATOR_COLUMNS, units, strict=True):
        table.add_column(unit.head(column.head), justify="right", no_wrap=True)
    for row in rows:
        unknown = " (unknown)" if row.op in figures.unknown else ""
        table.add_row(escape(row.op) + unknown, str(row.calls), *_cells(row, OPERATOR_COLUMNS, units))
    table.add_section()
    total = _cells(figures, OPERATOR_COLUMNS, units)
    table.add_row("total", str(sum(row.calls for row in rows)), *total, style="bold")
    return table


def summary(figures: Cost) -> list[str]:
    """What a table cannot show, a sentence each."""
    lines = [
        f"intensity {figures.intensity:.4g} operations (a multiply-add is one) per byte moved; parameters "
        f"{quantity(figures.parameter_bytes, 'B')}; inference "
        f"{quantity(figures.parameter_bytes + figures.inference_bytes, 'B')} at its peak, parameters included; a "
        f"training step with AdamW {quantity(figures.training_bytes('adamw'), 'B')} (parameters, gradients, two "
        f"moments, activations)"
    ]
    if figures.unknown:
        calls = ", ".join(f"{name} ({count})" for name, count in figures.unknown.items())
        lines.append(
            f"unknown operators, whose work is in no column but their bytes: {calls} (calls); "
            "nas.register_operator_cost states it"
        )
    return lines


def as_csv(rows: Sequence[LayerCost] | Sequence[OperatorCost]) -> str:
    """The rows with raw numbers: counts and bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(cell) for name, cell in asdict(row).items()} for row in rows)
    return text.getvalue()


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints what other tools count, and below each tool by what it differs."""
    table = Table("tool", title="multiply-adds of other tools beside ours")
    unit = Unit.of(max(comparison.macs, *(tool.macs or 0 for tool in comparison.tools)))
    for name in (unit.head("MACs"), "ratio to ours"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reasons", overflow="fold")
    table.add_row("nas", unit.text(comparison.macs), "1", "", style="bold")
    for tool in comparison.tools:
        if tool.macs is None:
            table.add_row(tool.tool, "-", "-", f"[yellow]failed:[/] {escape(tool.error or '')}")
            continue
        ratio = "-" if tool.ratio is None else f"{tool.ratio:.4f}"
        reasons = "\n".join(f"- {escape(str(reason))}" for reason in tool.reasons)
        table.add_row(tool.tool, unit.text(tool.macs), ratio, reasons or "equal")
    console.print(table)


def print_measurement(measured: Measurement, console: Console) -> None:
    """Prints a measurement in one line, and a line for everything that may have disturbed it."""
    latency = measured.latency_ms
    spread = [
        f"{name} {value:.3g} ms"
        for name, value in (("IQR", latency.iqr), ("p90", latency.p90), ("p95", latency.p95))
        if value is not None
    ]
    rate = f"{measured.conditions.batch * 1e3 / latency.median:.4g} clips/s" if measured.conditions else ""
    memory = [
        f"{name} {quantity(value, 'B')}"
        for name, value in (
            ("peak memory", measured.peak_memory_bytes),
            ("reserved", measured.reserved_memory_bytes),
            ("process", measured.process_memory_bytes),
            ("workspace", measured.workspace_memory_bytes),
        )
        if value is not None
    ]
    facts = [f"median {latency.median:.4g} ms", *spread, f"(n={latency.n})", rate, *memory]
    line = ", ".join(fact for fact in facts if fact).replace(", (n=", " (n=")
    console.print(f"{measured.device}: {line}", highlight=False, soft_wrap=True)
    for flag in measured.flags:
        console.print(f"[yellow]note:[/] {escape(flag)}", highlight=False, soft_wrap=True)

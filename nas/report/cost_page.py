"""The page of `nas profile --html`: a treemap of cost by module beside the table, one file that
needs no network.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.report.template import render
from nas.units import COLUMNS, LIVE, OPERATOR_COLUMNS, SUMS, UNITS, Column, Unit, quantity

if TYPE_CHECKING:
    from nas.profiler.computed.cost import Cost, LayerCost

# Okabe and Ito's palette without black and yellow, on which white text cannot be read.
_COLORS = ("#0072B2", "#B35000", "#00795A", "#A3527F", "#2A7FB0", "#8A6D00", "#5C5C8A", "#6B6B6B")
_CONTAINER = "#4A5058"
_ROOT = "all"


def write_cost_page(
    path: str | Path,
    title: str,
    figures: Cost,
    rows: Sequence[LayerCost],
    kinds: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        path: The file.
        title: What was profiled.
        figures: The cost; all of its rows are in the treemap.
        rows: Those of the table, which may be sums.
        kinds: Types of modules by path, for those without a row.
        notes: Sentences above the treemap.
    """
    units = [column.unit(figures) for column in COLUMNS]
    of_operators = [column.unit(figures) for column in OPERATOR_COLUMNS]
    page = render(
        "cost.html.j2",
        title=title,
        notes=[*notes, UNITS],
        metrics=[column.words for column in SUMS],
        columns=_heads(COLUMNS, units),
        rows=[
            {"path": row.path, "op": row.op, "shape": row.shape, "cells": _cells(row, figures, units)} for row in rows
        ],
        total=[unit.text(getattr(figures, column.name)) for column, unit in zip(COLUMNS, units, strict=True)],
        operator_columns=_heads(OPERATOR_COLUMNS, of_operators),
        operators=[
            {
                "op": row.op,
                "calls": row.calls,
                "cells": [
                    unit.text(getattr(row, column.name))
                    for column, unit in zip(OPERATOR_COLUMNS, of_operators, strict=True)
                ],
            }
            for row in figures.operators
        ],
        tree=asdict(treemap(figures.layers, kinds)),
    )
    Path(path).write_text(page, encoding="utf-8")


def _heads(columns: Sequence[Column], units: Sequence[Unit]) -> list[str]:
    return [unit.head(column.head) for column, unit in zip(columns, units, strict=True)]


def _cells(row: LayerCost, figures: Cost, units: Sequence[Unit]) -> list[tuple[str, float | None]]:
    """Texts of a row's figures, with the share of the total of those that add up."""
    cells: list[tuple[str, float | None]] = []
    for column, unit in zip(COLUMNS, units, strict=True):
        value, total = getattr(row, column.name), getattr(figures, column.name)
        share = None if column is LIVE else round(value / total, 4) if total else 0.0
        cells.append((unit.text(value), share))
    return cells


@dataclass(frozen=True)
class Treemap:
    """The nodes of a treemap as plain lists: what plotly reads.

    Attributes:
        ids: Of each node.
        labels: Of each node, as HTML.
        parents: Id of the node around each; empty for the outermost.
        hovers: What is said of each node, as HTML.
        colors: Of each node.
        values: By metric, then by node; a node's value is that of all within it.
        texts: The same with prefixes and units.
    """

    ids: list[str]
    labels: list[str]
    parents: list[str]
    hovers: list[str]
    colors: list[str]
    values: list[list[int]]
    texts: list[list[str]]


@dataclass(frozen=True)
class _Node:
    id: str
    label: str
    parent: str
    inner: bool  # has nodes within it
    op: str
    hover: str
    sums: Mapping[str, int]


def treemap(leaves: Sequence[LayerCost], kinds: Mapping[str, str]) -> Treemap:
    """The treemap of rows: every row, and the paths above rows where they branch.

    What a module with parts does itself is a node of its own among them.

    Args:
        leaves: The finest rows of a cost.
        kinds: Types of modules by path, for those without a row.
    """
    names = [column.name for column in SUMS]
    nodes = list(_nodes(leaves, kinds))
    # One colour for each type, the same wherever it occurs.
    ranks = list(dict.fromkeys(node.op for node in nodes if not node.inner))
    return Treemap(
        ids=[node.id for node in nodes],
        labels=[html.escape(node.label) for node in nodes],
        parents=[node.parent for node in nodes],
        hovers=[node.hover for node in nodes],
        colors=[_CONTAINER if node.inner else _COLORS[ranks.index(node.op) % len(_COLORS)] for node in nodes],
        values=[[node.sums[name] for node in nodes] for name in names],
        texts=[[quantity(node.sums[column.name], column.base) for node in nodes] for column in SUMS],
    )


def _nodes(leaves: Sequence[LayerCost], kinds: Mapping[str, str]) -> Iterator[_Node]:
    names = [column.name for column in SUMS]
    by_path = {row.path: row for row in leaves}
    ops = {**kinds, **{row.path: row.op for row in leaves}}
    sums: dict[str, dict[str, int]] = {"": dict.fromkeys(names, 0)}
    for row in leaves:
        levels = row.path.split(".") if row.path else []
        for depth in range(len(levels) + 1):
            node = sums.setdefault(".".join(levels[:depth]), dict.fromkeys(names, 0))
            for name in names:
                node[name] += getattr(row, name)
    below = Counter(_parent(path) for path in sums if path)
    # A path with a single one below it and nothing of its own says nothing.
    kept = [path for path in sums if not path or path in by_path or below[path] > 1]
    for path in kept:
        parent = _parent(path)
        while parent not in kept:
            parent = _parent(parent)
        op, inner = ops.get(path, ""), below[path] > 0
        label = path.removeprefix(f"{parent}.") if path else _ROOT
        label = f"{label} {op}" if label.rpartition(".")[2].isdigit() and op else label
        shape = by_path[path].shape if path in by_path else ""
        around = (parent or _ROOT) if path else ""
        yield _Node(path or _ROOT, label, around, inner, op, _hover(path, op, shape, sums[path]), sums[path])
        if inner and path in by_path:
            own = {name: getattr(by_path[path], name) for name in names}
            hover = _hover(path, f"{op} without its parts", shape, own)
            yield _Node(f"{path}/", f"{op} itself", path or _ROOT, False, op, hover, own)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _hover(path: str, op: str, shape: str, sums: Mapping[str, int]) -> str:
    lines = [f"<b>{html.escape(path or _ROOT)}</b>", html.escape(" ".join(filter(None, (op, shape))))]
    lines += [f"{column.words} {quantity(sums[column.name], column.base)}" for column in SUMS]
    return "<br>".join(line for line in lines if line)

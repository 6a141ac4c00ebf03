"""The page of `nas profile --html`: a treemap of cost by module beside the table, one file that needs no network."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_TEMPLATE = Path(__file__).with_name("cost.html.j2")

# Name of a figure that adds up over modules, its column, and the unit of both.
METRICS = (
    ("macs", "multiply-adds", "GFLOPs", 1e9, ".4f"),
    ("elementwise", "other operations", "other (G)", 1e9, ".4f"),
    ("params", "parameters", "params (M)", 1e6, ".4f"),
    ("bytes_moved", "bytes moved", "moved (MB)", 1e6, ".2f"),
    ("activation_bytes", "activations kept", "kept (MB)", 1e6, ".2f"),
)
LIVE = "live (MB)"

# Okabe and Ito's palette without black and yellow, on which white text cannot be read.
_COLORS = ("#0072B2", "#B35000", "#00795A", "#A3527F", "#2A7FB0", "#8A6D00", "#5C5C8A", "#6B6B6B")
_CONTAINER = "#4A5058"
_ROOT = "all"


class Row(Protocol):
    """A part or module: `nas.profiler.cost.LayerCost` is one."""

    @property
    def path(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def shape(self) -> str: ...
    @property
    def macs(self) -> int: ...
    @property
    def params(self) -> int: ...
    @property
    def elementwise(self) -> int: ...
    @property
    def bytes_moved(self) -> int: ...
    @property
    def activation_bytes(self) -> int: ...
    @property
    def inference_bytes(self) -> int: ...


class OperatorRow(Protocol):
    """An operator: `nas.profiler.cost.OperatorCost` is one."""

    op: str
    calls: int
    macs: int
    elementwise: int
    bytes_moved: int


def write_cost_page(
    path: str | Path,
    title: str,
    leaves: Sequence[Row],
    rows: Sequence[Row],
    operators: Sequence[OperatorRow],
    kinds: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        path: The file.
        title: What was profiled.
        leaves: All rows of the cost, for the treemap.
        rows: Those of the table, which may be sums.
        operators: Rows by operator.
        kinds: Types of modules by path, for those without a row.
        notes: Sentences above the treemap.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    totals = {name: sum(getattr(row, name) for row in leaves) for name, *_ in METRICS}
    peak = max((row.inference_bytes for row in leaves), default=0)
    page = environment.get_template(_TEMPLATE.name).render(
        title=title,
        notes=notes,
        metrics=[words for _, words, *_ in METRICS],
        columns=[*(column for _, _, column, *_ in METRICS), LIVE],
        rows=[{"path": row.path, "op": row.op, "shape": row.shape, "cells": _cells(row, totals)} for row in rows],
        total=[
            *(format(totals[name] / scale, pattern) for name, _, _, scale, pattern in METRICS),
            f"{peak / 1e6:.2f}",
        ],
        operators=operators,
        tree=treemap(leaves, kinds),
        plotly_js=get_plotlyjs(),
    )
    Path(path).write_text(page, encoding="utf-8")


def _cells(row: Row, totals: Mapping[str, int]) -> list[tuple[str, float | None]]:
    """Texts of a row's figures, with the share of the total of those that add up."""
    cells: list[tuple[str, float | None]] = []
    for name, _, _, scale, pattern in METRICS:
        value = getattr(row, name)
        cells.append((format(value / scale, pattern), round(value / totals[name], 4) if totals[name] else 0.0))
    return [*cells, (f"{row.inference_bytes / 1e6:.2f}", None)]


def treemap(leaves: Sequence[Row], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The nodes of the treemap: every row, and the paths above rows where they branch.

    What a module with parts does itself is a node of its own among them.

    Returns:
        Plain lists by node (`ids`, `labels`, `parents`, `hovers`, `colors`), and by metric and node (`values`,
        `texts`).
    """
    names = [name for name, *_ in METRICS]
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
    nodes: list[dict[str, Any]] = []
    for path in kept:
        parent = _parent(path)
        while parent not in kept:
            parent = _parent(parent)
        op = ops.get(path, "")
        label = path.removeprefix(f"{parent}.") if path else _ROOT
        label = f"{label} {op}" if label.rpartition(".")[2].isdigit() and op else label
        shape = by_path[path].shape if path in by_path else ""
        inner = below[path] > 0
        nodes.append(
            {"id": path or _ROOT, "label": label, "parent": (parent or _ROOT) if path else "", "inner": inner, "op": op}
            | {"hover": _hover(path, op, shape, sums[path]), "sums": sums[path]}
        )
        if inner and path in by_path:
            own = {name: getattr(by_path[path], name) for name in names}
            nodes.append(
                {"id": f"{path}/", "label": f"{op} itself", "parent": path or _ROOT, "inner": False, "op": op}
                | {"hover": _hover(path, f"{op} without its parts", shape, own), "sums": own}
            )
    ranks = list(dict.fromkeys(node["op"] for node in nodes if not node["inner"]))
    return {
        "ids": [node["id"] for node in nodes],
        "labels": [html.escape(node["label"]) for node in nodes],
        "parents": [node["parent"] for node in nodes],
        "hovers": [node["hover"] for node in nodes],
        # One colour for each type, the same wherever it occurs.
        "colors": [_CONTAINER if node["inner"] else _COLORS[ranks.index(node["op"]) % len(_COLORS)] for node in nodes],
        "values": [[node["sums"][name] for node in nodes] for name in names],
        "texts": [[_text(name, node["sums"]) for node in nodes] for name in names],
    }


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _text(name: str, sums: Mapping[str, int]) -> str:
    _, _, column, scale, _ = next(metric for metric in METRICS if metric[0] == name)
    unit = {"other (G)": "G", "params (M)": "M"}.get(column, column.rpartition("(")[2].rstrip(")"))
    return f"{sums[name] / scale:.4g} {unit}"


def _hover(path: str, op: str, shape: str, sums: Mapping[str, int]) -> str:
    lines = [f"<b>{html.escape(path or _ROOT)}</b>", html.escape(" ".join(filter(None, (op, shape))))]
    lines += [f"{words} {_text(name, sums)}" for name, words, *_ in METRICS]
    return "<br>".join(line for line in lines if line)

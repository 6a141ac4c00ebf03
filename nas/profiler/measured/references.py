"""The reference networks, measured: one table per device, `profiles/reference/<device>.csv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from nas.architecture import load
from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.profiler.computed.published import REFERENCE, published
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.measure import measure
from nas.resources import replacing, resource_folder, resource_names

TABLE_COLUMNS = (
    "network",
    "input",
    "params",
    "macs",
    "bytes_moved",
    "peak_memory_bytes",
    "latency_ms",
    "latency_iqr_ms",
    "runs",
    "clips_per_s",
    "reference_ratio",
    "top1",
    "flags",
)


def measured() -> dict[str, pd.DataFrame]:
    """The tables that the package holds, by device."""
    folder = resource_folder("profiles") / "reference"
    return {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}


def measure_references(
    folder: Path,
    conditions: Conditions,
    names: Sequence[str] = (),
    max_seconds: float = 10.0,
    patience: float = 0.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Measures reference networks that the table of this device lacks; every row is written as soon
    as it is known.

    Args:
        folder: Where the tables of devices lie.
        conditions: How to measure.
        names: Networks; all unless given.
        max_seconds, patience: For each, as in `nas.measure`.
        progress: Called with the network that comes next, its number and how many there are.

    Returns:
        The table's file.

    Raises:
        NasError: A network that is not there, or one that cannot be measured.
    """
    known = resource_names(REFERENCE)
    for name in names:
        if name not in known:
            raise NasError(f"reference network {name!r} is unknown; allowed: {', '.join(known)}")
    path = folder / f"{conditions.name}.csv"
    table = _read(path) if path.is_file() else pd.DataFrame(columns=list(TABLE_COLUMNS))
    wanted = [name for name in names or known if name not in set(table["network"])]
    top1 = published().set_index("network")["top1"]
    # The cheapest first, so that an interrupted table has the most rows.
    for i, name in enumerate(sorted(wanted, key=lambda name: cost(load(name)).macs)):
        if progress:
            progress(name, i, len(wanted))
        table = pd.concat([table, pd.DataFrame([_row(name, conditions, max_seconds, patience, top1[name])])])
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            table.sort_values("network").to_csv(draft, index=False)
    return path


def _row(name: str, conditions: Conditions, max_seconds: float, patience: float, top1: str) -> dict[str, Any]:
    architecture = load(name)
    figures = cost(architecture)
    found = measure(architecture, **asdict(conditions), max_seconds=max_seconds, patience=patience)
    latency = found.latency_ms
    return {
        "network": name,
        "input": "x".join(map(str, architecture.input.shape.extent)),
        "params": figures.params,
        "macs": figures.macs,
        "bytes_moved": figures.bytes_moved,
        "peak_memory_bytes": found.peak_memory_bytes,
        "latency_ms": round(latency.median, 4),
        "latency_iqr_ms": None if latency.iqr is None else round(latency.iqr, 4),
        "runs": latency.n,
        "clips_per_s": round(1e3 * conditions.batch / latency.median, 4),
        "reference_ratio": None if found.reference is None else round(found.reference.ratio, 4),
        "top1": top1,
        "flags": "; ".join(found.flags),
    }


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"top1": str, "flags": str}, keep_default_na=True)
    except ValueError as error:
        raise NasError(
            f"table {str(path)!r} cannot be read ({error}); allowed: a table of reference networks"
        ) from None
    if missing := [name for name in TABLE_COLUMNS if name not in table]:
        raise NasError(f"table {str(path)!r} has no column {missing[0]!r}; allowed: {', '.join(TABLE_COLUMNS)}")
    return table.fillna({"top1": "", "flags": ""})

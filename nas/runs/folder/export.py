"""The architecture file of a pick, with where it comes from above it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from nas.limits.metrics import DEFAULT_PICK, metrics
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, write_table
from nas.runs.selection.ranking import larger_error
from nas.units import number, plural

BEST = "best.yaml"  # the architecture of the default pick


def write_picks(folder: Path) -> Run:
    """Notes in `front.csv` which networks picks mean, and writes the default pick to `best.yaml`,
    which goes where there is none.
    """
    run = Run(folder)
    picks = run.picks()
    run.front["pick"] = [",".join(pick for pick, chosen in picks.items() if chosen == i) for i in run.front["trial"]]
    if (folder / FRONT).exists():
        write_table(folder / FRONT, run.front)
    if DEFAULT_PICK in picks:
        save_pick(run, DEFAULT_PICK, folder / BEST)
    else:
        (folder / BEST).unlink(missing_ok=True)
    return run


def save_pick(run: Run, pick: str | int, path: Path) -> int:
    """Writes the architecture of a pick, with its provenance as comments that `nas.load` skips.

    Returns:
        The number of its trial.

    Raises:
        NasError: As `Run.pick`, or the file cannot be written.
    """
    trial = run.pick_trial(pick)
    run.pick(trial).save(path, provenance(run, trial))
    return trial


def provenance(run: Run, trial: int) -> list[str]:
    """Where an architecture comes from and what is known of it, a line each: run, data and classes,
    accuracy and what it is of, cost and what it is of, version. No path is among them.
    """
    record, row = run.record, run.row(trial)
    named = [name for name, chosen in run.picks().items() if chosen == trial]
    picks = f" (pick {', '.join(named)})" if named else ""
    version = record.versions.get("video-nas", "unknown")
    lines = [f"trial {trial}{picks} of the run {run.path.resolve().name}, nas {version}"]
    limits = f" under {record.budget}" if record.budget else ""
    lines.append(f"space {record.space or 'unknown'}{limits}, data {record.data or 'unknown'}")
    if record.classes:
        lines.append(f"classes {json.dumps(list(record.classes), ensure_ascii=False)}")
    if record.proxy:
        proxy = "x".join(map(str, (record.proxy.frames, *record.proxy.size)))
        lines.append(f"accuracy as a proxy of {proxy}{_trained(run, row)}: {_accuracies(run, row)}")
    target = "x".join(map(str, (record.target.frames, *record.target.size))) if record.target else "the target input"
    figures = [metric for metric in metrics() if metric.in_table and not math.isnan(row.get(metric.name, math.nan))]
    shown = [f"{metric.title} {number(row[metric.name] / metric.scale)} {metric.unit}" for metric in figures]
    lines.append(f"at {target}: {', '.join(shown)}; on {record.device or 'an unnamed device'}")
    if row.get("flags"):
        lines.append(f"disturbed while it was measured: {row['flags']}")
    return lines


def _trained(run: Run, row: dict[Any, Any]) -> str:
    epochs = "" if math.isnan(row["epochs"]) else f", {plural(round(row['epochs']), 'epoch')}"
    clips = run.record.clips.get("train")
    return epochs + (f" of {clips} clips" if clips else "")


def _accuracies(run: Run, row: dict[Any, Any]) -> str:
    found = []
    for split, name, words in (("val", "accuracy", "validation"), ("test", "test_accuracy", "test")):
        if math.isnan(row[name]):
            continue
        clips = run.record.clips.get(split)
        error = larger_error(row, name, clips)
        spread = "" if math.isnan(error) else f" \N{PLUS-MINUS SIGN} {100 * error:.1f}"
        of = f" ({clips} clips)" if clips else ""
        found.append(f"{100 * row[name]:.1f}{spread} % {words}{of}")
    return ", ".join(found)

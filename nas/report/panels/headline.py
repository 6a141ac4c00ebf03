"""The answer, and what a reader has to know before trusting it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from nas.limits.metrics import METRICS
from nas.report.blocks import Block, Text
from nas.report.front import how_to_go_on
from nas.report.panel import Panel
from nas.report.text import duration, listed, percent
from nas.report.trials import accuracy_text, budget_limits, clip_text, error_of, figure_text, known, trained
from nas.runs.folder import Run
from nas.units import plural

_USES = {"train": "training", "val": "validation", "test": "test"}


class Headline(Panel):
    """The best network in a sentence, what was searched, and what is missing."""

    title = ""
    place = 0

    def blocks(self, run: Run) -> Sequence[Block]:
        warnings = [Text(text, "warning") for text in missing(run)]
        return [Text(best(run), "lead"), Text(searched(run)), *warnings]


def best(run: Run) -> str:
    """The one sentence that a reader came for."""
    record = run.record
    if run.front.empty and len(run.over):
        return _none_keeps(run)
    every = run.front if len(run.front) else known(run)
    if every.empty:
        return "No network was trained, so there is no result."
    row, *_ = every.sort_values(["accuracy", "macs"], ascending=[False, True]).to_dict("records")
    accuracy = f"{accuracy_text(run, row, 'val')} on validation"
    if math.isnan(row["test_accuracy"]):
        accuracy += ", not evaluated on test"
    else:
        accuracy += f", {accuracy_text(run, row, 'test')} on test"
    if record.chance is not None:
        accuracy += f" (chance is {percent(record.chance)} %)"
    proxy = f" as a proxy of {clip_text(record.proxy)}" if record.proxy else ""
    if not math.isnan(row["epochs"]):
        proxy += f" trained for {plural(round(row['epochs']), 'epoch')}"
    target = f" at {clip_text(record.target)}" if record.target else ""
    cost = f"the network itself costs {figure_text(METRICS['macs'], row['macs'])}{target}"
    if run.front.empty and budget_limits(run, "latency_ms"):
        name = f"No network is known to keep {record.budget} as measured; the most accurate so far"
    else:
        name = "Best found" if len(trained(run)) > 1 else "The only network trained"
    error = error_of(run, row, "val")
    surely = row["accuracy"] - (0.0 if math.isnan(error) else error)
    luck = " This is not clearly better than guessing." if record.chance is not None and surely <= record.chance else ""
    return f"{name}: trial {row['trial']} with {accuracy}{proxy}; {cost}.{luck}"


def _none_keeps(run: Run) -> str:
    """The lead of a run all of whose measured networks break a limit."""
    nearest = run.over.loc[run.over["trial"] == run.nearest()].to_dict("records")[0]
    count = len(known(run))
    are = "the only network trained is" if count == 1 else f"of {count} networks trained, {len(run.over)} are"
    return (
        f"No network is known to keep {run.record.budget}: {are} over a limit. The nearest is trial "
        f"{nearest['trial']} with {accuracy_text(run, nearest, 'val')} on validation: {nearest['breaks']}."
    )


def searched(run: Run) -> str:
    """What was searched, where and for how long."""
    record = run.record
    budget = f"under a budget of {record.budget}" if record.budget else "without a budget"
    said = f"Searched the space {record.space or 'unknown'} {budget} on {record.data or 'unknown data'}"
    if record.data_description:
        said += f" ({record.data_description.rstrip('.')})"
    used = [f"{record.clips[split]:,} {use}" for split, use in _USES.items() if record.clips.get(split)]
    said += f", of which trainings used {listed(used)} clips" if used else ""
    said += f". {plural(len(trained(run)), 'network')} trained on {record.device or 'an unnamed device'}"
    said += f"; the whole run took {duration(record.wall_s)}." if record.wall_s else "."
    if record.slot_s:
        busy = 100 * record.step_s / record.slot_s
        said += f" While it searched, workers spent {busy:.0f} % of the time in training steps."
    return said


def missing(run: Run) -> list[str]:
    """What is not there, or not as it should be."""
    record, front = run.record, run.front
    if front.empty and len(run.over):
        return how_to_go_on(run)
    if front.empty:
        reason = "no front was measured" if len(run.trials) else "nothing was trained"
        limits = " Whether a network keeps the limits as measured is not known." if len(trained(run)) else ""
        return [f"There is no front: {reason}.{limits} The run may be continued by nas search --resume."]
    absent = []
    later = len(run.trials) - (len(run.trials) if record.front_of is None else record.front_of)
    if later > 0:
        are = "training is" if later == 1 else "trainings are"
        absent.append(
            f"{later} further {are} not part of the front yet: it is as it was before they began. "
            "nas search --resume goes on."
        )
    stopped = int((front["state"] == "stopped").sum())
    if stopped:
        were = "trial of the front was" if stopped == 1 else "trials of the front were"
        absent.append(f"{stopped} {were} stopped early, with an accuracy of fewer epochs than a whole training has.")
    asked = 1 + (record.settings.confirm_seeds if record.settings else 0)
    fewer = int((front["seeds"] < asked).sum())
    if fewer:
        were = "network of the front was" if fewer == 1 else "networks of the front were"
        absent.append(
            f"{fewer} {were} trained with fewer than the {asked} seeds asked for: the fewer, the more the selection "
            "flatters an accuracy."
        )
    figures = {
        "latency_ms": "measured latency",
        "peak_memory_bytes": "measured peak memory",
        "test_accuracy": "test accuracy",
    }
    absent += [_absence(front, column, words) for column, words in figures.items() if front[column].isna().any()]
    return absent


def _absence(front: pd.DataFrame, column: str, words: str) -> str:
    count = int(front[column].isna().sum())
    if count == len(front):
        return f"No trial of the front has a {words}."
    return f"{count} of {len(front)} trials of the front have no {words}."

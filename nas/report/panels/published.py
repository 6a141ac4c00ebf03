"""The default pick beside published networks of its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from nas.limits.metrics import METRICS
from nas.report.blocks import Block, Table, Text
from nas.report.differences import held_against, split_of
from nas.report.panel import Panel
from nas.report.text import percent, with_error
from nas.report.trials import accuracy_text
from nas.runs.folder.baselines import BaselineResult
from nas.runs.folder.run import Run
from nas.runs.selection.ranking import larger_error
from nas.units import MISSING


class Published(Panel):
    """What published networks reach that were cut to the multiply-adds of the default pick and
    trained as it was.
    """

    title = "Beside published networks of its size"
    place = 16

    def applies(self, run: Run) -> bool:
        return len(run.front) > 0 and bool(run.baselines)

    def blocks(self, run: Run) -> Sequence[Block]:
        pick, split = run.row(run.pick_trial()), split_of(run)
        accuracy = "Test accuracy (%)" if split == "test" else "Validation accuracy (%)"
        figures = [METRICS["macs"], METRICS["params"]]
        rows = [
            {
                "Network": f"trial {pick['trial']}, the pick",
                "Parameters kept": MISSING,
                **{metric.title.capitalize(): metric.figure(pick[metric.name]) for metric in figures},
                "Seeds": f"{pick['seeds']:.0f}",
                accuracy: accuracy_text(run, pick, split).removesuffix(" %"),
                "The pick is above (points)": MISSING,
                "95 % interval": MISSING,
            }
        ]
        for baseline in sorted(run.baselines, key=lambda each: -each.reached(split)[0]):
            gain = held_against(run, pick, baseline)
            rows.append(
                {
                    "Network": baseline.name,
                    "Parameters kept": f"{percent(baseline.share)} %",
                    **{metric.title.capitalize(): metric.figure(getattr(baseline, metric.name)) for metric in figures},
                    "Seeds": str(baseline.seeds),
                    accuracy: _reached(run, baseline, split),
                    "The pick is above (points)": f"{100 * gain.by:+.1f}",
                    "95 % interval": gain.interval or MISSING,
                }
            )
        highlighted = [True] + [False] * len(run.baselines)
        table = Table(pd.DataFrame(rows, dtype="str"), "The pick and published networks", ["Network"], (), highlighted)
        return [Text(_meaning(split), "note"), table]


def _reached(run: Run, baseline: BaselineResult, split: Literal["test", "val"]) -> str:
    """Its accuracy with the error that all accuracies of the page have."""
    accuracy, error = baseline.reached(split)
    row = {"accuracy": accuracy, "accuracy_se": error}
    return with_error(accuracy, larger_error(row, "accuracy", run.record.clips.get(split)))


def _meaning(split: str) -> str:
    judged = (
        "on test clips, on which nothing was selected"
        if split == "test"
        else "on validation clips, on which the pick was selected and they were not: that flatters the pick"
    )
    return (
        "Each published network has as much of its width and depth as the multiply-adds of the pick allow, and was "
        "trained from scratch on the same proxy clips, by the same recipe: this says nothing of the published network "
        f"in full size, with its weights or its own recipe. They are compared {judged}. The interval is two standard "
        "errors to both sides, clip by clip where the answers are kept."
    )

"""Why the default pick and not another network."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nas.limits.metrics import DEFAULT_PICK, METRICS, Metric
from nas.report.blocks import Block, Table, Text
from nas.report.differences import Difference, best_of_control, paired
from nas.report.panel import Panel
from nas.report.trials import Row, picks
from nas.runs.folder.run import Run
from nas.runs.selection.picks import by_accuracy
from nas.units import MISSING, number, plural

MOST = 12  # networks that the pick is compared with


class Comparison(Panel):
    """The default pick beside the other picks, the rest of the front, and the best of random
    search: what it gains in accuracy, with an interval, and how its costs differ.
    """

    title = "Why this one and not another"
    place = 15

    def applies(self, run: Run) -> bool:
        return len(run.front) > 0 and bool(_others(run))

    def blocks(self, run: Run) -> Sequence[Block]:
        one = run.row(run.pick_trial())
        others = _others(run)
        gains = [paired(run, one, other) for _, other in others[:MOST]]
        mixed = len({gain.paired for gain in gains}) > 1
        rows = [
            {
                "Beside": name,
                "Gain (points)": f"{100 * gain.by:+.1f}",
                "95 % interval": gain.interval or MISSING,
                **({"Compared": "clip by clip" if gain.paired else "as two shares"} if mixed else {}),
                "Verdict": _verdict(gain.by, gain.clear),
                **{f"Times the {metric.title}": _times(metric, one, other) for metric in _costs(run)},
            }
            for (name, other), gain in zip(others, gains, strict=False)
        ]
        words = ["Beside", "Compared", "Verdict"]
        table = Table(pd.DataFrame(rows, dtype="str"), "Comparison of the pick", words=words)
        return [Text(_meaning(run, one, len(others), gains), "note"), table]


def _others(run: Run) -> list[tuple[str, Row]]:
    """What the pick is compared with, by name: picks, the rest of the front by accuracy, random."""
    chosen, named = run.pick_trial() if len(run.front) else None, picks(run)
    rest = [row["trial"] for row in by_accuracy(run.front, run.objectives).to_dict("records")]
    numbers = [trial for trial in dict.fromkeys([*named, *rest]) if trial != chosen]
    found: list[tuple[str, Row]] = []
    for trial in numbers:
        words = f" ({', '.join(named[trial])})" if trial in named else ""
        found.append((f"trial {trial}{words}", run.row(trial)))
    if (random := best_of_control(run)) is not None:
        found.insert(len(named), (f"best of {plural(random['trainings'], 'random training')}", random))
    return found


def _costs(run: Run) -> list[Metric]:
    """The costs that are compared: what networks were compared by, and the latency."""
    costs = [metric for metric in run.objectives.costs if metric.name != "latency_ms"]
    return [*costs, METRICS["latency_ms"]] if run.front["latency_ms"].notna().any() else costs


def _times(metric: Metric, one: Row, other: Row) -> str:
    """How many times the other's cost the pick's is."""
    mine, its = (float(row.get(metric.name, float("nan"))) for row in (one, other))
    return number(mine / its, 2) if its > 0 else MISSING


def _verdict(gain: float, clear: bool) -> str:
    if not clear:
        return "may be luck"
    return f"{DEFAULT_PICK} clearly better" if gain > 0 else "clearly worse"


def _meaning(run: Run, one: Row, others: int, gains: Sequence[Difference]) -> str:
    said = (
        f"Trial {one['trial']}, the pick {DEFAULT_PICK}, beside others: gain in validation accuracy, and its cost as a "
        "multiple of the other's. The interval is two standard errors to both sides."
    )
    if any(gain.paired for gain in gains):
        said += (
            " Both networks answered the same clips, so they are compared clip by clip: the error is that of the mean "
            "difference over clips, together with those over seeds where there are several."
        )
    if not all(gain.paired for gain in gains):
        said += (
            " Where the run did not keep all answers, two accuracies count as independent shares, each with the error "
            "of a share of the clips or over seeds, whichever is larger; as both are of the same clips, this makes the "
            "interval rather too wide."
        )
    said += " Each comparison stands for itself: of many, some are clear by luck."
    if best_of_control(run) is not None:
        said += (
            " The best random network has the accuracy of one training, chosen as the best of several: it is flattered."
        )
    return said + (f" The {MOST} first of {others} are shown." if others > MOST else "")

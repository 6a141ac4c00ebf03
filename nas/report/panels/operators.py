"""Which operators the networks use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from nas.errors import NasError
from nas.report.blocks import Block, Charts, Table, Text
from nas.report.charts.chart import Axis, Bars, Chart, Colour, Plane
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import trained
from nas.runs.folder.run import Run
from nas.units import plural


class Operators(Panel):
    """The share of layers that use each operator, on the front beside all trained networks."""

    title = "Operators"
    place = 60

    def applies(self, run: Run) -> bool:
        # Beside a front of one network, shares of operators say nothing.
        return len(trained(run)) > 1 and len(run.front) != 1

    def blocks(self, run: Run) -> Sequence[Block]:
        shares = operator_shares(run)
        texts = shares.map(percent)[::-1].rename(columns={"front": "Front (%)", "all": "All trained (%)"})
        texts.insert(0, "Operator", texts.index)
        chart = Charts([_chart(shares)])
        return [Text(_meaning(run), "note"), chart, Table(texts, "Share of layers per operator", words=["Operator"])]


def _meaning(run: Run) -> str:
    count, front = len(trained(run)), len(run.front)
    said = f"Share of layers that use each operator, in {plural(count, 'trained network')}"
    if front == 0:
        return f"{said}."
    said += f" and in the {plural(front, 'network')} of the front."
    return f"{said} A difference between the two is no proof that an operator is better: the networks differ in more."


def operator_counts(operators: Iterable[str]) -> Counter[str]:
    """Sums layers per operator over texts such as `t2d*3 d2plus1d*2`.

    Raises:
        NasError: A part is not `<operator>` or `<operator>*<number>`.
    """
    counts: Counter[str] = Counter()
    for text in operators:
        for part in text.split():
            match = re.fullmatch(r"(\w+)(?:\*(\d+))?", part)
            if not match:
                raise NasError(f"operators {text!r} cannot be read at {part!r}; allowed: parts such as t2d*3")
            counts[match[1]] += int(match[2] or 1)
    return counts


def operator_shares(run: Run) -> pd.DataFrame:
    """Share of layers (0..1) per operator (index), over `all` trained trials and, where there is
    one, on the `front`; the most used last.
    """
    tables = {"front": run.front, "all": trained(run)}
    counts = {name: operator_counts(table["operators"]) for name, table in tables.items() if len(table)}
    shares = pd.DataFrame({name: pd.Series(count, dtype=float) for name, count in counts.items()}).fillna(0.0)
    return (shares / shares.sum()).sort_values(list(counts)[::-1])


def _chart(shares: pd.DataFrame) -> Chart:
    names, colours = {"all": "all trained trials", "front": "front"}, {"all": Colour.TRIAL, "front": Colour.FRONT}
    bars = [
        Bars(names[column], list(map(str, shares.index)), list(100 * shares[column]), colours[column])
        for column in names
        if column in shares
    ]
    plane = Plane(Axis("Share of layers (%)", from_zero=True), Axis(""), bars)
    title = "Operators of the front and of all trials" if "front" in shares else "Operators of all trials"
    return Chart("operators", title, [plane])

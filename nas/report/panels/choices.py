"""Which choices of the space matter."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nas.report.blocks import Block, Table, Text
from nas.report.importance import LEAST, Importance, importances
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import trained
from nas.runs.folder.run import Run
from nas.units import number, plural


class Choices(Panel):
    """What the better networks have in common, as far as that is more than chance gives."""

    title = "Choices that matter"
    place = 61

    def applies(self, run: Run) -> bool:
        # A front of one has nothing to tell from the rest, and few networks tell nothing.
        return not run.running and len(run.front) > 1 and len(trained(run)) >= LEAST

    def blocks(self, run: Run) -> Sequence[Block]:
        found = importances(run)
        if found is None:
            return [Text("The journal of this run does not tell what was chosen for its networks.")]
        how = (
            f"What tells the better quarter of {plural(found.networks, 'network')}, by non-dominated rank, from the "
            f"rest: PED-ANOVA of {plural(found.choices, 'choice')} that half of them or more have, as a multiple of "
            "what the most important choice has by chance, which ranks that are shuffled tell: once is the most in "
            "95 % of the cases, and only what is above that is shown. The networks are not a random sample, as the "
            "search chose them; and what goes with a choice may be the reason instead."
        )
        if not found.found:
            return [Text("No choice stands out: each may matter as much by chance."), Text(how, "note")]
        table = Table(pd.DataFrame(map(_row, found.found)), "Choices that matter", ["Choice", "Most over-represented"])
        return [Text(how, "note"), table]


def _row(one: Importance) -> dict[str, str]:
    return {
        "Choice": one.name,
        "Importance (times chance)": number(one.times, 2),
        "90 % interval": f"{number(one.low, 2)} to {number(one.high, 2)}",
        "Most over-represented": one.value,
        "Among the better (%)": percent(one.among_better),
        "Among all (%)": percent(one.among_all),
    }

"""Reports of runs that ended early, or with little: what a page claims is what its tables hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nas.report.page import compose
from nas.runs.folder.run import Run

Change = Callable[[pd.DataFrame], pd.DataFrame]


def state(run: Run, trials: Change, front: Change | None = None, **record: Any) -> tuple[Run, str]:
    """The run with its tables changed, and its report; without a front unless one is given."""
    folder: Path = run.path
    table = pd.read_csv(folder / "trials.csv")
    trials(table).to_csv(folder / "trials.csv", index=False)
    if front:
        front(pd.read_csv(folder / "front.csv")).to_csv(folder / "front.csv", index=False)
    else:
        (folder / "front.csv").unlink()
    document = json.loads((folder / "run.json").read_text()) | record
    (folder / "run.json").write_text(json.dumps(document))
    changed = Run(folder)
    text = compose(changed).markdown
    assert not re.search(r"\bnan\b|\bNone\b(?! is)|\.\.", text), text
    return changed, text


def counts(**given: int) -> dict[str, int]:
    names = ("proposed", "rejected", "duplicates", "trained", "stopped_early", "failed")
    return dict.fromkeys(names, 0) | given


def test_nothing_was_trained(run: Run) -> None:
    _, text = state(run, lambda table: table.head(0), counts=counts(proposed=500, rejected=470, duplicates=30))
    assert "No network was trained, so there is no result." in text
    assert "There is no front: none of 500 proposed networks was inside the budget and could be built." in text
    for claim in ("each training used", "Accuracy against", "Each network was trained", "Validation accuracy", ".png"):
        assert claim not in text, claim


def test_every_training_failed(run: Run) -> None:
    lost: dict[str, Any] = {
        "state": "failed",
        "accuracy": math.nan,
        "test_accuracy": math.nan,
        "error": "memory ran out.",
    }
    _, text = state(run, lambda table: table.head(3).assign(**lost), counts=counts(proposed=3, failed=3))
    assert "There is no front: all 3 trainings failed; the first: memory ran out. The run may be" in text
    assert "0 networks trained on" in text and "| 3 | failed in training |" in text


def test_one_network_of_an_interrupted_run(run: Run) -> None:
    changed, text = state(run, lambda table: table.head(1), counts=counts(proposed=1, trained=1))
    row = changed.trials.iloc[0]
    assert f"The most accurate network so far: trial {row['trial']}." in text
    assert f"it reached {100 * row['accuracy']:.1f} " in text
    assert "There is no front: the trained networks were not measured yet. The run may be continued" in text
    assert "1 network trained on" in text and "The line" not in text and "## Picks" not in text


def test_one_network_that_was_measured(run: Run) -> None:
    only: Change = lambda table: table[table["trial"] == 23]  # noqa: E731
    changed, text = state(run, only, only, front_of=1, counts=counts(proposed=1, trained=1))
    assert "The only network trained: trial 23." in text and "One network was trained, so nothing stands" in text
    assert f"latency {changed.front['latency_ms'].iloc[0]:.3g} ms" in text and "There is no front" not in text


def test_two_networks_at_chance(run: Run) -> None:
    at_chance: Change = lambda table: table.head(2).assign(accuracy=1 / 12)  # noqa: E731
    changed, text = state(run, at_chance, at_chance, front_of=2, counts=counts(proposed=2, trained=2))
    assert "This is not clearly better than guessing." in text and "No other is offered" in text
    assert list(changed.picks()) == ["accuracy"] and "2 networks trained on" in text


def test_a_limit_of_another_program_is_shown_and_not_judged(run: Run) -> None:
    same: Change = lambda table: table  # noqa: E731
    changed, text = state(run, same, same, budget="7joules")
    assert changed.budget is None and "that keeps 7joules" not in text and "7joules" in text


def test_a_disturbed_pick_beside_the_front_says_by_what(run: Run) -> None:
    table, on = run.trials, run.front["trial"]
    beside = table[(table["accuracy"] > 0.5) & ~table["trial"].isin(on)]["trial"].iloc[0]
    same: Change = lambda table: table  # noqa: E731
    fast = {True: (0.5, "the fan failed"), False: (math.nan, "")}
    changed, text = state(
        run,
        lambda table: table.assign(
            latency_ms=[fast[trial == beside][0] for trial in table["trial"]],
            flags=[fast[trial == beside][1] for trial in table["trial"]],
        ),
        same,
    )
    assert changed.picks()["latency"] == beside and f"\N{DAGGER} Trial {beside}: the fan failed." in text


@pytest.mark.parametrize("name", ["macs", "latency_ms", "peak_memory_bytes", "accuracy", "test_accuracy"])
def test_what_the_headline_says_stands_in_the_table_of_the_front(run: Run, name: str) -> None:
    text = compose(run).markdown
    lead = text.split("## ")[0]
    row = run.row(run.pick_trial())
    scale = {"macs": 1e9, "peak_memory_bytes": 1e6, "latency_ms": 1.0}.get(name, 0.01)
    value = row[name] / scale
    shown = f"{value:.1f}" if scale == 0.01 else f"{value:.3g}"
    assert shown in lead
    line = next(line for line in text.splitlines() if line.startswith(f"| {row['trial']} | accuracy"))
    assert f"| {shown} |" in line or f"| {shown} " in line

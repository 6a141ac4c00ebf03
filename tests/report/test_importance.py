"""Which choices matter, of runs whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.pareto.front import pareto_rank
from nas.report import importance
from nas.report.importance import LEAST, choices, importances
from nas.report.panels.choices import Choices
from nas.runs.folder.run import Run
from nas.units import number

BEFORE = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"
COUNT = 60
KINDS: dict[str, list[Any]] = {"op": ["t2d", "tps", "full3d"], "deep": [1, 2], "width": [8, 16], "rare": [1, 2]}


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of networks whose accuracy follows from one choice; another is only there with one
    value of a third, and a fourth in few networks.
    """
    monkeypatch.setattr(importance, "DRAWN", 8)
    random = np.random.default_rng(0)
    lines, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for i in range(COUNT):
        trial = i + 5  # of the journal, which rejected some
        values: dict[str, Any] = {"op": random.choice(["t2d", "tps", "full3d"]), "deep": int(random.integers(1, 3))}
        values |= {"width": int(random.choice([8, 16]))} if i % 4 else {}
        values |= {"rare": int(random.choice([1, 2]))} if i % 4 == 0 else {}
        for name, value in values.items():
            kind = KINDS[name]
            distribution = distribution_to_json(CategoricalDistribution(kind))
            entry = {"param_name": name, "param_value_internal": kind.index(value), "distribution": distribution}
            lines.append({"trial_id": trial, **entry})
        lines.append({"trial_id": trial, "user_attr": {"index": i}})
        accuracy = 0.5 + 0.3 * (values["op"] == "tps") + 0.01 * random.normal()
        rows.append({"trial": i, "state": "finished", "accuracy": accuracy, "macs": 1e9, "operators": "tps*1"})
    (tmp_path / "study.log").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"trial_id": 9, "param_n')
    (tmp_path / "run.json").write_text(json.dumps({"space": "x"}))
    pd.DataFrame(rows).assign(params=1, activation_bytes=1).to_csv(tmp_path / "trials.csv", index=False)
    return Run(tmp_path)


def test_the_choice_that_decides_is_found_and_no_other(chosen: Run) -> None:
    found = importances(chosen)
    assert found and (found.networks, found.choices) == (COUNT, 3)
    (only,) = found.found
    assert (only.name, only.value, only.among_better) == ("op", "tps", 1.0)
    assert only.times > 3 and 1 < only.low < only.times < only.high
    ops = [trial.params["op"] for trial in choices(chosen.path, range(COUNT)).values()]
    assert only.among_all == pytest.approx(ops.count("tps") / COUNT)
    chosen.front = chosen.trials.head(2)
    said = "\n".join(block.markdown() for block in Choices().blocks(chosen))
    assert f"| op | {number(only.times, 2)} |" in said and "| tps | 100.0 |" in said


def test_choices_are_read_as_optuna_reads_them() -> None:
    storage = JournalStorage(JournalFileBackend(str(BEFORE / "study.log")))
    trials = optuna.load_study(study_name="nas", storage=storage).get_trials()
    known = {trial.user_attrs["index"]: trial for trial in trials if "index" in trial.user_attrs}
    found = choices(BEFORE, known)
    assert len(found) == 3
    for index, trial in found.items():
        assert (trial.params, trial.distributions) == (known[index].params, known[index].distributions)


def test_where_ranks_follow_from_no_choice_none_stands_out(chosen: Run) -> None:
    chosen.trials["accuracy"] = np.random.default_rng(3).permutation(COUNT) / COUNT
    found = importances(chosen)
    assert found and found.found == ()
    assert "No choice stands out" in Choices().blocks(chosen)[0].markdown()


def test_few_networks_or_a_front_of_one_say_nothing(chosen: Run) -> None:
    chosen.front = chosen.trials.head(1)
    assert not Choices().applies(chosen)
    chosen.front = chosen.trials.head(2)
    assert Choices().applies(chosen)
    (chosen.path / "study.log").unlink()
    assert importances(chosen) is None and "does not tell" in Choices().blocks(chosen)[0].markdown()
    chosen.trials = chosen.trials.head(LEAST - 1)
    assert not Choices().applies(chosen) and importances(chosen) is None


def test_equal_networks_say_nothing(chosen: Run) -> None:
    chosen.trials["accuracy"] = 0.5
    assert set(pareto_rank(chosen.objectives.points(chosen.trials), (True, False))) == {0}
    assert importances(chosen) is None

"""`nas check`: a run is spoilt in one file, and told by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import nas

from nas.runs.folder.consistency import check_run
from nas.trials.answers import AnswerBook

BEFORE = Path(__file__).parents[1] / "run_of_version_0.1"  # three trainings, confirmed and measured


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "run"))


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "study.log").read_text().splitlines()]


def with_entries(folder: Path, found: list[dict[str, Any]]) -> None:
    (folder / "study.log").write_text("".join(json.dumps(entry) + "\n" for entry in found))


def result_of(found: list[dict[str, Any]], trial: int) -> dict[str, Any]:
    return next(each for each in found if each.get("trial_id") == trial and "result" in each.get("user_attr", {}))


def result_twice(folder: Path) -> None:
    found = entries(folder)
    with_entries(folder, [*found, result_of(found, 1)])


def proposal_twice(folder: Path) -> None:
    found = entries(folder)
    documents = {each["trial_id"]: each["user_attr"] for each in found if "architecture" in each.get("user_attr", {})}
    documents[2]["architecture"] = documents[0]["architecture"]
    with_entries(folder, found)


def another_number(folder: Path) -> None:
    found = entries(folder)
    next(each for each in found if each.get("user_attr", {}).get("index") == 2)["user_attr"]["index"] = 3
    with_entries(folder, found)


def another_accuracy(folder: Path) -> None:
    found = entries(folder)
    result_of(found, 1)["user_attr"]["result"]["accuracy"] += 1e-6
    with_entries(folder, found)


def no_json(folder: Path) -> None:
    with (folder / "study.log").open("a") as file:
        file.write("}\n")


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        change(pd.read_csv(folder / name)).to_csv(folder / name, index=False)

    return changed


def another_network(folder: Path) -> None:
    shutil.copy(folder / "architectures" / "0.yaml", folder / "architectures" / "1.yaml")


def measured_nobody(folder: Path) -> None:
    path = folder / "measurements.json"
    path.write_text(json.dumps({"8": next(iter(json.loads(path.read_text()).values()))}))


def other_answers(folder: Path) -> None:
    AnswerBook(folder, {"val": [0] * 3}).add(1, 0, {"val": (1, 1, 1)})


def other_counts(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    document["counts"]["trained"] = 2
    (folder / "run.json").write_text(json.dumps(document))


def dominated(front: pd.DataFrame) -> pd.DataFrame:
    worse = front.iloc[[0]].assign(trial=1 if front["trial"].iloc[0] != 1 else 2, accuracy=0.0)
    return pd.concat([front, worse])


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "result twice": (result_twice, "has two results of trial 1"),
    "proposal twice": (proposal_twice, "proposes a network again as trial 2 (as 0)"),
    "another number": (another_number, "are not numbered 0 to 2 in order"),
    "another accuracy": (another_accuracy, "trials.csv and study.log say different things of trial 1"),
    "no JSON": (no_json, "study.log' cannot be read"),
    "row twice": (table("trials.csv", lambda t: pd.concat([t, t.iloc[[2]]])), "trials.csv has two rows of trial 2"),
    "row lost": (table("trials.csv", lambda t: t[t["trial"] != 1]), "trials.csv lacks trial 1, whose result study.log"),
    "row of nobody": (
        table("trials.csv", lambda t: pd.concat([t, t.iloc[[2]].assign(trial=7)])),
        "trials.csv has trial 7, of which study.log knows no result",
    ),
    "another network": (another_network, "has no file, or another network, of trial 1"),
    "no network": (lambda f: (f / "architectures" / "2.yaml").unlink(), "has no file, or another network, of trial 2"),
    "other counts": (other_counts, "run.json counts 2 trials, and study.log has 3"),
    "dominated": (table("front.csv", dominated), "which another one of it dominates"),
    "another mean": (
        table("front.csv", lambda t: t.assign(accuracy=t["accuracy"] + 1e-6)),
        "front.csv has other figures of trial",
    ),
    "confirmed twice": (table("confirm.csv", lambda t: pd.concat([t, t.iloc[[0]]])), "confirm.csv has two rows of"),
    "confirmed nobody": (
        table("confirm.csv", lambda t: pd.concat([t, t.iloc[[0]].assign(trial=9)])),
        "confirm.csv has trial 9, of which study.log knows no result",
    ),
    "other answers": (other_answers, "answers.jsonl gives another accuracy than is known of trial 1 (repeat 0)"),
    "measured nobody": (
        measured_nobody,
        "measurements.jsonl has trial 8",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_disagrees_is_named(folder: Path, name: str) -> None:
    spoil, sentence = SPOILT[name]
    before = check_run(folder)
    assert (before.problems, before.notes, before.trials) == ([], [], 3)
    spoil(folder)
    problems = check_run(folder).problems
    assert any(sentence in problem for problem in problems), problems


def test_what_a_kill_leaves_is_a_note(folder: Path) -> None:
    """A torn line, a draft, and results that no table has yet are what a resumed search mends."""
    table("trials.csv", lambda trials: trials[:2])(folder)
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"front_of": 2}))
    with (folder / "study.log").open("a") as file:
        file.write('{"op_code": 4, "work')
    (folder / ".trials.csv.4242").touch()
    findings = check_run(folder)
    assert findings.problems == []
    texts = ("is a draft of a process", "is torn; a resumed", "does not have the last 1 result of study.log yet")
    assert all(any(text in note for note in findings.notes) for text in texts) and len(findings.notes) == 3


def test_the_command_ends_with_0_or_2(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nas("check", str(folder), monkeypatch=monkeypatch)
    assert capsys.readouterr().out.endswith("run agree: 3 trials\n")
    result_twice(folder)
    nas("check", str(folder), monkeypatch=monkeypatch, code=2)
    assert capsys.readouterr().err.startswith("error: ")
    nas("check", str(tmp_path / "none"), monkeypatch=monkeypatch, code=2)
    assert "none' does not exist" in capsys.readouterr().err

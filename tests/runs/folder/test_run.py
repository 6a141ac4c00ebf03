from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.runs.folder.record import RunRecord
from nas.runs.folder.run import Run

ARCHITECTURE = """
name: small
input: {frames: 8, size: 32}
num_classes: 12
stem: {op: conv, kernel: [3, 3, 3], stride: [1, 2, 2]}
stages:
  - width: 16
    layers: [{op: d2plus1d}]
"""


def trial(number: int, accuracy: float | None, macs: float, **more: object) -> dict[str, object]:
    row: dict[str, object] = {"trial": number, "state": "finished", "accuracy": accuracy, "test_accuracy": None}
    row |= {"epochs": 6, "seconds": 10.0, "macs": macs, "params": 1e6, "activation_bytes": macs / 100}
    return row | {"latency_ms_predicted": None, "operators": "t2d*3 d2plus1d*2", "hash": f"{number:012x}"} | more


TRIALS = [
    trial(3, 0.8, 1e11),
    trial(0, 0.3, 1e9),
    trial(2, 0.7, 1e10, state="stopped"),
    trial(1, 0.2, 5e9),
    trial(4, None, 2e9, state="failed"),
]
# Against log10 of the cost the scaled losses are (1, 0), (0.2, 0.5), (0, 1): trial 2 is nearest to
# the ideal.
FRONT = [
    trial(3, 0.8, 1e11, latency_ms=30.0, peak_memory_bytes=5e8, activation_bytes=9e8),
    trial(2, 0.7, 1e10, latency_ms=9.0, peak_memory_bytes=9e8, activation_bytes=8e8),
    trial(0, 0.3, 1e9, latency_ms=10.0, peak_memory_bytes=7e8, activation_bytes=7e8),
]


def write(
    folder: Path, trials: list[dict[str, object]] | None = TRIALS, front: list[dict[str, object]] | None = FRONT
) -> Path:
    (folder / "architectures").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"space": "hybrid", "seed": 0}))
    for name, rows in (("trials.csv", trials), ("front.csv", front)):
        if rows is not None:
            pd.DataFrame(rows).to_csv(folder / name, index=False)
    return folder


def test_reads_and_sorts(tmp_path: Path) -> None:
    run = Run(write(tmp_path / "run"))
    assert run.path == tmp_path / "run"
    assert run.record == RunRecord(space="hybrid")
    assert run.trials["trial"].tolist() == [0, 1, 2, 3, 4]
    assert run.trials["accuracy"].isna().tolist() == [False, False, False, False, True]
    assert run.front["trial"].tolist() == [0, 2, 3]
    assert run.front["latency_p95_ms"].isna().all()
    assert run.front["pick"].tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("knee", 2), ("accuracy", 3), ("latency", 2), ("memory", 3), (1, 1), ("1", 1), ("2", 2)],
)
def test_pick_trial(tmp_path: Path, name: str | int, expected: int) -> None:
    assert Run(write(tmp_path / "run")).pick_trial(name) == expected


def test_memory_without_a_measured_peak_is_activation_memory(tmp_path: Path) -> None:
    front = [row | {"peak_memory_bytes": None} for row in FRONT]
    assert Run(write(tmp_path / "run", front=front)).pick_trial("memory") == 0


def test_ties_go_to_the_cheaper(tmp_path: Path) -> None:
    front = [trial(1, 0.5, 2e9, latency_ms=1.0), trial(0, 0.5, 1e9, latency_ms=1.0)]
    run = Run(write(tmp_path / "run", front=front))
    assert [run.pick_trial(name) for name in ("knee", "accuracy", "latency")] == [0, 0, 0]


def test_latency_nobody_measured(tmp_path: Path) -> None:
    front = [row | {"latency_ms": None} for row in FRONT]
    with pytest.raises(NasError, match="measured latency"):
        Run(write(tmp_path / "run", front=front)).pick_trial("latency")


def test_pick_is_the_architecture_of_the_trial(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    (folder / "architectures" / "2.yaml").write_text(ARCHITECTURE)
    picked = Run(folder).pick("knee")
    assert isinstance(picked, Architecture)
    assert picked.hash == load(folder / "architectures" / "2.yaml").hash
    with pytest.raises(NasError, match=r"3\.yaml' does not exist"):
        Run(folder).pick()  # the most accurate, unless one is named


@pytest.mark.parametrize("name", ["best", "-1", "1.5", "../2", ""])
def test_unknown_pick(tmp_path: Path, name: str) -> None:
    with pytest.raises(NasError, match=f"pick '{name}' is unknown; allowed: accuracy, knee, latency, memory"):
        Run(write(tmp_path / "run")).pick_trial(name)


def test_a_pick_of_very_many_digits_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"pick '9+\.\.\.9+' is unknown; allowed: accuracy, knee"):
        Run(write(tmp_path / "run")).pick_trial("9" * 5000)


@pytest.mark.parametrize("name", [4, "9"])
def test_untrained_trial(tmp_path: Path, name: str | int) -> None:
    with pytest.raises(NasError, match=rf"trial {name} .* was not trained; allowed: 0, 1, 2, 3"):
        Run(write(tmp_path / "run")).pick_trial(name)


@pytest.mark.parametrize("front", [None, []])
def test_no_front(tmp_path: Path, front: list[dict[str, object]] | None) -> None:
    folder = write(tmp_path / "run", front=None)
    if front is not None:
        pd.DataFrame(FRONT).head(0).to_csv(folder / "front.csv", index=False)
    run = Run(folder)
    assert run.front.empty
    assert run.pick_trial(3) == 3
    with pytest.raises(NasError, match="has no front"):
        run.pick_trial("knee")


def test_before_the_first_trial(tmp_path: Path) -> None:
    run = Run(write(tmp_path / "run", trials=None, front=None))
    assert run.trials.empty
    with pytest.raises(NasError, match="nothing was trained"):
        run.pick_trial(0)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="does not exist"):
        Run(tmp_path / "missing")
    with pytest.raises(NasError, match=r"has no run\.json"):
        Run(tmp_path)
    for text, message in (("{", "is not JSON"), ("[1]", "holds a list")):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(NasError, match=message):
            Run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a table"),
        ("trial,accuracy\n1,0.5\n", "has no column 'state'"),
        ("trial,state,accuracy,macs,params,activation_bytes,operators\n1,finished,high,1,1,1,t2d\n", "no number"),
        ("trial,state,accuracy,macs,params,activation_bytes,operators\n1,finished,,1,1,1,t2d\n", "lacks accuracy"),
        ("trial,state,accuracy,macs,params,activation_bytes,operators\n1,finished,0.5,0,1,1,t2d\n", "lacks accuracy"),
        ("trial,state,accuracy,macs,params,activation_bytes,operators\n,finished,0.5,1,1,1,t2d\n", "no number"),
    ],
)
def test_broken_table(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path / "run")
    (folder / "trials.csv").write_text(text)
    with pytest.raises(NasError, match=message):
        Run(folder)


def test_what_is_near_chance_is_no_pick_but_the_default(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    (folder / "run.json").write_text(json.dumps({"chance": 0.25, "clips": {"val": 100}}))
    run = Run(folder)
    # .3 is within two errors of .0458 of chance: trial 0 is the cheapest in memory, and no offer.
    assert run.picks() == {"accuracy": 3, "knee": 3, "latency": 2, "memory": 3}
    (folder / "run.json").write_text(json.dumps({"chance": 0.75, "clips": {"val": 100}}))
    run = Run(folder)
    assert run.pick_trial() == 3
    with pytest.raises(NasError, match=r"is offered of networks clearly above chance, and run .* has none"):
        run.pick_trial("latency")


def test_a_row_of_a_trial(tmp_path: Path) -> None:
    run = Run(write(tmp_path / "run"))
    assert run.row(3)["latency_ms"] == 30.0 and run.row(1)["accuracy"] == 0.2
    with pytest.raises(NasError, match=r"trial 9 of run .* was not trained"):
        run.row(9)

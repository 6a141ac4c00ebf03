"""A whole search, small, on real processes."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import yaml
from ray._private.authentication.authentication_utils import AuthenticationMode, get_authentication_mode

import nas
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.measure import Measurement
from nas.runs.planning import plan
from nas.runs.search import resume
from nas.runs.stages import measuring
from nas.trials.cluster import connect, session

LAYERS = [
    {"op": "full3d", "temporal_kernel": {"choice": [1, 3]}},
    {"op": "factorized", "heads": 2},
    {"op": "d2plus1d", "modules": 1},
]
SPACE = {
    "input": {"frames": 4, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [{"width": {"choice": [8, 16, 32]}, "layers": {"repeat": 2, "layer": {"choice": LAYERS}}}],
}
SMALL: dict[str, Any] = {
    "train_clips": 48,
    "val_clips": 24,
    "epochs": 1,
    "proxy_frames": 4,
    "proxy_size": 16,
}
SMALL |= {"measure_seconds": 0.2, "confirm_seeds": 0, "baselines": "none"}


def search(folder: Path, **options: Any) -> nas.Run:
    space = folder.parent / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    options = {"budget": "20mflops", "data": "motion", "workers": 2, "quiet": True, **SMALL, **options}
    return nas.search(space, out=folder, **options)


class MakesFolder:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """A Ray for all tests that ask for it: a search uses the one that is there, and leaves it."""
    with session():
        connect(None, 2)
        yield


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network takes 3 ms: measuring one takes a process of its own."""
    latency = Latency(n=50, median=3.0, iqr=0.1, p90=3.1, p95=3.2, samples=[3.0])
    measurement = Measurement(latency, 1000, "a-machine", Environment(), [])
    monkeypatch.setattr(measuring, "_measured", lambda *_: measurement)


def test_ray_listens_on_this_machine_alone_and_asks_for_a_token(one_ray: None) -> None:
    """What listens on every address of the machine takes connections to 127.0.0.2 too."""
    node = ray.nodes()[0]
    ports = [node["NodeManagerPort"], node["ObjectManagerPort"], ray.get_runtime_context().gcs_address.split(":")[1]]
    for port in map(int, ports):
        socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 5)
    assert get_authentication_mode() == AuthenticationMode.TOKEN


def test_a_search_ends_with_a_front_that_builds(tmp_path: Path) -> None:
    run = search(tmp_path / "one", trials=2)
    assert len(run.trials) == 2 and (run.trials["state"] == "finished").all()
    assert (run.front["macs"] <= 20e6).all() and (run.front["latency_ms"] > 0).all()
    assert run.trials["test_accuracy"].notna().all()
    for name in ("run.json", "space.yaml", "study.log", "trials.csv", "front.csv", "measurements.jsonl", "best.yaml"):
        assert (run.path / name).is_file(), name
    program = (
        "import sys, torch, nas; m = nas.build(nas.load(sys.argv[1])); "
        "print(m(torch.zeros(1, 3, 4, 32, 32)).shape[1], 'ray' in sys.modules, 'optuna' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(run.path / "best.yaml")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
        "12",
        "False",
        "False",
    ]


def test_a_search_resumes_and_repeats(tmp_path: Path, one_ray: None, unmeasured: None) -> None:
    run = search(tmp_path / "one", trials=2, storage=tmp_path / "store")
    columns = ["trial", "hash", "accuracy"]
    # What Ray wrote is pickles, and whoever hands a run folder over could have written others.
    hostile = pickle.dumps(MakesFolder(tmp_path / "ran"))
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert "tuner.pkl" in {path.name for path in written}
    for path in written:
        path.write_bytes(hostile)
    more = resume(run.path, trials=3, quiet=True, storage=tmp_path / "store")
    assert not (tmp_path / "ran").exists()
    pd.testing.assert_frame_equal(more.trials[columns].head(2), run.trials[columns])
    assert len(more.trials) == 3
    again = search(tmp_path / "two", trials=3)
    pd.testing.assert_frame_equal(again.trials[columns], more.trials[columns])


def test_the_front_is_confirmed_and_random_search_stands_beside(
    tmp_path: Path, one_ray: None, unmeasured: None
) -> None:
    run = search(tmp_path / "run", trials=5, confirm_seeds=1, control="random:0.4", workers=1)
    assert len(run.trials) == 3 and run.control["by"].value_counts().to_dict() == {"search": 3, "random": 2}
    assert (run.path / "control" / "architectures" / "1.yaml").is_file()
    assert (run.front["seeds"] == 2).all() and run.front["accuracy_se"].notna().all()

    # A confirmation that was cut off is done again as it would have been done; a whole one is not.
    file = run.path / "confirm.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]) + lines[-1][:-3])
    again = resume(run.path, quiet=True)
    columns = ["trial", "accuracy", "accuracy_se", "test_accuracy", "seeds"]
    pd.testing.assert_frame_equal(again.front[columns], run.front[columns])
    kept = file.read_text().splitlines(keepends=True)
    assert kept[:-1] == lines[:-1] and len(kept) == len(lines)
    assert len(again.trials) == 3 and len(again.control) == 5


def test_a_latency_limit_is_predicted_from_layers_that_are_measured_first(tmp_path: Path, one_ray: None) -> None:
    run = search(tmp_path / "run", budget="20mflops,2000ms,1gb-inference", trials=2, workers=1)
    assert (run.trials["latency_ms_low"] < run.trials["latency_ms_predicted"]).all()
    assert (run.trials["latency_ms_predicted"] < run.trials["latency_ms_high"]).all()
    assert (run.path / "latency_table.csv").is_file()
    with pytest.raises(nas.NasError, match=r"nearest candidate has .* ms as predicted, which misses 0.001ms"):
        search(tmp_path / "none", budget="0.001ms", trials=1)


def test_trainings_that_no_memory_is_enough_for_do_not_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_ray: None
) -> None:
    monkeypatch.setattr(plan, "trial_memory", lambda *_: 1000.0)
    with pytest.raises(
        nas.NasError, match=r"no candidate was trained: training on one clip takes .* 1e-06 GB are ther"
    ):
        search(tmp_path / "run", trials=3, workers=1)
    states = pd.read_csv(tmp_path / "run" / "trials.csv")["state"]
    assert states.tolist() == ["failed"] * 3


def test_what_cannot_work_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.csv").write_text("path,label\na.mp4,x\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("{}")
    for options, message in (
        ({"budget": "0.001gflops"}, "budget '0.001gflops' cannot be met .* nearest candidate has .* misses"),
        ({"data": tmp_path / "nothing"}, "nothing"),
        ({"data": tmp_path / "empty"}, "empty"),
        ({"data": tmp_path / "one.csv"}, "one.csv"),
        ({"out": tmp_path / "old"}, "holds a run already"),
        ({"sampler": "guess"}, "sampler 'guess' is unknown; allowed: pareto, tpe"),
        ({"space": "vit", "proxy_size": 33}, r"stem.size: \[.*\] does not divide the input's height 33"),
        ({"device": "cuda:9"}, "cuda"),
        ({"proxy_frames": 1}, "proxy_frames 1 shows no motion; allowed: 2 to 16"),
        ({"proxy_size": 500}, "proxy_size 500 is more than the search space has; allowed: 2 to"),
    ):
        arguments: dict[str, Any] = {"space": "tiny", "trials": 1, "quiet": True, "out": tmp_path / "run", **options}
        with pytest.raises(nas.NasError, match=message):
            nas.search(**arguments)
    assert not (tmp_path / "run").exists()

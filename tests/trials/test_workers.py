"""Trainings in workers of Ray Train against the same in this process."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError

from nas.architecture import Architecture
from nas.architecture.registry import ENVIRONMENT
from nas.errors import Interrupted, NasError
from nas.trained.folder import load_model
from nas.trained.moment import Moment
from nas.trained.outcome import TEST
from nas.trained.plan import Plan, TrainSettings
from nas.trained.train import SessionState, planned, resume, train
from nas.training.state import Progress, write_state
from nas.trials import workers as module
from nas.trials.cluster import connect, session
from nas.trials.workers import Room, _persist, run_on_workers

NETWORK = {
    "input": {"frames": 2, "size": 8},
    "num_classes": 2,
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 4, 4]},
    "stages": [{"width": 8, "layers": [{"op": "full3d"}]}],
}
GOES_ON, BEGINS = "new workers go on from the last state", "new workers begin again"
# An extension of the workers: the second one dies before the seventh step, once, and steps after
# the eighth take so long that the driver looks before the last.
DYING = """
import os, signal, time
from pathlib import Path
from nas.training.loop import Training

def slow(training, step=Training.step):
    died = Path(__file__).with_suffix(".died")
    if training.workers.rank == 1 and training.steps_done == 6 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if training.steps_done >= 8:
        time.sleep(0.5)
    return step(training)

if os.environ["NAS_TEST_DRIVER"] != str(os.getpid()):
    Training.step = slow
"""


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Forty clips to train on, half of them bright; batches of 9 are shared as 4 and 5."""
    labels = np.arange(60) % 2
    noise = np.random.default_rng(0).integers(0, 100, (60, 2, 10, 10, 3))
    pixels = (noise + 40 * labels[:, None, None, None, None]).astype(np.uint8)
    splits = np.repeat(["train", "val", "test"], [40, 12, 8])
    np.savez(tmp_path / "clips.npz", videos=pixels, labels=labels, split=splits)

    def make(out: str, **settings: Any) -> Plan:
        common: dict[str, Any] = {"epochs": 4, "batch": 9, "device": "cpu", "threads": 1} | settings
        named = TrainSettings(data=str(tmp_path / "clips.npz"), out=str(tmp_path / out), **common)
        return Plan.of(named, Architecture.parse(NETWORK))

    return make


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A Ray whose workers have the extension."""
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "dying.py"))
    monkeypatch.setenv("NAS_TEST_DRIVER", str(os.getpid()))
    ray.shutdown()  # one that another test has left would know nothing of the extension
    with session():
        connect(None, 2, 0)
        yield


def silent(text: str) -> None:
    pass


def curve(folder: Path) -> list[list[float]]:
    with (folder / "curves.csv").open() as file:
        return [[float(row[name]) for name in ("epoch", "steps", "loss", "rate")] for row in csv.DictReader(file)]


def test_two_workers_give_the_losses_of_one_whatever_happens_to_them(
    plan: Callable[..., Plan], cluster: None, tmp_path: Path
) -> None:
    """One of them is killed, and others go on; they are stopped by Ctrl-C, and a process alone,
    which takes the whole of every batch at once, comes to the end. Batch normalisation included.
    """
    alone, shared = plan("alone"), plan("shared", workers=2)
    train(alone, say=silent)
    said: list[str] = []

    interrupted: list[Moment] = []

    def interrupt(moment: Moment) -> None:
        if moment.epoch == 3 and not interrupted:
            interrupted.append(moment)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(
        Interrupted, match=r"stopped after (9|1\d) steps, which are kept; go on with nas train --resume"
    ):
        train(shared, interrupt, said.append, partial(run_on_workers, Room(None, 1, 0, 0)))
    assert (tmp_path / "dying.died").exists()
    assert said[:2] == [f"worker 1 died; {GOES_ON}", "goes on after 4 steps"]
    settings = tmp_path / "shared" / "training" / "settings.json"
    assert "address" not in settings.read_text()
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"workers": 1, "micro_batch": None}))
    model = resume(shared.settings.out, say=silent)
    found, expected = (curve(Path(each.settings.out)) for each in (shared, alone))
    assert [row[:2] for row in found] == [[1, 4], [2, 8], [3, 12], [4, 16]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert model.record.figures[TEST].clips == 8 and TEST in load_model(tmp_path / "shared" / "last").record.figures


def test_workers_are_replaced_while_there_is_progress(tmp_path: Path) -> None:
    """Three failures in a row are borne, before the first state and after it."""
    said: list[str] = []
    state = tmp_path / "training" / "state.safetensors"
    state.parent.mkdir()
    numbers = iter(range(7))

    def attempt() -> str:
        number = next(numbers)
        if number == 6:
            return "done"
        if number == 3:
            state.touch()
        raise WorkerGroupError("", {0: RuntimeError("connection lost"), 1: ActorDiedError()} if number else {})

    assert _persist(attempt, tmp_path, said.append) == "done"
    assert said[0].startswith("WorkerGroupError") and said[0].endswith(BEGINS)
    assert said[1:] == [f"worker 1 died; {BEGINS}"] * 2 + [f"worker 1 died; {GOES_ON}"] * 3


def test_the_time_of_lost_workers_counts(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips are read in 3 s. The first workers die after 10 s without a state, the second ones
    after 20 s with one that counts up to 2 s before; a training resumed began at 100 s.
    """
    now, spent, state = [0.0], list[float](), tmp_path / "out" / "training" / "state.safetensors"
    state.parent.mkdir(parents=True)

    def write(seconds: float) -> None:
        progress = Progress(1, 1, 1.0, 1.0, 1, 0, 1, "")
        write_state(state, {"x": torch.zeros(1)}, SessionState(progress, seconds=seconds))

    def read(*_: Any) -> None:
        now[0] += 3

    def follow(job: Any, *_: Any) -> None:
        spent.append(job.spent)
        if len(spent) % 3 == 0:
            return
        now[0] += 10 * (len(spent) % 3)
        if len(spent) % 3 == 2:
            write(before + now[0] - 2)
        raise WorkerGroupError("", {1: ActorDiedError()})

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.Decoded, "read", read)
    for name, value in {"session": nullcontext, "connect": read, "ray": MagicMock()}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "NodeAffinitySchedulingStrategy", MagicMock())
    monkeypatch.setattr(module, "_trainer", lambda job, *_: job)
    monkeypatch.setattr(module, "_follow", follow)
    for before in (0.0, 100.0):
        now[0] = 0.0
        if before:
            write(before)
        run_on_workers(Room(None, 1, 0, 0), plan("out", workers=2), tmp_path / "out", lambda moment: None, silent)
    assert spent == [6, 16, 2, 6, 16, 2]


def test_what_cannot_go_on_ends_in_a_sentence(tmp_path: Path) -> None:
    def fail(error: Exception) -> str:
        tried: list[int] = []

        def attempt() -> None:
            tried.append(len(tried))
            raise error

        with pytest.raises(NasError) as raised:
            _persist(attempt, tmp_path, silent)
        return f"{len(tried)}: {raised.value}"

    mendable = WorkerGroupError("", {0: RuntimeError("connection lost"), 1: NasError("loss nan; allowed: none")})
    assert fail(mendable) == "1: loss nan; allowed: none"
    bug = WorkerGroupError("", {0: KeyError("x")})
    last = "4: workers failed 4 times in a row without a new state, at last as KeyError: 'x'; allowed: {}, on machines "
    assert fail(bug).startswith(last.format("the same command again"))
    lost = fail(ActorDiedError())
    assert lost.startswith("1: Ray lost what looks after the workers (ActorDiedError") and lost.endswith(
        "command again"
    )
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "state.safetensors").touch()
    assert fail(bug).startswith(last.format(f"nas train --resume {tmp_path}"))
    assert fail(ActorDiedError()).endswith(f"allowed: nas train --resume {tmp_path}")


def test_there_is_room_for_as_many_workers_as_cores(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 7)
    made = plan("out", workers=3, threads=None)
    assert Room.of(made) == Room(None, 2, 0, 0)
    with pytest.raises(NasError, match=r"workers 8 of 1 thread each are more than this machine .* up to 7$"):
        Room.of(replace(made, settings=replace(made.settings, workers=8)))
    with pytest.raises(NasError, match=r"workers 3 of 3 threads each .* allowed: up to 2, or fewer --threads"):
        Room.of(replace(made, settings=replace(made.settings, threads=3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 10}, "workers 10 are more than the 9 clips of a batch; allowed: 1 to 9"),
        ({"workers": 2, "device": "cuda:0"}, "device 'cuda:0' is one GPU, and each worker takes one of its own"),
        ({"workers": 2, "micro_batch": 1}, "a batch of 9 clips in micro-batches of one does not divide by 2 w"),
    ],
)
def test_workers_that_cannot_be_are_refused(settings: dict[str, Any], message: str, plan: Callable[..., Plan]) -> None:
    with pytest.raises(NasError, match=message):
        plan("out", **settings)


def test_a_plan_is_of_a_workers_share(plan: Callable[..., Plan]) -> None:
    alone, shared = plan("out"), plan("out", workers=2)
    assert (alone.micro_batch, shared.micro_batch) == (9, 5)
    assert shared.step_bytes < alone.step_bytes
    assert "2 workers: each takes up to 5 clips of every batch" in shared.reasons


def test_threads_that_decode_were_workers_once(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """In settings of form 1."""
    made = plan("out")
    folder = tmp_path / "out" / "training"
    folder.mkdir(parents=True)
    made.architecture.save(folder / "architecture.yaml")
    (folder / "settings.json").write_text(f'{{"schema": 1, "data": "{made.settings.data}", "out": "x", "workers": 7}}')
    settings = planned(tmp_path / "out").settings
    assert (settings.decoders, settings.workers) == (7, 1)

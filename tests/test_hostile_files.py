"""Files that would run code if they were unpickled or evaluated: nothing of them runs, and the
answer is one sentence, whatever the file is called and whoever reads it.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas.architecture import load
from nas.data.datasets import open_data
from nas.data.sampling import Sampling
from nas.data.video import read_view
from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.profiler.tables.remote import import_latency
from nas.profiler.tables.table import Table
from nas.profiler.target import load_target
from nas.runs.folder.confirmations import CONFIRMATIONS, read_confirmations
from nas.runs.folder.measurements import MEASUREMENTS, OLD_MEASUREMENTS, read_measurements
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS
from nas.runs.search import resume
from nas.space import SearchSpace
from nas.trained.folder import load_model
from nas.trained.zero_shot import read_class_vectors
from nas.training.recipe import read_recipe
from nas.training.state import Progress, read_state
from nas.trials.proposer import Proposer
from nas.trials.results import STUDY
from nas.weights.checkpoints import load_state

MARKER = "nas-was-here"


class Evil:
    """Writes a file of the current folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARKER,)


def saved(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def arrays(write: Callable[..., Any], *args: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    write(file, *args, **options)
    return file.getvalue()


OBJECTS = np.array([Evil(), {"a": 1}], dtype=object)
HOSTILE = {
    "pickle": pickle.dumps(Evil()),
    "pickle of text": pickle.dumps({"path,label": Evil()}, 0),
    "torch": saved({"parts.0.weight": torch.zeros(2), "epoch": Evil()}),
    "torch, old": saved({"model": Evil()}, _use_new_zipfile_serialization=False),
    "npy": arrays(np.save, OBJECTS, allow_pickle=True),
    "npz": arrays(np.savez, weights=OBJECTS),
    "yaml": f"input: !!python/object/apply:os.mkdir ['{MARKER}']\n".encode(),
    "yaml of a name": b"input: !!python/name:os.system\nstages: !!python/module:os\n",
    "json": b'{"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": ["nas-was-here"]}]}\n',
    "python": f"__import__('os').mkdir('{MARKER}')\n".encode(),
    "shell": f"$(mkdir {MARKER}) `mkdir {MARKER}`; mkdir {MARKER}\n".encode(),
    "template": f"path,label\n{{{{ cycler.__init__.__globals__.os.mkdir('{MARKER}') }}}},a\n".encode(),
}


def in_run(name: str, read: Callable[[Path], object]) -> tuple[str, Callable[[Path], object]]:
    """A reader of a run folder, of whose files one is hostile."""

    def reading(path: Path) -> object:
        (path.parent / "run.json").exists() or (path.parent / "run.json").write_text("{}")
        return read(path.parent)

    return name, reading


def tiny_gate() -> Gate:
    return Gate(SearchSpace.load("tiny"), Budget.parse("100gflops"))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{f"weights{ending}": (f"weights{ending}", load_state) for ending in (".pt", ".pth", ".bin", ".safetensors")},
    **{f"weights{ending}": (f"weights{ending}", load_state) for ending in (".ckpt", ".pkl", ".npz", ".npy")},
    "weights of a folder": ("pytorch_model.bin", lambda path: load_state(path.parent)),
    "architecture": ("network.yaml", load),
    "architecture to profile": ("network.yaml", load_target),
    "space": ("space.yaml", SearchSpace.load),
    "recipe": ("recipe.yaml", read_recipe),
    "list": ("list.csv", open_data),
    "list without head": ("list.txt", open_data),
    "clips": ("clips.npz", open_data),
    "clips, not compressed": ("clips.npy", open_data),
    "trained, weights": ("model.safetensors", lambda path: load_model(path.parent)),
    "video": ("video.mp4", lambda path: read_view(path, Sampling(2, (8, 8)))),
    "latency table": ("table.csv", Table.load),
    "latencies of a device": ("list.csv", lambda path: import_latency(path, "phone")),
    "state of a training": ("state.safetensors", lambda path: read_state(path, Progress)),
    "vectors of classes": ("vectors.safetensors", read_class_vectors),
    "trained": ("model.json", lambda path: load_model(path.parent)),
    "record": in_run("run.json", Run),
    "record of a resumed run": in_run("run.json", lambda folder: resume(folder, quiet=True)),
    "trials": in_run(TRIALS, Run),
    "front": in_run(FRONT, Run),
    "control": in_run("control.csv", Run),
    "confirmations": in_run(CONFIRMATIONS, read_confirmations),
    "measurements": in_run(MEASUREMENTS, lambda folder: read_measurements(folder, "here")),
    "measurements of before": in_run(OLD_MEASUREMENTS, lambda folder: read_measurements(folder, "here")),
    "journal": in_run(STUDY, lambda folder: Proposer(tiny_gate(), folder, seed=0)),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_a_file_holds_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    monkeypatch.chdir(tmp_path)
    name, read = READERS[reader]
    for kind, content in HOSTILE.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / name).write_bytes(content if content.endswith(b"\n") else content + b"\n")
        if (reader, kind) == ("record", "json"):  # fields that no record has, which are left
            assert read(folder / name)
            continue
        with pytest.raises(NasError) as refused:
            read(folder / name)
        message = str(refused.value)
        assert "\n" not in message and "allowed" in message, (kind, message)
        assert not (tmp_path / MARKER).exists() and not (folder / MARKER).exists(), kind


def test_the_hostile_files_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker appears where a file is unpickled: else the test above would show nothing."""
    monkeypatch.chdir(tmp_path)
    for kind in ("pickle", "pickle of text"):
        pickle.loads(HOSTILE[kind])
        (tmp_path / MARKER).rmdir()
    for kind in ("torch", "torch, old"):
        torch.load(io.BytesIO(HOSTILE[kind]), weights_only=False)
        (tmp_path / MARKER).rmdir()
    np.load(io.BytesIO(HOSTILE["npz"]), allow_pickle=True)["weights"]
    (tmp_path / MARKER).rmdir()


def test_a_checkpoint_beside_its_hostile_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole and harmless checkpoint is read from where hostile files lie."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sitecustomize.py").write_bytes(HOSTILE["python"])
    (tmp_path / "torch.py").write_bytes(HOSTILE["python"])
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "weights.pt")
    assert load_state(tmp_path / "weights.pt")["w"].tolist() == [1, 1]
    assert nas.load("vov3d_m").stages
    assert not (tmp_path / MARKER).exists()

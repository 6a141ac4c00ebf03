from __future__ import annotations

import argparse
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import nas
from nas.weights.checkpoints import load_state


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_file_with_code_is_not_run(writer: str, tmp_path: Path) -> None:
    data = {"model": Payload(tmp_path / "ran")}
    if writer == "torch":
        torch.save(data, tmp_path / "image.pt")
    else:
        (tmp_path / "image.pt").write_bytes(pickle.dumps(data, protocol=2))
    with pytest.raises(nas.NasError) as caught:
        load_state(tmp_path / "image.pt")
    assert str(caught.value) == (
        f"checkpoint {str(tmp_path / 'image.pt')!r} holds objects other than tensors (getattr); "
        "allowed: the state dict alone"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_archive_is_named_without_the_advice_to_trust_it(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "image.pt")
    with pytest.raises(nas.NasError) as caught, warnings.catch_warnings(action="error"):
        load_state(tmp_path / "image.pt")
    assert str(caught.value) == (
        f"checkpoint {str(tmp_path / 'image.pt')!r} is a TorchScript archive; "
        "allowed: its state dict, saved by torch.save or as safetensors"
    )


def test_objects_beside_the_tensors_are_named(tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.ones(2)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "image.pt")
    with pytest.raises(
        nas.NasError, match=r"other than tensors \(argparse.Namespace\); allowed: the state dict alone$"
    ):
        load_state(tmp_path / "image.pt")


def test_a_folder_holds_one_of_the_usual_files(tmp_path: Path) -> None:
    with pytest.raises(nas.NasError, match=r"a folder without model.safetensors or pytorch_model.bin"):
        load_state(tmp_path)
    torch.save({"x": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert load_state(tmp_path)["x"].tolist() == [1.0, 1.0]
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert load_state(str(tmp_path))["x"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("source", [5, None, b"image.pt"])
def test_what_is_no_name_is_refused(source: Any) -> None:
    with pytest.raises(nas.NasError, match="is no name; allowed"):
        load_state(source)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("length", [0, 5, 1000])
def test_a_truncated_file_is_refused(suffix: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    state = {"weight": torch.ones(400, 3)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(nas.NasError, match="cannot be read as plain tensors; allowed") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


def test_files_without_tensors_and_of_other_formats_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "image.pt")
    (tmp_path / "image.npz").write_bytes(b"")
    with pytest.raises(nas.NasError, match="holds no tensors"):
        load_state(tmp_path / "image.pt")
    with pytest.raises(nas.NasError, match=r"has the format '.npz'; allowed: .safetensors, .pt, .pth, .bin"):
        load_state(tmp_path / "image.npz")


@pytest.mark.parametrize(
    "name", ["missing.pt", "folder/missing.safetensors", "no such file", "/a/b/c", "", "x" * 5000, "a\0b"]
)
def test_a_missing_file_is_refused(name: str) -> None:
    with pytest.raises(nas.NasError, match="is no file; allowed"):
        load_state(name)


# ------------------------------------------------------------------------------------------ the hub


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(nas.NasError, match=r"pip install video-nas\[hub\]"):
        load_state("organisation/name")


class Hub:
    """Stands in for the package huggingface_hub, with one file in every repository."""

    class EntryNotFoundError(Exception): ...

    class LocalEntryNotFoundError(EntryNotFoundError): ...

    def __init__(self, file: str, path: Path) -> None:
        self.file, self.path = file, path
        self.errors = self

    def hf_hub_download(self, repo: str, file: str) -> str:
        if repo == "organisation/private":
            raise OSError("401\nno permission")
        if repo == "organisation/offline":
            raise self.LocalEntryNotFoundError("no connection.")
        if file != self.file:
            raise self.EntryNotFoundError
        return str(self.path)


def test_the_usual_files_of_the_hub_are_tried_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub("pytorch_model.bin", tmp_path / "pytorch_model.bin")
    torch.save({"x": torch.ones(2)}, hub.path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub)
    assert load_state("organisation/name")["x"].tolist() == [1.0, 1.0]
    with pytest.raises(nas.NasError, match=r"has none of other.bin; allowed: organisation/name:file"):
        load_state("organisation/name:other.bin")
    with pytest.raises(nas.NasError, match=r"'organisation/private' cannot be downloaded \(401\)"):
        load_state("organisation/private")
    with pytest.raises(nas.NasError, match=r"'organisation/offline' cannot be downloaded \(no connection\); allowed"):
        load_state("organisation/offline")

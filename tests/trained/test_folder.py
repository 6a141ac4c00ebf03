from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import nas
from nas.architecture import Architecture
from nas.data.preprocessing import Preprocessing
from nas.errors import NasError
from nas.models.network import build
from nas.trained import folder as folder_module
from nas.trained.folder import FILES, Figure, ModelRecord, Provenance, TrainedModel, load_model

CLASSES = ("left", "right", "ü & <b>")


def architecture(width: int = 8) -> Architecture:
    return Architecture.parse(
        {
            "input": {"frames": 4, "size": 16},
            "num_classes": 3,
            "stem": {"op": "conv", "stride": [1, 4, 4]},
            "stages": [{"width": width, "layers": [{"op": "t2d", "heads": 2}]}],
        }
    )


def model(seed: int = 0, width: int = 8) -> TrainedModel:
    torch.manual_seed(seed)
    record = ModelRecord(
        CLASSES,
        Preprocessing.of_input(4, (16, 16)),
        {"validation accuracy": Figure(0.75, 8)},
        Provenance(run="nagoya", trial=4, epochs=3),
    )
    return TrainedModel(build(architecture(width)), record)


def clip() -> torch.Tensor:
    return torch.randn(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def outputs(trained: TrainedModel) -> list[float]:
    with torch.inference_mode():
        values: list[float] = trained.network(clip())[0].tolist()
    return values


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = model()
    saved.save(tmp_path / "runs" / "best")
    assert sorted(os.listdir(tmp_path / "runs" / "best")) == sorted(FILES)
    loaded = nas.load_model(tmp_path / "runs" / "best")
    assert loaded.record == saved.record
    assert (loaded.name, loaded.classes, loaded.network.training) == ("best", CLASSES, False)
    assert outputs(loaded) == outputs(saved)
    assert nas.load(tmp_path / "runs" / "best" / "architecture.yaml") == architecture()


def test_others_may_read_the_weights_as_they_may_read_the_record(tmp_path: Path) -> None:
    """A folder to hand on: all its files have the mode of any new file."""
    old = os.umask(0o022)
    try:
        model().save(tmp_path)
    finally:
        os.umask(old)
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in FILES} == dict.fromkeys(FILES, 0o644)


def test_a_second_network_takes_the_place_of_the_first_and_other_files_stay(tmp_path: Path) -> None:
    model(0).save(tmp_path)
    (tmp_path / "curves.csv").write_text("kept")
    second = model(1, width=16)
    second.save(tmp_path)
    assert outputs(load_model(tmp_path)) == outputs(second)
    assert (tmp_path / "curves.csv").read_text() == "kept"


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_killed_while_files_move_the_new_network_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """The first rename makes the new network count; a kill after any later one leaves it whole."""
    model(0).save(tmp_path)
    second, third = model(1, width=16), model(2)
    real, left = os.replace, iter([True] * (1 + moves))

    def replace(source: Path, target: Path) -> None:
        if target.parent == tmp_path and not next(left, False):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module.os, "replace", replace)
        if moves < 3:
            with pytest.raises(KeyboardInterrupt):
                second.save(tmp_path)
        else:
            second.save(tmp_path)
    assert outputs(load_model(tmp_path)) == outputs(second)
    third.save(tmp_path)
    assert outputs(load_model(tmp_path)) == outputs(third)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


def test_killed_while_it_writes_the_old_network_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model(0)
    first.save(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_tensors", broken)
        with pytest.raises(NasError, match=r"cannot be written.*No space left"):
            model(1).save(tmp_path)
    assert outputs(load_model(tmp_path)) == outputs(first)


def test_nothing_that_is_written_names_this_machine(tmp_path: Path) -> None:
    model().save(tmp_path)
    text = (tmp_path / "model.json").read_text()
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="none' is no folder; allowed: a folder that `nas train` wrote"):
        load_model(tmp_path / "none")
    for file in FILES:
        model().save(tmp_path / file)
        (tmp_path / file / file).unlink()
        with pytest.raises(NasError, match=f"has no {file}"):
            load_model(tmp_path / file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has the schema 2, of a newer nas; allowed: up to 1"),
        ({"classes": ["left", "right"]}, "has 3 outputs and 2 classes"),
        ({"classes": []}, "classes is "),
        ({"preprocessing": None}, "preprocessing is None"),
        ({"figures": {"accuracy": 3}}, "figures.accuracy is 3"),
    ],
)
def test_record_that_does_not_fit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    model().save(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(NasError, match=message):
        load_model(tmp_path)


def test_preprocessing_of_another_network(tmp_path: Path) -> None:
    record = ModelRecord(CLASSES, Preprocessing.of_input(8, (16, 16)))
    with pytest.raises(NasError, match="given clips of 8x16x16 and takes 4x16x16"):
        TrainedModel(build(architecture()), record, "best")


def test_torn_json(tmp_path: Path) -> None:
    model().save(tmp_path)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text[: len(text) // 2])
    with pytest.raises(NasError, match=r"model\.json' is not JSON .*allowed: "):
        load_model(tmp_path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    model(width=8).save(tmp_path / "a")
    model(width=16).save(tmp_path / "b")
    os.replace(tmp_path / "b" / "model.safetensors", tmp_path / "a" / "model.safetensors")
    with pytest.raises(
        NasError, match=r"tensors of model\.safetensors and of the network in architecture\.yaml differ"
    ):
        load_model(tmp_path / "a")


def test_torn_weights(tmp_path: Path) -> None:
    model().save(tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(NasError, match="cannot be read as plain tensors"):
        load_model(tmp_path)


def test_unknown_device(tmp_path: Path) -> None:
    model().save(tmp_path)
    with pytest.raises(NasError, match="device 'abacus'"):
        load_model(tmp_path, device="abacus")


def test_fields_of_a_later_release_are_left_alone(tmp_path: Path) -> None:
    model().save(tmp_path)
    data = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**data, "colour": "blue"}))
    assert load_model(tmp_path).record == model().record

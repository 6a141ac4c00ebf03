"""Networks as programs of torch.export and ONNX: the same logits from the file.

All twenty: `NAS_TEST_SAMPLES=20 pytest -n 0` of this folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from networks import DOCUMENTS, SAMPLES, model
from torch import Tensor

import nas
from nas.deployment.programs import from_frames, to_clips, write_onnx_file, write_program
from nas.deployment.shipped import FromFrames
from nas.trained.folder import TrainedModel

EXPORTED = list(DOCUMENTS)[:SAMPLES]
BATCHES = (1, 5)


def clips(batch: int) -> Tensor:
    return torch.randn(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(batch))


def says_no_path(path: Path) -> bool:
    """Whether a file names neither the folder of the package nor that of torch."""
    data = path.read_bytes()
    folders = (Path(nas.__file__).parents[1], Path(torch.__file__).parents[1])
    return not any(str(folder).encode() in data for folder in folders)


@pytest.mark.parametrize("name", EXPORTED)
def test_pt2(name: str, tmp_path: Path) -> None:
    made, path = model(name), tmp_path / "model.pt2"
    write_program(made, path, with_preprocessing=False)
    extra = {"classes": "", "provenance": ""}
    loaded = torch.export.load(path, extra_files=extra).module()
    for batch in BATCHES:
        with torch.no_grad():
            torch.testing.assert_close(loaded(clips(batch)), made.network(clips(batch)), rtol=1e-6, atol=1e-6)
    assert says_no_path(path)
    assert json.loads(extra["classes"]) == list(made.classes)
    assert json.loads(extra["provenance"]) == {"run": "hybrid-1", "trial": 7, "data": "clips.csv", "epochs": 12}


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    made, path = model(name), tmp_path / "model.onnx"
    write_onnx_file(made, path, with_preprocessing=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in BATCHES:
        with torch.no_grad():
            expected = made.network(clips(batch))
        (found,) = session.run(["logits"], {"clips": clips(batch).numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert says_no_path(path)
    facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["classes"] == list(made.classes)
    assert facts["input"] == {
        **{"frames": 4, "height": 32, "width": 32, "resized_height": 37, "resized_width": 37, "stride": None},
        **{"mean": [0.45] * 3, "std": [0.225] * 3},
    }
    assert facts["figures"] == {"validation accuracy": {"value": 0.75, "clips": 48}}


@pytest.fixture
def small() -> TrainedModel:
    return model("r3d")


def frames_of(height: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (batch, 4, height, width, 3), dtype=torch.uint8, generator=generator)


def test_onnx_with_preprocessing_takes_frames_of_any_size(small: TrainedModel, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    write_onnx_file(small, tmp_path / "model.onnx", with_preprocessing=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    module = from_frames(small)
    for height, width, batch in ((37, 37, 5), (48, 64, 1), (90, 40, 2), (20, 30, 3)):
        frames = frames_of(height, width, batch)
        with torch.no_grad():
            expected = module(frames)
        (found,) = session.run(["logits"], {"frames": frames.numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_frames_of_the_size_before_the_crop_take_the_way_of_evaluation(small: TrainedModel) -> None:
    module, frames = from_frames(small), frames_of(37, 37)
    assert isinstance(module, FromFrames)
    with torch.no_grad():
        assert torch.equal(module(frames), small.network(to_clips(small, frames)))

"""Files of a trained network: written whole, run, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from networks import model
from safetensors import safe_open

from nas.architecture import Architecture, load
from nas.deployment.clips import Clips
from nas.deployment.files import WRITERS, Options, export
from nas.deployment.kinds import SUFFIXES, check_files
from nas.deployment.shipped import read_safetensors
from nas.errors import NasError


@pytest.fixture
def clips() -> Clips:
    return Clips.random(model("r3d").record.preprocessing, 3)


def test_every_suffix_has_a_writer() -> None:
    assert set(WRITERS) == set(SUFFIXES)


def test_an_architecture_says_where_it_comes_from(tmp_path: Path, clips: Clips) -> None:
    made = model("r3d")
    done = export(made, tmp_path / "a.yaml", clips)
    assert done.difference is None and done.size == (tmp_path / "a.yaml").stat().st_size
    assert load(tmp_path / "a.yaml").hash == made.network.architecture.hash
    assert '# classes: ["sit", "stand", "walk", "run", "fall"]\n' in (tmp_path / "a.yaml").read_text()


def test_weights_hold_all_that_builds_and_feeds_the_network(tmp_path: Path, clips: Clips) -> None:
    made = model("r3d")
    assert export(made, tmp_path / "a.safetensors", clips).difference == 0
    state = made.network.state_dict()
    found = read_safetensors(tmp_path / "a.safetensors")
    assert found.keys() == state.keys() and all(torch.equal(found[name], value) for name, value in state.items())
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        facts = {name: json.loads(text) for name, text in file.metadata().items()}
    assert Architecture.parse(facts["architecture"]).hash == made.network.architecture.hash
    assert facts["classes"] == list(made.classes) and facts["input"]["resized_height"] == 37


def test_a_standalone_file_is_run_in_a_process_of_its_own(tmp_path: Path, clips: Clips) -> None:
    assert export(model("r3d"), tmp_path / "a.py", clips).difference == 0


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pt2").write_text("before")
    wrong = {".pt2": lambda made, path, options: path.write_text("x") and (lambda frames: torch.ones(len(frames), 5))}
    monkeypatch.setattr("nas.deployment.files.WRITERS", wrong)
    with pytest.raises(NasError, match=r"would differ from PyTorch by .* on 3 random clips; allowed: up to 0.001"):
        export(model("r3d"), tmp_path / "a.pt2", clips, Options())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_small_difference(clips: Clips, value: float) -> None:
    assert clips.largest_difference(lambda x: torch.full((len(x), 2), value), lambda x: torch.ones(len(x), 2)) == float(
        "inf"
    )


def test_largest_difference_by_hand(clips: Clips) -> None:
    """The batch of one differs by 1 of 4, that of three by 1 of 8."""
    found = clips.largest_difference(
        lambda x: torch.tensor([[3.0, 0.0]]).repeat(len(x), 1) + 4 * (len(x) > 1),
        lambda x: torch.tensor([[4.0, 0.0]]).repeat(len(x), 1) + 4 * (len(x) > 1),
    )
    assert found == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a.tflite"], {}, r"has the suffix '.tflite'; allowed: .yaml, .safetensors, .pt2, .onnx, .py, .md"),
        (["a"], {}, r"has the suffix ''; allowed"),
        (["none/a.onnx"], {}, r"is in a folder that does not exist"),
        (["there.onnx"], {}, r"exists; allowed: another file, or --force"),
        (["a.onnx", "a.onnx"], {}, r"is named twice"),
        (["a.onnx"], {"trained": False}, r"needs weights, which a run keeps none of; allowed: .yaml and .py"),
        (["a.md"], {"trained": False}, r"needs weights"),
        (["a.py"], {"with_preprocessing": True}, r"--with-preprocessing stands beside none of .onnx, .pt2"),
    ],
)
def test_refusals(names: list[str], options: dict[str, bool], message: str, tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_text("")
    settings = {"trained": True, "force": False, "with_preprocessing": False} | options
    with pytest.raises(NasError, match=message):
        check_files([tmp_path / name for name in names], **settings)

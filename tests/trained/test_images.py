"""A training on clips and images, from the plan to both folders."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import nas.trained.train as module
from nas.architecture import Architecture
from nas.cli.app import app
from nas.errors import NasError
from nas.trained.curves import CurveRow
from nas.trained.evaluation import evaluate
from nas.trained.folder import load_model
from nas.trained.moment import Moment
from nas.trained.outcome import TEST, VALIDATION
from nas.trained.plan import Plan, TrainSettings
from nas.trained.train import resume, train

PATCHES = {
    "input": {"frames": 2, "size": 8},
    "stem": {"op": "patch", "size": [1, 4, 4]},
    "stages": [{"width": 4, "layers": [{"op": "t2d", "heads": 1}]}],
}
FILES = ("model.safetensors", "last/model.safetensors", "images/model.safetensors", "last/images/model.safetensors")
TIMES = ("clips_per_second", "seconds")


def silent(text: str) -> None:
    pass


def curve(plan: Plan) -> list[dict[str, str]]:
    with (Path(plan.settings.out) / "curves.csv").open() as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("document", "frames"), [(None, 1), (PATCHES, 2)])
def test_both_networks_are_handed_over(plan: Callable[..., Plan], document: dict[str, Any] | None, frames: int) -> None:
    """Each in a folder of its own that is evaluated as any: to the accuracy of the curve."""
    made = plan(architecture=document and Architecture.parse(document), images="brightness", epochs=3)
    assert "images: every second step, brightness: 2 classes, 40 train, 10 val, 6 test images; each " in "".join(
        made.reasons
    )
    train(made, say=silent)
    rows = curve(made)
    assert [row["steps"] for row in rows] == [str(10 * n) for n in range(1, 4)]
    best = max(rows, key=lambda row: float(row["accuracy"]) + float(row["image_accuracy"]))
    assert made.images is not None
    for inside, column, shown in (("", "accuracy", 2), ("images", "image_accuracy", frames)):
        model = load_model(Path(made.settings.out) / inside, "cpu")
        figures, data = model.record.figures, made.images if inside else made.data
        assert model.record.preprocessing.frames == model.network.architecture.input.frames == shown
        assert figures[VALIDATION].value == float(best[column]) and figures[TEST].clips == 6
        last = load_model(Path(made.settings.out) / "last" / inside, "cpu").record.figures
        assert last[VALIDATION].value == float(rows[-1][column]) and TEST in last
        if shown == 1 or not inside:  # the clips of this data are no files: two frames of one are not a still
            assert evaluate(model, data).results[0].scores.top1.value == figures[VALIDATION].value


@pytest.mark.parametrize("steps", [1, 14])
def test_a_killed_training_goes_on_bit_for_bit(
    steps: int, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the first epoch, and later with a state that is older than the kill."""
    alone, killed = plan("alone", images="brightness"), plan("killed", images="brightness")
    train(alone, say=silent)
    left, calls, write = iter(range(steps - 1)), iter(range(1000)), module.write_state

    def kill(moment: Moment) -> None:
        if next(left, None) is None:
            raise RuntimeError("killed")

    monkeypatch.setattr(module, "SAVE_SECONDS", -1)
    monkeypatch.setattr(module, "write_state", lambda *args: next(calls) % 3 == 0 and write(*args))
    with pytest.raises(RuntimeError, match="killed"):
        train(killed, kill, silent)
    torch.manual_seed(7)
    resume(killed.settings.out, say=silent)
    assert curve(killed) == curve(alone) and "image_loss" in curve(alone)[0]
    for name in FILES:
        found, expected = (load_file(Path(each.settings.out) / name) for each in (killed, alone))
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_clips_per_second_are_of_clips(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take a second, and every second one is of images: eight clips in two seconds."""
    now, step, shown = [0.0], module.Training.step, list[float]()

    def slow(training: module.Training) -> float | None:
        now[0] += 1
        return step(training)

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.Training, "step", slow)
    made = plan(images="brightness", epochs=1)
    train(made, lambda moment: shown.append(moment.clips_per_second), silent)
    assert shown[:4] == [8, 4, 16 / 3, 4]
    with (Path(made.settings.out) / "curves.csv").open() as file:
        assert [float(row["clips_per_second"]) for row in csv.DictReader(file)] == [4]


def test_an_epoch_counts_by_the_mean_of_both_accuracies() -> None:
    row = CurveRow(1, 1, 1.0, 1.0, 0.5, 1.0, 1.0)
    assert row.score == 0.5 and replace(row, image_accuracy=0.9).score == 0.7


def test_weights_fill_the_encoder_and_leave_the_second_head_new(plan: Callable[..., Plan]) -> None:
    first = plan("first", epochs=1)
    train(first, say=silent)
    second = plan("second", images="brightness", init=str(Path(first.settings.out)))
    state = module.Session(second, Path(second.settings.out), silent)
    begun, filled = state.model.state_dict(), load_file(Path(first.settings.out) / "model.safetensors")
    assert all(torch.equal(begun[name], value) for name, value in filled.items())
    parts = ("norm.weight", "norm.bias", "classifier.weight", "classifier.bias")
    assert state.new == [f"image_head.{name}" for name in parts]


def pictures(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("counts", "head", "message"),
    [
        ({"red": 4}, "mean", "has fewer than two classes: only 'red'; allowed: two or more"),
        ({"red": 1, "blue": 1}, "mean", "has one clip of each of its 2 classes, so none can be held out; allowed:"),
        ({"red": 4, "blue": 4}, "similarity", "head 'similarity' scores vectors of classes, of which images have"),
    ],
)
def test_what_is_refused(counts: dict[str, int], head: str, message: str, tmp_path: Path) -> None:
    architecture = Architecture.parse(PATCHES | {"head": {"op": head}})
    settings = TrainSettings("motion", str(tmp_path / "out"), images=str(pictures(tmp_path / "stills", counts)))
    with pytest.raises(NasError) as raised:
        Plan.of(settings, architecture)
    assert message in str(raised.value)


def test_the_command_trains_both_heads_and_says_both_accuracies(tmp_path: Path) -> None:
    """Of a repeated image, every frame is the picture: evaluation finds what training found."""
    Architecture.parse(PATCHES).save(tmp_path / "net.yaml")
    clips = pictures(tmp_path / "clips", {"a": 4, "b": 4})
    stills = pictures(tmp_path / "stills", {"red": 5, "blue": 5})
    command = ["train", tmp_path / "net.yaml", "--data", clips, "--images", stills, "--out", tmp_path / "out"]
    done = CliRunner().invoke(app, [str(word) for word in [*command, "--epochs", 2, "--device", "cpu"]])
    assert done.exit_code == 0, done.output
    first, second = done.output.splitlines()[-3:-1]
    assert first.startswith("validation accuracy") and second.startswith("images: validation accuracy")
    assert ", images " in done.output and "each enters in all 2 frames of a clip" in done.output
    folder = tmp_path / "out" / "images"
    words = ["evaluate", str(folder), "--data", str(stills), "--no-measure", "--device", "cpu"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = load_model(folder, "cpu").record
    assert found.classes == ("blue", "red") and f"{100 * found.figures[VALIDATION].value:.1f}" in done.output

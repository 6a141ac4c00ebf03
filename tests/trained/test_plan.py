from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nas.trained.plan as module
from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.data.source import VideoData
from nas.errors import NasError
from nas.limits.memory import training_step_memory
from nas.profiler.computed.cost import cost
from nas.trained import real_step
from nas.trained.decoded import Decoded
from nas.trained.plan import Plan, steps_in
from nas.trained.presets import Start, preset
from nas.trained.real_step import check_memory


def test_a_preset_follows_the_number_of_clips_and_the_start() -> None:
    few, many = preset(400, Start.SCRATCH).recipe, preset(50_000, Start.SCRATCH).recipe
    assert (few.epochs, few.batch_size) == (100, 16) and (many.epochs, many.batch_size) == (20, 64)
    assert few.mixup and not many.mixup and many.augmentation.operations == 2
    images = preset(6_000, Start.IMAGES).recipe
    assert (images.epochs, images.lr, images.new_lr, images.head_lr) == (10, 2e-4, 10, 10)
    assert preset(6_000, Start.SCRATCH).recipe.new_lr == 1
    assert few.ema == pytest.approx(1 - 1 / (100 * 25 / 20), abs=1e-4)


def test_a_preset_says_what_was_asked_for() -> None:
    asked = preset(400, Start.SCRATCH, epochs=7, batch=10)
    assert (asked.recipe.epochs, asked.recipe.batch_size) == (7, 10)
    assert asked.reasons[0] == "7 epochs: as asked"
    assert asked.reasons[1] == "batches of 10 as asked: 40 steps in an epoch of 400 clips"


def test_what_was_asked_changes_a_recipe(plan: Callable[..., Plan], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{epochs: 9, batch_size: 16, lr: 0.1}")
    made = plan(recipe=str(tmp_path / "mine.yaml"), epochs=None, batch=4, class_weights="balanced", seed=5)
    recipe = made.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.seed) == (9, 4, 0.025, 5)
    assert recipe.class_weights == "balanced" and "in proportion to the batch" in made.describe()
    assert "9 epochs on cpu" in made.describe() and "recipe mine: as asked, from scratch" in made.describe()


def test_classes_and_clips_are_those_of_the_data(plan: Callable[..., Plan], data: VideoData) -> None:
    made = plan(batch=64)
    assert made.architecture.num_classes == 2 and made.recipe.batch_size == 40
    assert made.preprocessing.resized == (10, 10)
    assert plan(resize=(8, 12)).preprocessing.resized == (8, 12)


def test_a_batch_that_does_not_fit_passes_in_smaller_ones(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_check_room", lambda *_: None)
    priced = cost(plan().architecture)
    kept = priced.parameter_bytes  # of the moving average
    room = training_step_memory(priced, 8, 2) + kept
    monkeypatch.setattr(module, "memory_bytes", lambda device: (room + 1) / module.USABLE)
    made = plan()
    assert made.micro_batch == 2 and made.step_bytes == room
    assert "4 micro-batches of 2: a whole batch would take" in made.describe()
    monkeypatch.setattr(module, "memory_bytes", lambda device: 1000)
    with pytest.raises(NasError, match=r"training on one clip takes .* GB of memory, and cpu has 1e-06 GB; allowed: "):
        plan()


def test_with_a_time_no_number_of_epochs_is_claimed(plan: Callable[..., Plan]) -> None:
    shown = plan(epochs=None, time=90.0).describe()
    assert "90 s on cpu" in shown and "as many epochs as the time has room for" in shown
    assert "epochs:" not in shown


def test_clips_that_do_not_fit_are_refused(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 clips to train on, 10 to validate and 6 to test, which are all there in the end, 2
    frames of 10x10 pixels: 33.6 kB.
    """
    monkeypatch.setattr(module, "memory_bytes", lambda device: 37_000)
    with pytest.raises(NasError, match=r"56 clips of 2x10x10 take 3.36e-05 GB decoded, and the machine has 3.7e-05 GB"):
        plan()


def test_an_unknown_recipe_is_refused_with_the_names(plan: Callable[..., Plan]) -> None:
    with pytest.raises(NasError, match=r"recipe 'vov4d' is neither a file .*vov3d"):
        plan(recipe="vov4d")


def test_steps_that_a_time_has_room_for() -> None:
    assert steps_in(60, 0.5, 5, 10) == 60  # ten steps and an evaluation are 10 s
    assert steps_in(60, 0.5, 0, 10) == 120 and steps_in(0.1, 1, 1, 10) == 1


JOINT = {
    "input": {"frames": 4, "size": 16},
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
    "stages": [{"width": 8, "layers": [{"op": "joint_filter"}]}],
    "head": {"op": "mean"},
}
STAGES = "stages: [{size: 0.5, fixed: [spatial]}, {frames: 0.5, fixed: [temporal]}]"


@pytest.fixture
def staged(plan: Callable[..., Plan], tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a training of joint filters in stages."""

    def make(recipe: str = f"epochs: 2\n{STAGES}", network: dict[str, Any] = JOINT, **settings: Any) -> Plan:
        (tmp_path / "r.yaml").write_text(recipe)
        common: dict[str, Any] = {"recipe": str(tmp_path / "r.yaml"), "epochs": None, "batch": None} | settings
        return plan(architecture=Architecture.parse(network), **common)

    return make


def bytes_of(frames: int, size: int, batch: int = 16) -> int:
    """Of a step in which all parameters are trained."""
    return training_step_memory(cost(Architecture.parse(JOINT).resized(frames, size, 2)), 16, batch)


def test_memory_is_that_of_the_largest_stage_beside_whole_clips(staged: Callable[..., Plan]) -> None:
    """Below the cost of the network at the stage's clips, as fixed atoms need no gradients."""
    whole, temporal, spatial = bytes_of(4, 16), bytes_of(4, 8), bytes_of(2, 16)
    assert temporal < spatial < 0.6 * whole
    made = staged()
    assert 0.9 * spatial < made.step_bytes < spatial
    shown = made.describe()
    assert f"stage of 2x16x16 with temporal parameters fixed: a step takes {made.step_bytes / 1e9:.3g} GB" in shown
    assert f"{whole / made.step_bytes:.3g} times less than the {whole / 1e9:.3g} GB of whole clips" in shown
    assert "stage of 4x8x8 with spatial parameters fixed" in shown
    assert (
        staged(f"epochs: 2\nema: 0.9\n{STAGES}").step_bytes - made.step_bytes == cost(made.architecture).parameter_bytes
    )


def test_micro_batches_are_those_that_the_stages_need(
    staged: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device for which a whole batch of whole clips is too large, and of any stage is not.
    Eight whole clips take as much as 16 of half the frames, and the gradients so far.
    """
    monkeypatch.setattr(module, "_check_room", lambda *_: None)
    monkeypatch.setattr(module, "memory_bytes", lambda device: bytes_of(2, 16) / module.USABLE + 1)
    assert staged("epochs: 2").micro_batch == 4 and staged().micro_batch == 16


def test_whole_clips_are_evaluated_in_the_memory_of_a_step(
    staged: Callable[..., Plan], plan: Callable[..., Plan]
) -> None:
    made = staged("epochs: 1\nstages: [{frames: 0.25, size: 0.25}]")
    priced = cost(made.architecture)
    assert 1 <= made.evaluation_batch < 2 * made.micro_batch
    for more, fits in ((0, True), (1, False)):
        needed = 3 * priced.parameter_bytes + (made.evaluation_batch + more) * priced.inference_bytes
        assert (needed <= made.step_bytes) == fits
    deeper = JOINT | {"stages": [{"width": 8, "layers": [{"op": "joint_filter"}] * 3}]}
    assert staged("epochs: 1", deeper).evaluation_batch == 32


def test_a_real_step_is_one_of_the_largest_stage(staged: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(network: Architecture, *_: Any, **__: Any) -> Any:
        asked.append(network.input.shape.extent)
        return SimpleNamespace(peak_memory_bytes=2e9)

    monkeypatch.setattr(real_step, "measure", measured)
    said: list[str] = []
    check_memory(staged(), said.append)
    assert asked == [(2, 16, 16)]
    assert said == [f"  a step of 16 clips with AdamW: {bytes_of(2, 16) / 1e9:.3g} GB predicted, 2 GB measured"]


def test_a_smaller_micro_batch_is_planned_as_any(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """A real step of eight clips does not fit and of four does; the average counts as before."""

    def measured(*arguments: Any, **_: Any) -> Any:
        if arguments[3] == 8:
            raise NasError("out of memory")
        return SimpleNamespace(peak_memory_bytes=2e9)

    monkeypatch.setattr(real_step, "measure", measured)
    made = check_memory(plan(), lambda text: None)
    assert made.recipe.ema and made.micro_batch == 4
    assert made.step_bytes == plan(micro_batch=4).step_bytes


@pytest.mark.parametrize(
    ("batch", "clips", "images", "micro_batch", "message"),
    [
        (8, 2, None, 4, "workers 3 are more than the 2 clips of a batch; allowed: 1 to 2"),
        (9, 40, 2, 3, "workers 3 are more than the 2 images of a batch; allowed: 1 to 2"),
        (9, 8, None, 1, "a batch of 8 clips in micro-batches of one does not divide by 3 workers; allowed: multiples "),
        (9, 40, 8, 1, "a batch of 8 images in micro-batches of one does not divide by 3 workers; allowed: multiples "),
        (9, 40, 8, 2, None),
    ],
)
def test_workers_share_what_can_be_read(
    plan: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    batch: int,
    clips: int,
    images: int | None,
    micro_batch: int,
    message: str | None,
) -> None:
    """Forty clips are listed, and so many images; fewer are left of what is read."""
    made = plan(batch=batch, workers=3, images=None if images is None else "brightness")
    made = replace(made, micro_batch=micro_batch)
    counts = {"train": clips, "image train": images or 0}

    def read(self: Plan, name: str, *_: Any) -> Clips:
        count = counts.get(name, 10)
        return Clips(np.zeros((count, 1, 1, 1, 3), np.uint8), np.zeros(count, np.int64))

    monkeypatch.setattr(Plan, "clips", read)
    with nullcontext() if message is None else pytest.raises(NasError, match=message):
        Decoded.read(made, tmp_path)


def test_images_are_shared_by_workers_as_clips_are(
    plan: Callable[..., Plan], data: VideoData, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(data, train=replace(data.train, labels=data.train.labels[:5]))
    monkeypatch.setattr(module, "open_data", lambda spec, **_: few if spec == "few" else data)
    with pytest.raises(NasError, match="a batch of 5 images in micro-batches of one does not divide by 2 workers"):
        plan(workers=2, images="few", micro_batch=1)
    with pytest.raises(NasError, match="workers 6 are more than the 5 images of a batch; allowed: 1 to 5"):
        plan(workers=6, images="few")


@pytest.mark.parametrize(
    ("recipe", "network", "message"),
    [
        (
            f"epochs: 2\n{STAGES}",
            JOINT | {"stages": [{"width": 8, "layers": [{"op": "full3d"}]}]},
            "a stage fixes 'spatial' parameters, which no layer of the network has; allowed: networks with "
            "joint_filter",
        ),
        (
            "epochs: 2\nstages: [{fixed: [time]}]",
            JOINT,
            "a stage fixes 'time' parameters, which no layer of the network has; allowed: temporal, spatial",
        ),
        (
            f"epochs: 2\n{STAGES}",
            JOINT | {"head": {"op": "attention"}},
            "a stage of the recipe has clips of 4x8x8 and the network takes those of 4x16x16 alone; allowed: networks "
            "of convolutions with a mean head, or stages of whole clips",
        ),
        (
            f"epochs: 1\n{STAGES}",
            JOINT,
            "epochs 1 end before every stage of the recipe has had its turn; allowed: 2 and more",
        ),
    ],
)
def test_stages_that_a_network_cannot_have_are_refused(
    staged: Callable[..., Plan], recipe: str, network: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasError) as raised:
        staged(recipe, network)
    assert str(raised.value) == message


def test_images_beside_stages_are_refused(staged: Callable[..., Plan]) -> None:
    with pytest.raises(NasError, match="images 'stills' do not go with the stages of a recipe; allowed: one of them"):
        staged(images="stills")

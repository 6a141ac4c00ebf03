from collections.abc import Callable
from pathlib import Path

import pytest

import nas.trained.plan as module
from nas.data.source import VideoData
from nas.errors import NasError
from nas.limits.memory import training_step_memory
from nas.profiler.computed.cost import cost
from nas.trained.plan import Plan, steps_in
from nas.trained.presets import Start, preset


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

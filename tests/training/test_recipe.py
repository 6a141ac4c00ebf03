from dataclasses import asdict
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.resources import resource_folder, resource_names
from nas.training.recipe import Augmentation, Recipe, Stage, read_recipe


def written(text: str, folder: Path) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def test_a_recipe_is_read_from_yaml(tmp_path: Path) -> None:
    text = "epochs: 3\nlr: 0.1\noptimizer: sgd\naugmentation: {scale: 0.5, operations: 2}"
    read = read_recipe(written(text, tmp_path))
    assert read == Recipe(3, lr=0.1, optimizer="sgd", augmentation=Augmentation(scale=0.5, operations=2))


def test_stages_of_a_recipe_take_turns(tmp_path: Path) -> None:
    text = "epochs: 9\nstages: [{size: 0.5, fixed: [spatial], epochs: 2}, {frames: 0.25}]"
    first, second = Stage(size=0.5, fixed=("spatial",), epochs=2), Stage(frames=0.25)
    recipe = read_recipe(written(text, tmp_path))
    assert recipe.turn_epochs == 3
    assert [recipe.stage(epoch) for epoch in range(7)] == [first, first, second, first, first, second, first]
    assert Recipe(3).turn == (Stage(),) and Recipe(3).stage(5) == Stage()


@pytest.mark.parametrize("name", resource_names("recipes"))
def test_every_shipped_recipe_is_one(name: str) -> None:
    assert read_recipe(resource_folder("recipes") / f"{name}.yaml").epochs >= 1


def test_published_numbers_of_the_recipe_of_t2d() -> None:
    recipe = read_recipe(resource_folder("recipes") / "t2d.yaml")
    assert (recipe.momentum, recipe.beta2, recipe.weight_decay, recipe.lr) == (0.9, 0.98, 1e-3, 1e-5)
    assert (recipe.new_lr, recipe.epochs, recipe.label_smoothing, recipe.mixup, recipe.cutmix) == (125, 30, 0.1, 0.8, 1)
    assert round(recipe.epochs * recipe.warm_up) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 0", "r.yaml': epochs 0 is not allowed; allowed: greater than or equal to 1"),
        ("{}", "r.yaml': epochs"),
        ("epochs: 1\nleanring: 2", "r.yaml': leanring is no field; allowed: epochs, batch_size, lr"),
        ("epochs: 1\naugmentation: {scael: 2}", "r.yaml': augmentation.scael is no field; allowed: scale, time"),
        ("epochs: 1\nstages: [{frame: 0.5}]", "stages.0.frame is no field; allowed: frames, size, fixed, epochs"),
        ("epochs: 1\nstages: [{size: 0}]", "stages.0.size 0 is not allowed; allowed: greater than 0"),
        ("epochs: 1\nstages: [{frames: 2.0}]", "stages.0.frames 2.0 is not allowed"),
        ("epochs: 1\nstages: [{fixed: spatial}]", "stages.0.fixed 'spatial' is not allowed; allowed: a list"),
        ("epochs: 1\noptimizer: lion", "allowed: 'adamw' or 'sgd'"),
        ("epochs: 1\nlr: .nan", "r.yaml': lr nan is not allowed"),
        ("- 1", "r.yaml': document [1] is not allowed; allowed: a mapping of fields"),
        ("a: [", "allowed: "),
        ("epochs: !!python/object:os.system {}", "allowed: "),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NasError) as raised:
        read_recipe(written(text, tmp_path))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_changes_are_checked() -> None:
    assert Recipe(2).changed(epochs=5).epochs == 5
    with pytest.raises(NasError, match="recipe: epochs -1 is not allowed"):
        Recipe(2).changed(epochs=-1)


def test_defaults_are_those_that_proxies_have_had() -> None:
    old = {"epochs": 3, "batch_size": 16, "lr": 2e-3, "weight_decay": 0.05, "clip_norm": 1.0, "seed": 0}
    assert {name: asdict(Recipe(3))[name] for name in old} == old
    assert Recipe(3).augmentation == Augmentation() and not Recipe(3).ema and Recipe(3).decay_positions

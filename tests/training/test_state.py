from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data.clips import Clips
from nas.errors import NasError
from nas.models.convolution import lay_out_channels_last
from nas.training.loop import Training
from nas.training.recipe import Augmentation, Recipe
from nas.training.state import Progress, progress_of, read_state, restore, tensors_of, write_state

CPU = torch.device("cpu")
RECIPES = {
    "adamw": Recipe(
        3, 8, ema=0.9, mixup=0.4, cutmix=1.0, label_smoothing=0.1, augmentation=Augmentation(0.5, 0.7, operations=2)
    ),
    "sgd": Recipe(3, 8, optimizer="sgd", lr=0.1),
}


def clips(count: int = 40) -> Clips:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 4, 6, 6, 3)).astype(np.uint8)
    return Clips(pixels, np.arange(count) % 2)


def training(recipe: Recipe, data: Clips | None = None) -> Training:
    """With batch normalisation, whose statistics are state, and dropout, which draws from torch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    return Training(model, data or clips(), (4, 4), recipe, True, CPU, 4)


def rest(begun: Training) -> tuple[list[Any], Tensor, Tensor]:
    """What a training still gives: the losses of its epochs, its weights, its average's."""
    losses = []
    while not begun.ended:
        losses.append(begun.step())
    weights = [
        torch.cat([v.flatten().double() for v in m.state_dict().values()]) for m in (begun.model, begun.evaluated)
    ]
    return losses, weights[0], weights[1]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 5, 12])
def test_a_training_goes_on_bit_for_bit_after_any_step(name: str, steps: int, tmp_path: Path) -> None:
    """15 steps, five an epoch: killed in the first epoch, at the end of one, in the last."""
    path, recipe = tmp_path / "state.safetensors", RECIPES[name]
    alone = training(recipe)
    for _ in range(steps):
        alone.step()
    write_state(path, tensors_of(alone), progress_of(alone))
    expected = rest(alone)
    torch.manual_seed(99)  # another process is somewhere else in torch's random numbers
    resumed = training(recipe)
    torch.manual_seed(98)
    tensors, progress = read_state(path, Progress)
    restore(resumed, tensors, progress, "state")
    found = rest(resumed)
    assert found[0] == expected[0] and len(found[0]) == 15 - steps
    assert torch.equal(found[1], expected[1]) and torch.equal(found[2], expected[2])


@pytest.mark.parametrize("name", RECIPES)
def test_moments_lie_as_their_kernels_do(name: str, tmp_path: Path) -> None:
    """On a GPU kernels are channels-last: 3 channels of a 3x3x3 kernel lie beside each other. A
    file knows no layout, and a training that goes on is the same bit for bit.
    """

    def begun() -> Training:
        made = training(RECIPES[name])
        lay_out_channels_last(made.model)
        return made

    def layouts(made: Training) -> list[tuple[int, ...]]:
        kernel = made.optimizer.param_groups[0]["params"][0]
        assert kernel.shape == (4, 3, 3, 3, 3)
        return [value.stride() for value in made.optimizer.state[kernel].values() if value.ndim == 5]

    alone, path = begun(), tmp_path / "state.safetensors"
    alone.step()
    expected = [(81, 1, 27, 9, 3)] * (2 if name == "adamw" else 1)
    assert layouts(alone) == expected
    write_state(path, tensors_of(alone), progress_of(alone))
    losses = rest(alone)
    resumed = begun()
    restore(resumed, *read_state(path, Progress), "state")
    assert layouts(resumed) == expected
    found = rest(resumed)
    assert found[0] == losses[0] and torch.equal(found[1], losses[1]) and torch.equal(found[2], losses[2])


def test_a_stretched_schedule_stays_stretched(tmp_path: Path) -> None:
    begun = training(RECIPES["sgd"])
    begun.step()
    begun.stretch(5)
    write_state(tmp_path / "s", tensors_of(begun), progress_of(begun))
    resumed = training(RECIPES["sgd"])
    restore(resumed, *read_state(tmp_path / "s", Progress), "state")
    assert (resumed.position, resumed.pace) == (begun.position, begun.pace) and len(rest(resumed)[0]) == 5


def test_other_data_and_other_networks_are_refused(tmp_path: Path) -> None:
    recipe = RECIPES["adamw"]
    begun = training(recipe)
    begun.step()
    state = tensors_of(begun), progress_of(begun)
    with pytest.raises(NasError, match="of other training clips than the 39"):
        restore(training(recipe, Clips(clips().pixels[:39], clips().labels[:39])), *state, "state")
    other = training(recipe)
    other.model[0] = nn.Conv3d(3, 5, 3)  # type: ignore[operator]
    with pytest.raises(NasError, match="is of another network or recipe"):
        restore(other, *state, "state")


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_what_is_no_state_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NasError, match=r"cannot be read|does not exist"):
        read_state(path, Progress)


def test_a_state_that_breaks_off_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    begun = training(RECIPES["sgd"])
    write_state(path, tensors_of(begun), progress_of(begun))
    whole = path.read_bytes()

    def break_off(draft: Path, tensors: object, metadata: object) -> None:
        Path(draft).write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr("nas.training.state.write_tensors", break_off)
    with pytest.raises(OSError, match="no space"):
        write_state(path, tensors_of(begun), progress_of(begun))
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]

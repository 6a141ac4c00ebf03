"""Steps on clips and on images in turn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data.clips import Clips
from nas.errors import NasError
from nas.training.loop import Training, accuracy
from nas.training.recipe import Recipe
from nas.training.state import Progress, progress_of, read_state, restore, tensors_of, write_state
from nas.training.stills import Stills

CPU = torch.device("cpu")


class Two(nn.Module):
    """A shared layer and two heads; notes which task each pass was of, and what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.dropout = nn.Linear(3, 4), nn.Dropout(0.3)
        self.clip_head, self.image_head = nn.Linear(4, 2), nn.Linear(4, 3)
        self.parts = nn.ModuleDict({"head": self.clip_head})
        self.seen: list[tuple[bool, list[int], int]] = []

    def forward(self, x: Tensor, image: bool = False) -> Tensor:
        values = (255 * (0.225 * x[:, 0, 0, 0, 0] + 0.45)).round().int().tolist()
        self.seen.append((image, values, x.shape[2]))
        head = self.image_head if image else self.clip_head
        return head(self.dropout(self.encoder(x.mean((2, 3, 4)))))


def numbered(count: int, frames: int, classes: int) -> Clips:
    """Each clip is filled with its number."""
    pixels = np.arange(count, dtype=np.uint8).repeat(frames * 4 * 4 * 3).reshape(count, frames, 4, 4, 3)
    return Clips(pixels, np.arange(count) % classes)


def training(images: int = 20, **changes: Any) -> tuple[Training, Two]:
    torch.manual_seed(0)
    model, recipe = Two(), Recipe(**{"epochs": 3, "batch_size": 8, "ema": 0.9, **changes})
    stills = Stills(numbered(images, 1, 3), False, recipe.batch_size, CPU)
    return Training(model, numbered(24, 2, 2), (4, 4), recipe, False, CPU, 4, stills=stills), model


def test_steps_on_clips_and_on_images_take_turns() -> None:
    """24 clips are three batches of eight, so an epoch has six steps; 20 images give two batches
    before their order begins anew, in the middle of the clips' epoch. Micro-batches of four."""
    loop, model = training()
    assert loop.steps == 6 and loop.total_steps == 18
    means = [loop.step() for _ in range(12)]
    assert [mean is None for mean in means] == [True] * 5 + [False] + [True] * 5 + [False]
    assert [task for task, _, _ in model.seen] == [False, False, True, True] * 6
    assert {frames for task, _, frames in model.seen if task} == {1}
    clips, stills = ([n for task, values, _ in model.seen if task == of for n in values] for of in (False, True))
    assert sorted(clips[:24]) == sorted(clips[24:]) == list(range(24)) and clips[:24] != clips[24:]
    assert [len(set(stills[first : first + 16])) for first in (0, 16, 32)] == [16] * 3
    assert stills[:16] != stills[16:32]


def test_images_do_not_count_as_clips() -> None:
    """Batches of 8 at every second step; of ten clips in all, a batch of 32 is one of ten."""
    loop, _ = training()
    read = []
    for _ in range(6):
        loop.step()
        read.append(loop.clips_read)
    assert read == [8, 8, 16, 16, 24, 24]
    few = Training(Two(), numbered(10, 2, 2), (4, 4), Recipe(2, batch_size=32), False, CPU)
    few.epoch()
    assert few.clips_read == 10


def test_few_images_are_all_in_each_batch() -> None:
    loop, model = training(images=3)
    loop.epoch()
    assert [sorted(values) for task, values, _ in model.seen if task] == [[0, 1, 2]] * 3


def test_each_step_changes_the_encoder_and_one_head() -> None:
    """Neither decay nor moments move the other head, bit for bit."""
    loop, model = training()
    loop.step()  # moments of the clips' head are there
    for image in (True, False, True):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        loop.step()
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        heads = ["image_head"] if image else ["clip_head", "parts.head"]  # two names of one module
        assert changed == {f"{of}.{kind}" for of in ("encoder", *heads) for kind in ("weight", "bias")}


def test_both_losses_are_means_of_their_own_steps() -> None:
    """Heads that are zero and stay so guess: log 2 and log 3."""
    loop, model = training()
    for head in (model.clip_head, model.image_head):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        head.requires_grad_(False)
    assert loop.epoch() == pytest.approx(math.log(2))
    assert loop.stills is not None and loop.stills.mean_loss == pytest.approx(math.log(3))


def test_a_schedule_that_ends_before_a_step_on_images_has_no_loss_of_them() -> None:
    loop, _ = training()
    loop.stretch(1)
    assert loop.step() is not None and loop.ended
    assert loop.stills is not None and loop.stills.mean_loss is None


def test_the_second_head_is_judged_on_images() -> None:
    _, model = training()
    model.encoder.weight.data.zero_()
    model.image_head.bias.data = torch.tensor([0.0, 0.0, 100.0])
    model.clip_head.bias.data = torch.tensor([100.0, 0.0])
    assert accuracy(model, numbered(9, 1, 3), (4, 4), CPU, image=True) == pytest.approx(1 / 3)
    assert accuracy(model, numbered(9, 2, 2), (4, 4), CPU) == pytest.approx(5 / 9)


def test_classes_of_images_are_balanced_among_themselves() -> None:
    """Of images of class 0 four, of class 1 twelve: weights 2 and 2/3; of clips as many of each."""
    torch.manual_seed(0)
    model = Two()
    images = numbered(16, 1, 2)
    images = Clips(images.pixels, np.repeat([0, 1], [4, 12]))
    recipe = Recipe(1, 16, class_weights="balanced", lr=1e-9)
    loop = Training(
        model, numbered(16, 2, 2), (4, 4), recipe, False, CPU, stills=Stills(images, False, 16, CPU)
    )  # all images in one step
    for head, logit in ((model.clip_head, 0.0), (model.image_head, -99.0)):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, 0.0)
        head.bias.data[-1] = logit  # the third class of images is never guessed
    model.image_head.bias.data[0] = math.log(3)  # p = 3/4, 1/4
    loop.epoch()
    expected = (4 * 2 * -math.log(3 / 4) + 12 * 2 / 3 * -math.log(1 / 4)) / 16
    assert loop.stills is not None and loop.stills.mean_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
def test_a_training_goes_on_bit_for_bit_after_any_step(steps: int, tmp_path: Path) -> None:
    """After a step on clips, on images, within the images' order, at the end of an epoch."""

    def rest(loop: Training) -> tuple[list[float | None], list[float | None], Tensor]:
        losses, of_images = [], []
        while not loop.ended:
            losses.append(loop.step())
            of_images.append(loop.stills.mean_loss if loop.stills and losses[-1] is not None else None)
        return losses, of_images, torch.cat([v.flatten().double() for v in loop.evaluated.state_dict().values()])

    recipe: dict[str, Any] = {"mixup": 0.3, "class_weights": "balanced"}
    alone, _ = training(**recipe)
    for _ in range(steps):
        alone.step()
    write_state(tmp_path / "s", tensors_of(alone), progress_of(alone))
    expected = rest(alone)
    resumed, _ = training(**recipe)
    torch.manual_seed(98)
    restore(resumed, *read_state(tmp_path / "s", Progress), "state")
    found = rest(resumed)
    assert found[:2] == expected[:2] and len(found[0]) == 18 - steps and torch.equal(found[2], expected[2])


def test_other_images_are_refused(tmp_path: Path) -> None:
    begun, _ = training(20)
    begun.step()
    write_state(tmp_path / "s", tensors_of(begun), progress_of(begun))
    with pytest.raises(NasError, match="state is of other training clips"):
        restore(training(21)[0], *read_state(tmp_path / "s", Progress), "state")

"""Between two ends of an epoch the host launches steps without waiting for the device.

The device is torch's `meta`, which has no numbers: whatever would read one fails, and so does what
mixes tensors of two devices. Copies from the host and back are seen on their way.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.models.convolution import BatchNorm
from nas.models.network import build
from nas.space import SearchSpace
from nas.training import batch_norm, loop
from nas.training.loop import Training
from nas.training.recipe import Augmentation, Recipe, Stage
from nas.training.workers import ALONE

META = torch.device("meta")
NETWORK = {
    "input": {"frames": 4, "size": 8},
    "num_classes": 2,
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
    "stages": [{"width": 4, "layers": [{"op": "joint_filter"}]}],
    "head": {"op": "mean"},
}
VARIED = Augmentation(scale=0.5, time=0.5, overhead=True, jitter=0.4, operations=4, erasing=0.9)


class Waits(TorchDispatchMode):
    """Notes what makes the host wait: copies between devices that do not say otherwise, and places
    on the host of tensors on a device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        name = str(func).split(".")[1]
        copied = name in ("_to_copy", "copy_")
        told = copied and ((kwargs or {}).get("non_blocking") or args[2:] == (True,))
        # Numbers without an axis are sent along with what is launched.
        sent = any(x.ndim for x in tensors if x.device != META)
        if len({x.device for x in tensors}) > 1 and (not told if copied else sent):
            self.seen.append(name)
        return out


def steps(
    architecture: Architecture, recipe: Recipe, count: int, monkeypatch: pytest.MonkeyPatch, room: int = 0
) -> list[str]:
    """What a network's steps wait for, of an epoch that goes on behind them; clips have so many
    frames and pixels more than its input.
    """
    monkeypatch.setattr(loop, "_mixed_precision", lambda device: nullcontext())  # meta has none
    frames, (height, width) = architecture.input.frames, architecture.input.size
    pixels = np.zeros((2 * count + 2, frames + room, height + room, width + room, 3), np.uint8)
    clips = Clips(pixels, np.arange(len(pixels)) % architecture.num_classes)
    model = build(architecture, device=META)
    training = Training(model, clips, (height, width), recipe, True, META, frames=frames)
    with Waits() as waits:
        for _ in range(count):
            assert training.step() is None
    return waits.seen


@pytest.mark.parametrize("name", ["hybrid", "conv"])
def test_a_step_of_a_candidate_waits_for_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = SearchSpace.load(name).sample(1).resized(4, (28, 28))
    assert steps(architecture, Recipe(epochs=1, batch_size=2), 1, monkeypatch) == []


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=1, batch_size=2, augmentation=VARIED, ema=0.99, label_smoothing=0.1),
        Recipe(epochs=1, batch_size=2, mixup=0.5, class_weights="balanced", stages=(Stage(frames=0.5, size=0.5),)),
        Recipe(epochs=1, batch_size=2, cutmix=0.5, augmentation=Augmentation(time=0.5), optimizer="sgd"),
    ],
)
def test_a_step_of_any_recipe_waits_for_nothing(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(Architecture.parse(NETWORK), recipe, 2, monkeypatch, room=2) == []


def test_batch_normalisation_over_workers_sends_no_number_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`new_tensor` would, and wait for it."""
    monkeypatch.setattr(torch.Tensor, "new_tensor", None, raising=False)
    norm, x = BatchNorm(4).to(META), torch.zeros(2, 2, 3, 3, 4, device=META)
    with Waits() as waits:
        batch_norm._forward(norm, ALONE, x)
    assert waits.seen == []

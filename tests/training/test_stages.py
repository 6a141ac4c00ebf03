"""Stages of a training: smaller clips, and parameters that stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.errors import NasError
from nas.models.network import Network, build
from nas.training.loop import Training, accuracy
from nas.training.recipe import Recipe, Stage
from nas.training.stages import fixed_parameters, reduced
from nas.training.state import Progress, progress_of, read_state, restore, tensors_of, write_state

CPU = torch.device("cpu")
TEMPORAL, SPATIAL = Stage(size=0.5, fixed=("spatial",)), Stage(frames=0.5, fixed=("temporal",))
NETWORK = {
    "input": {"frames": 4, "size": 8},
    "num_classes": 2,
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
    "stages": [{"width": 4, "layers": [{"op": "joint_filter"}]}],
    "head": {"op": "mean"},
}


def clips(count: int = 16) -> Clips:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 4, 8, 8, 3)).astype(np.uint8)
    return Clips(pixels, np.arange(count) % 2)


def training(recipe: Recipe, model: nn.Module | None = None) -> Training:
    """Two steps an epoch."""
    torch.manual_seed(0)
    return Training(model or build(Architecture.parse(NETWORK)), clips(), (8, 8), recipe, True, CPU)


def atoms(model: nn.Module, kind: str) -> Tensor:
    state = model.state_dict()
    return torch.cat([state[name].flatten() for name in sorted(state) if name.endswith(f"{kind}_atoms")]).clone()


def test_a_stage_shows_fewer_frames_and_means_of_pixels() -> None:
    """Of frames 0 to 3 the middles of halves, 1 and 3; of each 2x2 pixels the mean, to the nearest
    whole number.
    """
    corner = torch.tensor([[0, 1, 10, 10], [2, 3, 10, 14]])
    clip = torch.arange(4).view(1, 4, 1, 1, 1) * 100 % 256 + corner.view(1, 1, 2, 4, 1).expand(1, 4, 2, 4, 3)
    clip = clip.to(torch.uint8)
    found = reduced(clip, Stage(frames=0.5, size=0.5))
    assert found.shape == (1, 2, 1, 2, 3) and found.dtype == torch.uint8 and found.is_contiguous()
    assert found[0, :, 0, :, 0].tolist() == [[102, 111], [44 + 2, 44 + 11]]  # means 1.5 and 11
    assert torch.equal(reduced(clip, Stage(frames=0.5)), clip[:, [1, 3]])
    assert torch.equal(reduced(clip, Stage()), clip)


def test_a_stage_leaves_a_frame_and_a_pixel_at_least() -> None:
    assert Stage(frames=0.1, size=0.01).extent(4, (8, 300)) == (1, (1, 3))
    assert Stage(frames=0.5, size=0.5).extent(16, (112, 90)) == (8, (56, 45))


class Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[2:]))
        return self.linear(x.mean((2, 3, 4)))


def test_stages_take_turns_by_epochs_and_evaluation_sees_whole_clips() -> None:
    model = Watched()
    recipe = Recipe(5, 8, mixup=0.4, cutmix=1.0, stages=(Stage(size=0.5, epochs=2), Stage(frames=0.5)))
    begun = training(recipe, model)
    while not begun.ended:
        begun.epoch()
        accuracy(model, clips(), (8, 8), CPU)
    half, short, whole = (4, 4, 4), (2, 8, 8), (4, 8, 8)
    expected = [[stage, stage, whole] for stage in (half, half, short, half, half)]
    assert model.seen == [shape for epoch in expected for shape in epoch]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fixed_atoms_stay_bit_for_bit_and_the_others_learn(optimizer: Any) -> None:
    """Also in the third epoch, when the spatial atoms have moments that would move them on, and
    weight decay would shrink them.
    """
    recipe = Recipe(3, 8, optimizer=optimizer, lr=0.05, weight_decay=0.1, stages=(TEMPORAL, SPATIAL))
    begun = training(recipe)
    for fixed, trained in (("spatial", "temporal"), ("temporal", "spatial"), ("spatial", "temporal")):
        kept, moved = atoms(begun.model, fixed), atoms(begun.model, trained)
        coefficients = begun.model.get_parameter("parts.stages_0_layers_0.conv1.coefficients").clone()
        begun.epoch()
        assert torch.equal(atoms(begun.model, fixed), kept)
        assert not torch.equal(atoms(begun.model, trained), moved)
        assert not torch.equal(begun.model.get_parameter("parts.stages_0_layers_0.conv1.coefficients"), coefficients)
        assert all(p.grad is None for n, p in begun.model.named_parameters() if n.endswith(f"{fixed}_atoms"))


def test_what_one_stage_fixes_another_may_fix_too_and_what_was_fixed_before_stays() -> None:
    model = build(Architecture.parse(NETWORK))
    model.get_parameter("parts.stages_0_layers_0.conv1.temporal_atoms").requires_grad_(False)
    begun = training(Recipe(2, 8, stages=(TEMPORAL, Stage(fixed=("spatial", "temporal")))), model)
    trained = []
    for _ in range(2):
        begun.epoch()
        trained.append({n.partition("0_layers_0.")[2] for n, p in model.named_parameters() if p.requires_grad})
    assert "conv2.temporal_atoms" in trained[0] and "conv1.temporal_atoms" not in trained[0]
    assert not {n for n in trained[0] if n.endswith("spatial_atoms")}
    assert trained[0] - trained[1] == {"conv2.temporal_atoms"}


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_training_goes_on_bit_for_bit_across_stages(steps: int, tmp_path: Path) -> None:
    """Eight steps, two a stage: killed within the first, between two, in the second, the third."""
    recipe = Recipe(4, 8, ema=0.9, mixup=0.4, stages=(TEMPORAL, SPATIAL))
    alone = training(recipe)
    for _ in range(steps):
        alone.step()
    write_state(tmp_path / "s", tensors_of(alone), progress_of(alone))
    resumed = training(recipe)
    torch.manual_seed(98)
    restore(resumed, *read_state(tmp_path / "s", Progress), "state")
    losses = [[each.step() for _ in range(8 - steps)] for each in (alone, resumed)]
    assert losses[0] == losses[1] and resumed.ended
    for one, other in ((alone.model, resumed.model), (alone.evaluated, resumed.evaluated)):
        expected = one.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())


def test_kinds_that_no_layer_has_are_refused() -> None:
    model: Network = build(Architecture.parse(NETWORK))
    with pytest.raises(NasError, match="fixes 'time' parameters, which no layer of the network has; allowed: temporal"):
        fixed_parameters(model, Stage(fixed=("time",)))
    with pytest.raises(NasError, match=r"fixes 'spatial' parameters, .*; allowed: networks with joint_filter"):
        training(Recipe(1, stages=(TEMPORAL,)), Watched())


def test_statistics_are_taken_anew_from_whole_clips() -> None:
    """Batches of 8, as many whole clips as have the pixels of 16 of half the frames: the means over
    both of what is normalised by 0.45 and 0.225, variances unbiased. Moments go on as before.
    """
    norm = nn.BatchNorm3d(3)
    model = nn.Sequential(norm, nn.Dropout(0.5), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    begun = training(Recipe(1, 16, stages=(Stage(frames=0.5),)), model)
    begun.epoch()
    shown = torch.from_numpy(clips().pixels[begun.order.numpy()]).double().div(255).sub(0.45).div(0.225)
    halves = [half.reshape(-1, 3) for half in shown.split(8)]
    assert norm.running_mean is not None and norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.double(), sum(h.mean(0) for h in halves) / 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), sum(h.var(0) for h in halves) / 2, rtol=1e-5, atol=1e-6)
    assert norm.momentum == 0.1
    kept = norm.running_mean.clone()
    fixed = training(Recipe(1, 16, stages=(Stage(epochs=1),)), model)  # of whole clips: as without stages
    fixed.epoch()
    assert norm.running_mean is not None and (norm.running_mean - kept).abs().max() < 0.2 * kept.abs().max()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_within_an_epoch_a_copy_is_prepared(ema: float) -> None:
    """Of weights that hardly move: the copy after a first step has the statistics that the epoch's
    end brings, and the training those of small clips until then, bit for bit as without a copy.
    """

    def begun() -> Training:
        model = nn.Sequential(nn.BatchNorm3d(3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        return training(Recipe(1, 8, ema=ema, stages=(Stage(size=0.5),)), model)

    loop, alone = begun(), begun()
    assert loop.settled() is loop.evaluated
    for each in (loop, alone):
        each.step()
    handed = loop.settled()
    assert handed is not loop.evaluated and not handed.training
    for found, expected in ((loop.model, alone.model), (loop.evaluated, alone.evaluated)):
        state = expected.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    assert loop.step() is not None and alone.step() is not None
    assert loop.settled() is loop.evaluated
    for name in ("0.running_mean", "0.running_var"):
        torch.testing.assert_close(handed.get_buffer(name), loop.evaluated.get_buffer(name))
    for found, expected in ((loop.model, alone.model), (loop.evaluated, alone.evaluated)):
        state = expected.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())


def test_the_average_is_prepared_and_the_network_left_as_it_is() -> None:
    model = nn.Sequential(nn.BatchNorm3d(3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    begun = training(Recipe(1, 16, ema=0.9, stages=(Stage(size=0.5),)), model)
    begun.epoch()
    own, average = model.get_buffer("0.running_mean"), begun.evaluated.get_buffer("0.running_mean")
    shown = torch.from_numpy(clips().pixels).float().div(255).sub(0.45).div(0.225).mean((0, 1, 2, 3))
    torch.testing.assert_close(average, shown, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own, 0.1 * shown, rtol=0.1, atol=0.01)  # a step with momentum .1

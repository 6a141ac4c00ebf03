from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.datasets import Clips
from nas.training.loop import Training, accuracy, balanced_weights, logits
from nas.training.recipe import Recipe

CPU = torch.device("cpu")


def clips(count: int = 40) -> Clips:
    """Dark clips of class 0 and bright ones of class 1."""
    labels = np.arange(count) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (count, 2, 4, 4, 3)) + 150 * labels[:, None, None, None, None]
    return Clips(pixels.astype(np.uint8), labels.astype(np.int64))


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3, 4)))


def trained(seed: int = 0, epochs: int = 5) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(0)
    model = Mean()
    training = Training(model, clips(), (3, 3), Recipe(epochs, batch_size=8, lr=0.1, seed=seed), True, CPU)
    return model, [training.epoch() for _ in range(epochs)]


def test_learns_what_can_be_learnt_and_repeats_by_seed() -> None:
    model, losses = trained()
    assert losses[-1] < losses[0] and accuracy(model, clips(), (3, 3), CPU) == 1
    assert trained()[1] == losses != trained(seed=1)[1]


def test_the_rate_follows_the_steps_and_ends_near_zero() -> None:
    training = Training(Mean(), clips(), (4, 4), Recipe(4, batch_size=8), False, CPU)
    assert training.steps == 5  # 20 steps in all, 2 of them warm-up
    rates = []
    for _ in range(20):
        rates.append(training.rate / training.recipe.lr)
        training.step()
    assert rates[:3] == [0.5, 1, 1] and rates[11] == pytest.approx(0.5)
    assert training.ended and training.epochs_done == 4 and training.rate == pytest.approx(0)


def test_a_stretched_schedule_ends_where_it_is_told_to_without_a_jump() -> None:
    """After 10 of 20 steps, 4 further ones: the positions are 10, 12.5, 15, 17.5, and the epoch
    that is under way ends with the schedule.
    """
    training = Training(Mean(), clips(), (4, 4), Recipe(4, batch_size=8), False, CPU)
    for _ in range(10):
        training.step()
    training.stretch(4)
    positions, means = [], []
    while not training.ended:
        positions.append(training.position)
        means.append(training.step())
    assert positions == [10, 12.5, 15, 17.5] and training.epochs_done == 3
    assert means[:3] == [None] * 3 and means[3] is not None


def test_one_dimensional_parameters_are_not_decayed() -> None:
    model = Mean()
    decayed, others = Training(model, clips(), (4, 4), Recipe(1), False, CPU).optimizer.param_groups
    assert decayed["params"] == [model.linear.weight] and decayed["weight_decay"] == 0.05
    assert others["params"] == [model.linear.bias] and others["weight_decay"] == 0


def test_the_optimizer_sees_clipped_gradients() -> None:
    model = Mean()
    training = Training(model, clips(), (4, 4), Recipe(1, batch_size=8, clip_norm=1e-3), False, CPU)
    norms: list[float] = []

    def note(*_: object) -> None:
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item())

    training.optimizer.register_step_pre_hook(note)
    training.epoch()
    assert norms == pytest.approx([1e-3] * 5, rel=1e-3)  # unclipped they are some hundred times as long


def test_every_epoch_has_all_clips_in_another_random_order() -> None:
    class Watched(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += (255 * (0.225 * x[:, 0, 0, 0, 0] + 0.45)).round().int().tolist()
            return super().forward(x)

    numbered = Clips(np.arange(40, dtype=np.uint8).repeat(2 * 4 * 4 * 3).reshape(40, 2, 4, 4, 3), clips().labels)
    orders = []
    for seed in (0, 1):
        model = Watched()
        training = Training(model, numbered, (4, 4), Recipe(2, batch_size=8, seed=seed), False, CPU)
        for epoch in range(2):
            training.epoch()
            orders.append(model.seen[40 * epoch :])
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len({tuple(order) for order in [*orders, list(range(40))]}) == 5


def test_evaluation_is_in_eval_mode_and_training_in_train_mode() -> None:
    """Batch normalisation of running statistics 0 and 1 leaves a clip as it is, whatever stands
    beside it in a batch, and evaluating does not move them; training does.
    """
    norm: Any = nn.BatchNorm3d(3, eps=1e-12)
    model = nn.Sequential(norm, nn.Dropout(0.5), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    bright = clips(10)
    expected = torch.from_numpy(bright.pixels).double().mean((1, 2, 3)) / 255
    found = logits(model, bright, (4, 4), CPU)
    torch.testing.assert_close(found.double(), (expected - 0.45) / 0.225, rtol=1e-5, atol=1e-5)
    assert model.training and norm.running_mean.abs().max() == 0
    model.eval()
    accuracy(model, bright, (4, 4), CPU)
    assert not model.training
    Training(model, bright, (4, 4), Recipe(1, batch_size=8), False, CPU).epoch()
    assert model.training and norm.running_mean.abs().max() > 0


def test_accuracy_counts_and_leaves_the_mode_alone() -> None:
    model = Mean()
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.copy_(torch.tensor([1.0, 0.0]))
    assert accuracy(model, clips(10), (4, 4), CPU) == 0.5 and model.training


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
@pytest.mark.parametrize("count", [8, 5])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(micro_batch: int, count: int) -> None:
    """Also where the clips are fewer than the batch and the last micro-batch is smaller."""
    found = []
    for size in (None, micro_batch):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv3d(3, 6, 3), nn.GELU(), nn.Flatten(1), nn.LazyLinear(2))
        model(torch.zeros(1, 3, 3, 3, 3))
        data = clips(count)
        data = Clips(np.concatenate([data.pixels, data.pixels[:, :1]], axis=1), data.labels)
        recipe = Recipe(1, batch_size=8, clip_norm=1e9, weight_decay=0)
        training = Training(model, data, (3, 3), recipe, True, CPU, size)
        loss = training.epoch()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        found.append(torch.tensor([loss]))
    assert found[0].norm() > 0.01
    torch.testing.assert_close(found[2:], found[:2], rtol=1e-6, atol=1e-6)


def test_a_micro_batch_is_all_that_passes_at_once() -> None:
    seen = []

    class Watched(Mean):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    Training(Watched(), clips(16), (4, 4), Recipe(1, batch_size=8), False, CPU, 4).epoch()
    assert seen == [4, 4, 4, 4]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(1, batch_size=32, clip_norm=0.0, weight_decay=0.0, class_weights="balanced", label_smoothing=0.1),
        Recipe(1, batch_size=32, clip_norm=0.0, weight_decay=0.0, mixup=0.8, cutmix=1.0),
    ],
)
def test_four_times_eight_is_a_batch_of_32(recipe: Recipe) -> None:
    """In float64, also with weights of unequal classes, smoothed and mixed targets."""
    data = clips(32)
    data = Clips(data.pixels, np.minimum(data.labels, np.arange(32) % 5 % 2))
    found = []
    for size in (32, 8):
        torch.manual_seed(0)
        model = Mean()
        model.double()
        model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        training = Training(model, data, (3, 3), recipe, True, CPU, size)
        loss = training.epoch()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        found.append(torch.tensor([loss]).double())
    assert found[0].norm() > 0.01
    torch.testing.assert_close(found[2:], found[:2], rtol=1e-6, atol=1e-9)


def test_balanced_weights_count_each_class_the_same() -> None:
    data = Clips(np.zeros((5, 1, 1, 1, 3), np.uint8), np.array([0, 0, 0, 2, 2]))
    weights = balanced_weights(data)
    assert weights.tolist() == pytest.approx([5 / 6, 0, 5 / 4])
    assert weights[torch.from_numpy(data.labels)].mean() == pytest.approx(1)


def test_weights_and_smoothing_make_the_loss_of_the_formula() -> None:
    """Clip by clip: -sum over classes k of w_k (0.9 [k is its class] + 0.1 / 2) log p_k."""
    data = clips(4)
    data = Clips(data.pixels, np.array([0, 0, 0, 1]))
    torch.manual_seed(0)
    model = Mean()
    rows = logits(model, data, (4, 4), CPU).double().log_softmax(1)
    smooth = 0.9 * torch.eye(2)[data.labels] + 0.05
    expected = -(torch.tensor([4 / 6, 4 / 2]) * smooth * rows).sum(1).mean().item()
    recipe = Recipe(1, batch_size=4, class_weights="balanced", label_smoothing=0.1)
    assert Training(model, data, (4, 4), recipe, False, CPU).epoch() == pytest.approx(expected, rel=1e-6)


def test_longer_clips_are_shown_in_part() -> None:
    data = Clips(np.repeat(clips(8).pixels, 4, axis=1), clips(8).labels)
    seen = []

    class Watched(Mean):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.shape[2])
            return super().forward(x)

    model = Watched()
    Training(model, data, (4, 4), Recipe(1, batch_size=8), False, CPU, frames=2).epoch()
    accuracy(model, data, (4, 4), CPU, frames=2)
    assert seen == [2, 2]

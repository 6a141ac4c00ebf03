from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.datasets import Clips
from nas.training.loop import Recipe, Training, accuracy, logits

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


def test_rate_warms_up_and_ends_near_zero() -> None:
    training = Training(Mean(), clips(), (4, 4), Recipe(4, batch_size=8), False, CPU)
    assert training.steps == 5  # 20 steps in all, 2 of them warm-up
    assert [training._rate(step) for step in (0, 1, 2)] == [0.5, 1, 1]
    assert training._rate(11) == pytest.approx(0.5) and training._rate(20) == pytest.approx(0)


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

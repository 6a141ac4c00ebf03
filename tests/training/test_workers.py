"""Shares of a batch add up to the batch, told by workers that are threads of this process.

Torch's process group, in which they are processes, is in `tests/trials/test_workers.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data.clips import Clips
from nas.models.convolution import BatchNorm
from nas.training.batch_norm import synchronise
from nas.training.loop import Training, accuracy
from nas.training.recipe import Augmentation, Recipe, Stage
from nas.training.state import progress_of, restore, tensors_of
from nas.training.stills import Stills
from nas.training.workers import ALONE, Workers

CPU = torch.device("cpu")
T = TypeVar("T")


class Meeting:
    """Where threads hand in tensors and get those of all."""

    def __init__(self, count: int) -> None:
        self.barrier, self.values = threading.Barrier(count, timeout=60), [torch.empty(0)] * count

    def all(self, rank: int, value: Tensor) -> list[Tensor]:
        self.values[rank] = value.clone()
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


@dataclass(frozen=True)
class Threads(Workers):
    meeting: Any = None

    def __deepcopy__(self, _: Any) -> Threads:
        return self

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(torch.stack(self.gathered(tensor)).sum(0))

    def agreed(self, value: float) -> float:
        return self.gathered(torch.tensor(value))[0].item()

    def gathered(self, value: Tensor) -> list[Tensor]:
        return self.meeting.all(self.rank, value)


def together(count: int, work: Callable[[Workers], T]) -> list[T]:
    """What each of so many workers comes to."""
    meeting = Meeting(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, [Threads(rank, count, meeting) for rank in range(count)]))


def clips(count: int) -> Clips:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 4, 6, 6, 3)).astype(np.uint8)
    return Clips(pixels, np.arange(count) % 3 % 2)


class Small(nn.Module):
    """In float64, so that nothing but the order of additions could differ."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        middle: nn.Module = nn.BatchNorm3d(4) if norm else nn.Identity()
        parts = (nn.Conv3d(3, 4, 3), middle, nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
        self.parts = nn.Sequential(*parts).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x.double())


def numbers(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten().double() for value in state.values()])


def test_shares_are_all_clips_and_differ_by_one() -> None:
    assert [Workers(rank, 3).share(7) for rank in range(3)] == [range(0, 2), range(2, 4), range(4, 7)]
    assert ALONE.share(7) == range(7)


EVERYTHING = Recipe(
    2, batch_size=7, ema=0.9, mixup=0.4, cutmix=1.0, label_smoothing=0.1, class_weights="balanced", clip_norm=0.01,
    augmentation=Augmentation(0.5, 0.7, operations=2, erasing=0.5),
)  # fmt: skip


@pytest.mark.parametrize(("recipe", "micro_batch"), [(Recipe(2, batch_size=7), 3), (EVERYTHING, 2)])
@pytest.mark.parametrize("norm", [False, True])
def test_three_workers_train_as_one(recipe: Recipe, micro_batch: int, norm: bool) -> None:
    """Four steps on 7 clips, of which the workers take 2, 2 and 3, in one or two micro-batches.

    Batch normalisation, which tells micro-batches from a batch, is compared without them.
    """

    def trained(workers: Workers) -> tuple[list[float], Tensor, Tensor]:
        model = Small(norm)
        model.load_state_dict(start)
        most = None if norm else micro_batch
        training = Training(model, clips(15), (4, 4), recipe, True, CPU, most, frames=3, workers=workers)
        losses = [training.epoch(), training.epoch()]
        return losses, numbers(model.state_dict()), numbers(training.evaluated.state_dict())

    start = Small(norm).state_dict()
    losses, weights, average = trained(ALONE)
    assert not torch.allclose(weights, numbers(start), atol=1e-4)
    for found in together(3, trained):
        assert found[0] == pytest.approx(losses, rel=1e-6)
        torch.testing.assert_close(found[1], weights, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found[2], average, rtol=1e-6, atol=1e-8)


def test_micro_batches_are_equally_many() -> None:
    assert [Workers(rank, 3).parts(7, 2) for rank in (0, 2)] == [
        [slice(0, 1), slice(1, 2)],
        [slice(4, 5), slice(5, 7)],
    ]
    assert [Workers(rank, 3).parts(7, 1) for rank in (0, 2)] == [
        [slice(0, 1), slice(1, 2)],
        [slice(4, 5), slice(5, 7)],
    ]
    assert ALONE.parts(5, 2) == [slice(0, 1), slice(1, 3), slice(3, 5)]


class Both(Small):
    """With a second head, of the same features."""

    def __init__(self) -> None:
        super().__init__()
        self.image_head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor, image: bool = False) -> Tensor:
        features = self.parts[:-1](x.double().expand(-1, -1, 3, -1, -1))
        return self.image_head(features) if image else self.parts[-1](features)


def test_three_workers_train_both_heads_as_one() -> None:
    """Four steps on 7 clips and four on 5 images, of which the workers take 1, 2 and 2."""
    images = Clips(clips(5).pixels[:, :1], np.arange(5) % 3)

    def trained(workers: Workers) -> tuple[list[float | None], Tensor]:
        model = Both()
        model.load_state_dict(start)
        stills = Stills(images, True, EVERYTHING.batch_size, CPU)
        data = clips(15)
        training = Training(model, data, (4, 4), EVERYTHING, True, CPU, 2, frames=3, workers=workers, stills=stills)
        losses = [loss for _ in range(2) for loss in (training.epoch(), stills.mean_loss)]
        return losses, numbers(model.state_dict())

    start = Both().state_dict()
    losses, weights = trained(ALONE)
    for found in together(3, trained):
        assert found[0] == pytest.approx(losses, rel=1e-6)
        torch.testing.assert_close(found[1], weights, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [nn.BatchNorm3d, BatchNorm])
def test_batch_normalisation_is_that_of_all_clips(kind: type[nn.BatchNorm3d]) -> None:
    """Against torch's own of the whole batch, with a loss of random weights: outputs, gradients,
    running statistics. The shares have one and two clips; ours has its channels last.
    """
    torch.manual_seed(0)
    x, loss_weights = torch.randn(2, 3, 4, 2, 5, 6).double() * 3 + 2
    axes = (0, 2, 3, 4, 1) if kind is BatchNorm else (0, 1, 2, 3, 4)
    x, loss_weights = x.permute(axes), loss_weights.permute(axes)

    def normalised(workers: Workers) -> list[Tensor]:
        norm = kind(4).double()
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1, 5))
            norm.bias.copy_(torch.arange(4))
        synchronise(norm, workers)
        own = slice(workers.share(3).start, workers.share(3).stop)
        part = x[own].clone().requires_grad_()
        y = norm(part)
        (y * loss_weights[own]).sum().backward()
        assert part.grad is not None and norm.running_mean is not None and norm.running_var is not None
        gradients = [each.grad for each in (norm.weight, norm.bias) if each.grad is not None]
        workers.add_up(gradients)
        return [y, part.grad, *gradients, norm.running_mean, norm.running_var]

    expected, found = normalised(ALONE), together(2, normalised)
    for i in (0, 1):
        torch.testing.assert_close(torch.cat([each[i] for each in found]), expected[i])
    for i in (2, 3, 4, 5):
        for each in found:
            torch.testing.assert_close(each[i], expected[i])


def test_three_workers_train_in_stages_as_one() -> None:
    """Four epochs of two steps on 7 clips: smaller ones with the kernels fixed, then whole ones, in
    turn; batch normalisation gets its statistics anew at the end of each, in one micro-batch, as it
    counts.
    """

    def trained(workers: Workers) -> tuple[list[float], Tensor, Tensor, list[bool]]:
        model = Small(norm=True)
        model.load_state_dict(start)
        convolution: Any = model.parts[0]
        convolution.parameter_kinds = {"kernel": ("weight",)}
        loop = Training(model, clips(15), (4, 4), recipe, True, CPU, 99, frames=3, workers=workers)
        losses, stayed, kernels = [], [], convolution.weight
        for _ in range(recipe.epochs):
            before = kernels.detach().clone()
            losses.append(loop.epoch())
            stayed.append(torch.equal(before, kernels))
        return losses, numbers(model.state_dict()), numbers(loop.evaluated.state_dict()), stayed

    recipe = Recipe(4, batch_size=7, ema=0.9, mixup=0.4, stages=(Stage(size=0.75, fixed=("kernel",)), Stage()))
    start = Small(norm=True).state_dict()
    losses, weights, average, stayed = trained(ALONE)
    assert stayed == [True, False, True, False]
    for found in together(3, trained):
        assert found[0] == pytest.approx(losses, rel=1e-6)
        torch.testing.assert_close(found[1], weights, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found[2], average, rtol=1e-6, atol=1e-8)
        assert found[3] == stayed


def test_within_an_epoch_workers_prepare_the_copy_of_one() -> None:
    """By all 15 clips of the epoch, of which each takes five; in one micro-batch, as it counts."""

    def handed(workers: Workers) -> list[Tensor]:
        model = Small(norm=True)
        model.load_state_dict(start)
        recipe = Recipe(1, batch_size=7, stages=(Stage(size=0.75),))
        loop = Training(model, clips(15), (4, 4), recipe, True, CPU, 99, frames=3, workers=workers)
        loop.step()
        state = loop.settled().state_dict()
        return [numbers({name: state[name]}) for name in state if "running" in name]

    start = Small(norm=True).state_dict()
    expected = handed(ALONE)
    for found in together(3, handed):
        for value, alone in zip(found, expected, strict=True):
            torch.testing.assert_close(value, alone, rtol=1e-6, atol=1e-8)


def test_workers_count_their_shares_of_what_is_evaluated() -> None:
    """Two clips for three workers, one of which is classified rightly."""

    def score(workers: Workers) -> float:
        return accuracy(nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten()), data, (6, 6), CPU, workers=workers)

    pixels = np.zeros((2, 4, 6, 6, 3), np.uint8)
    pixels[:, ..., 1] = 200  # green is class 1
    data = Clips(pixels, np.array([1, 2]))
    assert together(3, score) == [0.5] * 3


def test_each_worker_keeps_its_own_random_numbers() -> None:
    """Those of dropout: the first worker's have the name that a single process gives its own."""
    states = [torch.Generator().manual_seed(seed).get_state() for seed in (1, 2)]

    @dataclass(frozen=True)
    class Told(Workers):
        def gathered(self, value: Tensor) -> list[Tensor]:
            return states

    def made(rank: int) -> Training:
        return Training(Small(), clips(8), (4, 4), Recipe(1, batch_size=4), False, CPU, workers=Told(rank, 2))

    first = made(0)
    tensors = tensors_of(first)
    assert torch.equal(tensors["random.torch"], states[0]) and torch.equal(tensors["random.torch.1"], states[1])
    with torch.random.fork_rng([]):
        restore(made(1), tensors, progress_of(first), "state")
        assert torch.equal(torch.get_rng_state(), states[1])

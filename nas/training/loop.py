"""The training loop: used by the search for its proxies and by `nas train` for whole networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.clips import Clips
from nas.data.transforms import augment, centre_crop, normalise


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips per step.
        lr: Peak learning rate of AdamW; a linear warm-up over the first tenth of the steps, then a
            cosine to zero.
        weight_decay: Not on biases, norms and other one-dimensional parameters.
        clip_norm: Largest norm of the gradient.
        seed: Of the order of clips and of the augmentation.
    """

    epochs: int
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0


class Training:
    """One network in training; `epoch` runs the next epoch.

    Args:
        model: Takes (B, 3, T, H, W).
        clips: The training clips, at least as large as the model's input; larger ones are cropped
            at random.
        size: (height, width) of the model's input.
        recipe: How to train.
        flip: Whether clips may be mirrored.
        device: Where to train; mixed precision in bfloat16 on CUDA, float32 elsewhere.
        micro_batch: At most so many clips pass the network at a time; the gradients of a batch add
            up. They are those of the whole batch, unless the network normalises over clips: batch
            statistics are of the micro-batch.
    """

    def __init__(
        self,
        model: nn.Module,
        clips: Clips,
        size: tuple[int, int],
        recipe: Recipe,
        flip: bool,
        device: torch.device,
        micro_batch: int | None = None,
    ) -> None:
        self.model, self.clips, self.size = model, clips, size
        self.recipe, self.flip, self.device = recipe, flip, device
        self.micro_batch = micro_batch or recipe.batch_size
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
        # A last batch of one clip would leave batch normalisation nothing to normalise.
        self.steps = max(1, len(clips.labels) // recipe.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.epochs_done = 0

    def _rate(self, step: int) -> float:
        total = self.steps * self.recipe.epochs
        warm_up = max(1, total // 10)
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))

    def epoch(self) -> float:
        """Trains one epoch and returns its mean loss."""
        self.model.train()
        order = torch.randperm(len(self.clips.labels), generator=self.generator)
        total = torch.zeros((), device=self.device)
        for chosen in order[: self.steps * self.recipe.batch_size].chunk(self.steps):
            pixels = torch.from_numpy(self.clips.pixels[chosen.numpy()])
            labels = torch.from_numpy(self.clips.labels[chosen.numpy()])
            total += self._gradients(augment(pixels, self.size, self.flip, self.generator), labels)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
            self.optimizer.step()
            self.schedule.step()
        self.epochs_done += 1
        return total.item() / self.steps

    def _gradients(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Leaves the gradients of a batch's mean loss, which it returns."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        starts = range(0, len(pixels), self.micro_batch)
        for part, targets in ((pixels[i : i + self.micro_batch], labels[i : i + self.micro_batch]) for i in starts):
            with _mixed_precision(self.device):
                loss = F.cross_entropy(self.model(normalise(part.to(self.device))), targets.to(self.device))
            loss = loss * (len(part) / len(pixels))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def _mixed_precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def logits(model: nn.Module, clips: Clips, size: tuple[int, int], device: torch.device, batch: int = 32) -> Tensor:
    """Class logits of the centre crop of every clip, (N, classes), on the CPU."""
    was_training = model.training
    model.eval()
    with torch.inference_mode(), _mixed_precision(device):
        rows = [model(normalise(centre_crop(part, size).to(device))).float().cpu() for part in _batches(clips, batch)]
    model.train(was_training)
    return torch.cat(rows)


def _batches(clips: Clips, batch: int) -> Iterator[Tensor]:
    for start in range(0, len(clips.labels), batch):
        yield torch.from_numpy(clips.pixels[start : start + batch])


def accuracy(model: nn.Module, clips: Clips, size: tuple[int, int], device: torch.device, batch: int = 32) -> float:
    """Share of clips whose highest logit is their label."""
    predicted = logits(model, clips, size, device, batch).argmax(dim=1)
    return (predicted == torch.from_numpy(clips.labels)).float().mean().item()

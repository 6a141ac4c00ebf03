"""Optimizer, learning rate and moving average: pure functions of a recipe and a network."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nas.training.recipe import Recipe

HEADS = ("parts.head.", "image_head.")  # beginnings of names
POSITIONS = ("position", "positions", "bias_table", "token", "query")  # parts of names


def make_optimizer(model: nn.Module, recipe: Recipe, new: Collection[str] = ()) -> torch.optim.Optimizer:
    """Groups the parameters that are trained by weight decay and by factor on the learning rate.

    Each group carries its factor as `factor`. Parameters of the head are those under `parts.head`,
    and `image_head` where there is a second one.

    Args:
        model: The network.
        recipe: How it is trained.
        new: Names of parameters that a checkpoint did not fill; empty where there was none.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {(recipe.weight_decay, 1.0): [], (0.0, 1.0): []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        position = not set(POSITIONS).isdisjoint(name.split("."))
        decay = recipe.weight_decay if parameter.ndim > 1 and (recipe.decay_positions or not position) else 0.0
        factor = recipe.new_lr if name in new else 1.0
        if name.startswith(HEADS):
            factor = max(factor, recipe.head_lr) if recipe.head_lr >= 1 else factor * recipe.head_lr
        if recipe.optimizer == "adamw" and recipe.lr_channels and parameter.ndim > 1 and not position:
            factor *= min(1.0, recipe.lr_channels / parameter.shape[1])
        groups.setdefault((decay, factor), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": members, "weight_decay": decay, "lr": recipe.lr * factor, "factor": factor}
        for (decay, factor), members in groups.items()
        if members
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    # Fused is one pass over all parameters of a group in place of tens.
    fused = all(parameter.is_cuda or parameter.is_cpu for group in options for parameter in group["params"])
    return torch.optim.AdamW(options, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2), fused=fused)


def rate(position: float, total: int, warm_up: float) -> float:
    """The learning rate at a step, as a share of its peak.

    Args:
        position: Of the step, from 0; no whole number where a schedule was stretched.
        total: Steps of the whole schedule.
        warm_up: Share of them, in which the rate rises linearly; at least one step.
    """
    rising = max(1, int(total * warm_up))
    if position < rising:
        return min(1.0, (position + 1) / rising)
    return 0.5 * (1 + math.cos(math.pi * (position - rising) / max(1, total - rising)))


class MovingAverage(AveragedModel):
    """A moving average of a network's weights and of what its state counts besides, such as the
    statistics of batch normalisation.

    Whole numbers, and buffers that follow from the configuration, are the network's own: the mean
    of two equal indices may be rounded to the one before, and that of two infinities is no number.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begins with the network as it is, on its device."""

        super().__init__(model, use_buffers=True)
        state, self._decay = model.state_dict(), decay
        self._copied = [
            name for name, value in model.named_buffers() if name not in state or not value.is_floating_point()
        ]

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes the network's values of after a step.

        Torch's own sends the number of updates to the device and reads it there, so that the host
        waits for the step.
        """
        count = int(self.n_averaged)  # on the CPU
        decay = min(self._decay, (1 + count) / (10 + count)) if count else 0.0
        own, new = ({**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (self.module, model))
        averaged = [name for name in own if name not in self._copied]
        torch._foreach_lerp_([own[name] for name in averaged], [new[name] for name in averaged], 1 - decay)
        for name in self._copied:
            own[name].copy_(new[name])
        self.n_averaged += 1

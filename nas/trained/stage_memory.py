"""Memory of a training step in each stage of a recipe, computed, and whether the network can run
there.
"""

from __future__ import annotations

import torch

from nas.architecture import Architecture
from nas.errors import NasError
from nas.limits.memory import training_step_memory
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.training.recipe import WHOLE, Recipe, Stage
from nas.training.stages import fixed_parameters


def check_stages(architecture: Architecture, recipe: Recipe) -> None:
    """Raises NasError where the network takes no clips of a stage, has none of the parameters that
    it fixes, or where the training ends before a stage.
    """
    entry = architecture.input
    if recipe.epochs < recipe.turn_epochs:
        raise NasError(
            f"epochs {recipe.epochs} end before every stage of the recipe has had its turn; allowed: "
            f"{recipe.turn_epochs} and more"
        )
    if not recipe.stages:
        return
    network = build(architecture, device="meta")
    for stage in recipe.stages:
        frames, size = stage.extent(entry.frames, entry.size)
        if (frames, size) != (entry.frames, entry.size) and not architecture.takes_any_clip:
            raise NasError(
                f"a stage of the recipe has clips of {frames}x{size[0]}x{size[1]} and the network takes those of "
                f"{entry.frames}x{entry.size[0]}x{entry.size[1]} alone; allowed: networks of convolutions with a mean "
                "head, or stages of whole clips"
            )
        fixed_parameters(network, stage)


def stage_memory(architecture: Architecture, stage: Stage, batch: int, micro_batch: int) -> int:
    """Bytes of a training step of a stage in float32 with AdamW: as `training_step_memory`, with
    clips of the stage's shape, without what the gradients of fixed parameters would need.

    Args:
        architecture: Of the network, at its full input.
        stage: One whose clips the network takes.
        batch: Clips of a step.
        micro_batch: Those that pass the network at a time.
    """
    if stage.whole and not stage.fixed:
        return training_step_memory(cost(architecture), batch, micro_batch)
    network, entry = build(architecture, device="meta"), architecture.input
    for parameter in fixed_parameters(network, stage):
        parameter.requires_grad_(False)
    frames, size = stage.extent(entry.frames, entry.size)
    priced = cost(network, torch.empty(micro_batch, entry.shape.channels, frames, *size, device="meta"))
    return training_step_memory(priced, batch // micro_batch, 1)  # the pass is of a whole micro-batch


def share(recipe: Recipe, workers: int) -> int:
    """The most clips that a worker takes of a batch."""
    return -(-recipe.batch_size // workers)


def step_memory(architecture: Architecture, recipe: Recipe, workers: int, micro_batch: int) -> int:
    """The most bytes that a step takes of a worker in any stage of a recipe, with what it keeps
    beside it: the moving average, and what it tells the other workers, all gradients in a row.

    Args:
        architecture: Of the network, at its full input.
        recipe: Says the stages, the batch and whether there is an average.
        workers: That share the batch.
        micro_batch: Clips that pass the network of one at a time.
    """
    kept = cost(architecture).parameter_bytes * (bool(recipe.ema) + (workers > 1))
    batch = share(recipe, workers)
    return kept + max(stage_memory(architecture, stage, batch, micro_batch) for stage in recipe.turn)


def largest_stage(architecture: Architecture, recipe: Recipe, micro_batch: int) -> Architecture:
    """The network at the clips of the stage that takes the most memory."""
    entry = architecture.input
    largest = max(recipe.turn, key=lambda stage: stage_memory(architecture, stage, micro_batch, micro_batch))
    return architecture if largest.whole else architecture.resized(*largest.extent(entry.frames, entry.size))


def stage_reasons(architecture: Architecture, recipe: Recipe, batch: int, micro_batch: int) -> tuple[str, ...]:
    """A sentence for each stage: clips, what is fixed, its memory beside that of whole clips."""
    entry = architecture.input
    whole = stage_memory(architecture, WHOLE, batch, micro_batch)
    lines = []
    for stage in recipe.stages:
        frames, (height, width) = stage.extent(entry.frames, entry.size)
        found = stage_memory(architecture, stage, batch, micro_batch)
        fixed = f" with {', '.join(stage.fixed)} parameters fixed" if stage.fixed else ""
        lines.append(
            f"stage of {frames}x{height}x{width}{fixed}: a step takes {found / 1e9:.3g} GB, computed, "
            f"{whole / found:.3g} times less than the {whole / 1e9:.3g} GB of whole clips"
        )
    return tuple(lines)

"""Recipes for those who name none: by how many clips there are, and what the weights begin with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nas.training.recipe import Augmentation, Recipe
from nas.units import plural

FEW = 5_000  # clips: fewer need more variation than recording brought
LEAST_STEPS = 20  # of an epoch


class Start(StrEnum):
    """What the weights begin with."""

    SCRATCH = "from scratch"
    IMAGES = "from image weights"
    OWN = "from a checkpoint of nas"


@dataclass(frozen=True)
class Preset:
    """A recipe and the reason for each of its choices, in sentences without full stop."""

    recipe: Recipe
    reasons: tuple[str, ...]


# Clips that are passed in all, the least and the most epochs for that, and the peak learning rate
# of 32 clips. From scratch everything is to be learnt; weights of images lack time; a checkpoint of
# ours only fits another task.
_EFFORT = {
    Start.SCRATCH: (200_000, 20, 100, 2e-3),
    Start.IMAGES: (60_000, 10, 30, 1e-4),
    Start.OWN: (40_000, 5, 20, 2e-4),
}


def preset(clips: int, start: Start, epochs: int | None = None, batch: int | None = None) -> Preset:
    """Chooses a recipe.

    Args:
        clips: Training clips.
        start: What the weights begin with.
        epochs, batch: As asked for; None chooses them.
    """
    passes, least, most, lr = _EFFORT[start]
    asked_epochs, asked_batch = epochs, batch
    batch = batch or max(8, min(32 if clips < FEW else 64, clips // LEAST_STEPS // 8 * 8))
    epochs = epochs or min(most, max(least, round(passes / clips)))
    average = 1 - 1 / max(10, min(5000, epochs * max(1, clips // batch) // 20))
    few = clips < FEW
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch,
        lr=lr * batch / 32,
        lr_channels=0,
        decay_positions=False,
        new_lr=1.0 if start == Start.SCRATCH else 10.0,
        head_lr=1.0 if start == Start.SCRATCH else 10.0,
        ema=round(average, 4),
        label_smoothing=0.1,
        mixup=0.2 if few else 0.0,
        augmentation=Augmentation(scale=0.5, jitter=0.2 if few else 0.0, operations=0 if few else 2),
    )
    reasons = (
        f"{plural(epochs, 'epoch')}: "
        + ("as asked" if asked_epochs else f"about {passes:,} clips are passed {start}, in {least} to {most} epochs"),
        f"batches of {batch}{' as asked' * (asked_batch is not None)}: {plural(max(1, clips // batch), 'step')} in an "
        f"epoch of {plural(clips, 'clip')}",
        f"learning rate {recipe.lr:.3g}: {lr:.3g} for 32 clips {start}"
        + ("" if start == Start.SCRATCH else ", ten times that for the head and what the weights lack"),
        f"moving average with decay {recipe.ema:g}: over about {round(1 / (1 - recipe.ema)):,} steps",
        "mixup and changes of colour: few clips" if few else "RandAugment: enough clips for strong variation",
    )
    return Preset(recipe, reasons)

"""How a network begins that no checkpoint fills."""

from __future__ import annotations

from torch import nn

STEM_POSITIONS = "parts.stem.positions."


def draw_anew(model: nn.Module, gain: float) -> None:
    """Draws the linear layers of all blocks, in place, so that their outputs are `gain` times as
    large as their inputs, in the mean, and learned positions of the stem with half of `gain`, about
    as large as the tokens of patches. Layers that are zero stay so, as do biases.

    Image transformers draw both with .02, which is half of that at a width of 768 and a seventh at
    48: there a block of factorized attention adds 2 % of what it reads, of patch shift 11 %.

    Args:
        model: A network; its blocks are the parts of its stages.
        gain: Above 0.
    """
    for name, module in model.named_modules():
        if name.startswith("parts.stages_") and isinstance(module, nn.Linear) and module.weight.any():
            nn.init.normal_(module.weight, std=gain * module.in_features**-0.5)
    for name, parameter in model.named_parameters():
        if name.startswith(STEM_POSITIONS):
            nn.init.normal_(parameter, std=0.5 * gain)

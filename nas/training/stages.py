"""What a stage of a training does to clips and parameters.

Two-stage training of joint filters (NeurIPS 2021): all frames at a reduced size with the spatial
atoms fixed, then the full size with fewer frames and the temporal atoms fixed, in turn. What a kind
of parameters is, the layers say: a module may have `parameter_kinds`, a mapping of kinds to the
last words of the names of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.architecture import LAYERS
from nas.errors import NasError
from nas.models.registry import module_class
from nas.training.augmentation import middle
from nas.training.recipe import Stage


def reduced(clips_BTHWC: Tensor, stage: Stage) -> Tensor:
    """The clips that a stage sees: frames in the middles of equal parts of time, resized by the
    mean of the pixels that a pixel covers.

    Args:
        clips_BTHWC: uint8 clips of the full frames and size.
        stage: Says the shares of both.

    Returns:
        uint8 (B, T', H', W', C).
    """
    batch, length, height, width, channels = clips_BTHWC.shape
    frames, size = stage.extent(length, (height, width))
    shown = middle(clips_BTHWC, frames)
    if size == (height, width):
        return shown
    planes = shown.permute(0, 1, 4, 2, 3).reshape(batch * frames, channels, height, width)
    means = F.interpolate(planes.float(), size, mode="area").round_().to(clips_BTHWC.dtype)
    return means.view(batch, frames, channels, *size).permute(0, 1, 3, 4, 2).contiguous()


def settle(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Takes the running statistics of batch normalisation anew, the mean over batches: those of a
    stage's clips are not those of the whole clips that are evaluated (arXiv 1906.06423).

    Args:
        model: Its other state stays; it is in evaluation mode afterwards.
        batches: Normalised whole clips, (B, 3, T, H, W).
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        for clips in batches:
            model(clips)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def fixed_parameters(model: nn.Module, stage: Stage) -> list[nn.Parameter]:
    """The parameters that a stage fixes, of those that are trained at all.

    Raises:
        NasError: The model has none of a kind.
    """
    by_kind = _by_kind(model)
    for kind in stage.fixed:
        if kind not in by_kind:
            raise NasError(
                f"a stage fixes {kind!r} parameters, which no layer of the network has; allowed: "
                f"{', '.join(by_kind) or _operators()}"
            )
    return [p for kind in dict.fromkeys(stage.fixed) for p in by_kind[kind] if p.requires_grad]


def _by_kind(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    found: dict[str, list[nn.Parameter]] = {}
    for module in model.modules():
        kinds: dict[str, tuple[str, ...]] = getattr(module, "parameter_kinds", {})
        for kind, words in kinds.items():
            named = module.named_parameters()
            found.setdefault(kind, []).extend(p for name, p in named if name.rpartition(".")[2] in words)
    return found


def _operators() -> str:
    able = [kind.op_name() for kind in LAYERS.types() if hasattr(module_class(kind), "parameter_kinds")]
    return f"networks with {', '.join(able)}"

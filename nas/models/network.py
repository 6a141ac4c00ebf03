"""From an architecture to a module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.architecture import Architecture, ArchitectureError, LayerConfig, Part, load
from nas.errors import NasError, brief
from nas.models.chain import Chain
from nas.models.registry import module_class


def build_part(part: Part) -> nn.Module:
    """Returns the module of one part of a network, on torch's current default device."""
    kind = module_class(type(part.config))
    if isinstance(part.config, LayerConfig):
        return kind(part.config, part.input, part.output, part.stride)
    return kind(part.config, part.input, part.output)


def part_inputs(part: Part, make: Callable[..., Tensor], batch: int = 1) -> tuple[Tensor, ...]:
    """Example inputs of a part's module.

    Args:
        part: One part of an architecture.
        make: Makes a tensor of the given sizes: `torch.randn`, or that on another device.
        batch: B, the number of clips.

    Returns:
        (B, T, H, W, C) with class tokens where the part has them, that of a stem laid out as a
        clip (B, C, T, H, W); and the tokens of the stem where the module takes them as well.
    """
    if part.path == "stem":
        x = make(batch, part.input.channels, *part.input.extent).permute(0, 2, 3, 4, 1)
    else:
        x = make(batch, *part.input.stored, part.input.channels)
    return (x, make(batch, *part.output.stored, part.output.channels)) if adds_stem_tokens(part) else (x,)


def adds_stem_tokens(part: Part) -> bool:
    """Whether the part's module takes the tokens of a tube stem, without their embedding, as a
    second argument.
    """
    return isinstance(part.config, LayerConfig) and part.config.adds_stem_tokens


def named_parts(architecture: Architecture) -> dict[str, Part]:
    """The parts of a network in order, by their names in it."""
    return {part.path.replace(".", "_"): part for part in architecture.parts()}


class Network(Chain):
    """A video network: (B, 3, T, H, W) to class logits (B, num_classes).

    A network of sparse tubes also takes images, (B, 3, 1, H, W). One of convolutions takes other
    clips: with a mean head any, so that stages of training may differ in frames and size; with a
    convolutional head larger ones, in evaluation.

    Attributes:
        architecture: What it was built from.
        parts: Its pieces in order; their names are the paths of the file with underscores.
    """

    def __init__(self, architecture: Architecture) -> None:
        parts = named_parts(architecture)
        gated = [name for name, part in parts.items() if adds_stem_tokens(part)]
        super().__init__({name: build_part(part) for name, part in parts.items()}, gated)
        self.architecture = architecture

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        self._check(clip_BCTHW)
        return super().forward(clip_BCTHW)

    def _check(self, clip_BCTHW: Tensor) -> None:
        """Raises ArchitectureError for a clip that the network was not built for."""
        architecture, expected = self.architecture, self.architecture.input.shape
        shape = tuple(clip_BCTHW.shape)
        _, channels, *extent = shape if len(shape) == 5 else (0,) * 5
        fits = tuple(extent) == expected.extent
        if not fits and architecture.takes_images:
            fits = tuple(extent) == (1, *expected.extent[1:])
        if not fits and architecture.takes_any_clip:
            fits = min(extent) > 0
        if not fits and architecture.takes_larger_clips and not self.training:
            fits = all(n >= least for n, least in zip(extent, expected.extent, strict=True))
        if channels != expected.channels or not fits:
            raise ArchitectureError(
                "input",
                f"a clip of {list(shape)} does not fit; allowed: batch, channels, frames, height, width of "
                f"(any, {expected.channels}, {expected.frames}, {expected.height}, {expected.width}), "
                "or build Architecture.resized(frames, size)",
            )


def build(
    architecture: Architecture | str | Path,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    device: torch.device | str | None = None,
) -> Network:
    """Builds the network of an architecture, its weights drawn at random; see `nas.weights.build`
    for other weights.

    Args:
        architecture: An architecture, a path, or the name of a reference network.
        frames, size, num_classes: In place of those of the file; windows and tubes are clipped to
            smaller maps.
        device: Where its parameters are made, `meta` included; torch's default device if none. A
            network of the meta device becomes a real one by `to_empty` and `load_state_dict`.

    Returns:
        A module in training mode that maps (B, 3, T, H, W) to logits (B, num_classes).

    Raises:
        NasError: No such file, or it describes nothing that can be built.
    """
    if not isinstance(architecture, Architecture):
        architecture = load(architecture)
    if not (frames is size is num_classes is None):
        architecture = architecture.resized(frames, size, num_classes)
    if device is not None:
        _check_device(device)
    with torch.device(device) if device is not None else nullcontext():
        return Network(architecture)


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError, TypeError, NotImplementedError):
        raise NasError(
            f"device {brief(str(device))} cannot be used; allowed: 'cpu', 'meta', or an accelerator of this machine"
        ) from None


def tune(model: Network) -> None:
    """Lets every module that has a `tune` method measure its equal ways to run on its own input,
    and keep the fastest.

    The joint filters have one: factored or composed.
    """
    hooks = [
        module.register_forward_pre_hook(lambda tuned, inputs: tuned.tune(*inputs))
        for module in model.modules()
        if hasattr(module, "tune")
    ]
    entry = model.architecture.input.shape
    weight = next(model.parameters())
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, entry.channels, *entry.extent, device=weight.device, dtype=weight.dtype))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()


def freeze_layers(model: Network, before: str) -> None:
    """Stops the training of all layers and downsamplings before one; stem and head go on.

    The scaling-up of TubeViT freezes the first layers of a large image network and lets the tubes
    enter again, through gates (`stem_gate`), behind them.

    Args:
        model: A network.
        before: Path of the first layer that is trained, such as `stages.0.layers.16`.

    Raises:
        NasError: The network has no such layer.
    """
    names = [part.path for part in model.architecture.parts()][1:-1]
    if before not in names:
        raise NasError(f"layer {before!r} is not in the network; allowed: {', '.join(names)}")
    for name in names[: names.index(before)]:
        model.parts[name.replace(".", "_")].requires_grad_(False)

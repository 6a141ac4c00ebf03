"""Weights of image networks for video networks: ViT, CLIP's ViT, Swin and DaViT.

Every part of a video network says which of its parameters an image network has (`_slots`). A clip
that shows one image in every frame gives the image network's features, as long as the temporal
branches add nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import (
    T2D,
    TPS,
    Architecture,
    AttentionHead,
    ChannelAttention,
    ClassTokenHead,
    ConvDownsample,
    ConvStem,
    Factorized,
    FramePool,
    LayerConfig,
    MeanHead,
    MergeDownsample,
    Part,
    PatchStem,
    Shape,
    StemConfig,
    TubeStem,
)
from nas.errors import NasError
from nas.models.layers.joint_filter import ATOMS, JointFilterConv, may_replace
from nas.models.layers.tps import TPSBlock
from nas.models.network import Network
from nas.weights.checkpoints import load_state
from nas.weights.image_networks import DERIVED, PREFIX, ImageNetwork, read_image_network

SHOWN = 3


@dataclass(frozen=True)
class Filled:
    """What a checkpoint did to a network.

    Attributes:
        source: Where the checkpoint came from, for messages.
        kind: Family and naming of the checkpoint.
        filled: Names of the network's state that took values from the checkpoint.
        new: Names of the network's parameters that did not.
        left: Names of the checkpoint that found no place, those of an image network's own path
            first.
        notes: What else changes the function of the network, a sentence each.
    """

    source: str
    kind: str
    filled: list[str]
    new: list[str]
    left: list[str]
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """The checkpoint, how many names were filled, are new or were left, the first few spelled,
        and the notes.
        """
        lines = [f"{self.source}: {self.kind}"]
        for what, names in (("filled", self.filled), ("new", self.new), ("left of the checkpoint", self.left)):
            lines.append(f"  {what}: {len(names)}" + (f" ({_listed(names)})" if names else ""))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _listed(names: Sequence[str]) -> str:
    """The first few."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def fill_from(model: Network, source: str | Path, partial: bool = False) -> Filled:
    """Fills a network from a file or a name on the Hugging Face hub; see `load_state`, `fill`."""
    return fill(model, load_state(source), str(source), partial)


# -------------------------------------------------------------------------------------- conversions

Convert = Callable[[Tensor, torch.Size], Tensor]  # from the image network's tensor and our shape


def _reshaped(x: Tensor, shape: torch.Size) -> Tensor:
    """Our shape where that is a matter of axes of length one."""
    return x.reshape(shape) if x.squeeze().shape == torch.Size(n for n in shape if n != 1) else x


def _resized(x_CHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic interpolation of maps, exact where the size is the same."""
    if tuple(x_CHW.shape[1:]) == tuple(size):
        return x_CHW
    return F.interpolate(x_CHW[None], size=tuple(size), mode="bicubic", align_corners=False)[0]


def inflate(kernel: Tensor, shape: torch.Size) -> Tensor:
    """(O, I, H, W) to (O, I, T, H, W): the same in every frame over T, so a still clip gives what
    the image gives.

    A kernel that overlaps its neighbours sees zero padding before the first frame and behind the
    last: there the features of a still clip are smaller than those of the image.
    """
    if kernel.ndim != 4 or len(shape) != 5:
        return kernel
    frames = shape[2]
    return kernel.unsqueeze(2).expand(-1, -1, frames, -1, -1) / frames


def inflate_patch(kernel: Tensor, shape: torch.Size) -> Tensor:
    """As `inflate`; patches of another size get the kernel resized, in proportion to keep the sum
    over a flat patch.
    """
    if kernel.ndim != 4:
        return kernel
    area = kernel.shape[2] * kernel.shape[3]
    resized = _resized(kernel.flatten(0, 1), shape[3:]).view(*kernel.shape[:2], *shape[3:])
    return inflate(resized * (area / (shape[3] * shape[4])), shape)


def place_positions(position_NC: Tensor, shape: torch.Size) -> Tensor:
    """(side * side, C) to (1, T, H, W, C): interpolated in space, the same in every frame."""
    side = math.isqrt(len(position_NC))
    grid = position_NC.T.reshape(-1, side, side)
    return _resized(grid, shape[2:4]).permute(1, 2, 0).expand(1, shape[1], -1, -1, -1)


def resize_positions(position: Tensor, shape: torch.Size) -> Tensor:
    """(1, T, H, W, C) to another (1, T, H, W, C): linearly along time, bicubically in space."""
    if position.ndim != 5 or position.shape[::4] != shape[::4] or not position.numel():
        return position
    frames, height, width = shape[1:4]
    x = _resized_frames(position[0].flatten(1), frames)
    x = x.reshape(frames, *position.shape[2:]).permute(0, 3, 1, 2)
    return torch.stack([_resized(frame, (height, width)) for frame in x]).permute(0, 2, 3, 1)[None]


def resize_bias_table(table: Tensor, shape: torch.Size, window: tuple[int, int]) -> Tensor:
    """((2T-1)(2wh-1)(2ww-1), heads) to another T, linearly along the distance in time."""
    plane = math.prod(2 * n - 1 for n in window)
    if table.ndim != 2 or len(table) % plane or (len(table) // plane) % 2 == 0:
        return table  # of another window
    return _resized_frames(table.reshape(-1, plane * table.shape[1]), shape[0] // plane).reshape(-1, table.shape[1])


def _resized_frames(x_TN: Tensor, frames: int) -> Tensor:
    if len(x_TN) == frames:
        return x_TN
    return F.interpolate(x_TN.T[None], size=frames, mode="linear", align_corners=False)[0].T


def inflate_bias_table(table: Tensor, shape: torch.Size, window: tuple[int, int]) -> Tensor:
    """((2h-1)(2w-1), heads) to ((2T-1)(2wh-1)(2ww-1), heads): the same at all distances in time."""
    if table.ndim != 2:
        return table
    wh, ww = (2 * n - 1 for n in window)
    side = math.isqrt(len(table))
    size = (wh, ww) if len(table) == wh * ww else (side, side)
    if math.prod(size) != len(table):
        return table
    plane = _resized(table.T.reshape(-1, *size), (wh, ww)).flatten(1).T
    return plane.repeat(shape[0] // (wh * ww), 1)


def _side_by_side(x: Tensor, shape: torch.Size) -> Tensor:
    """Merging weights over the frames of a stride, whose cells stand side by side, frames
    outermost.
    """
    frames = shape[-1] // x.shape[-1] if shape[-1] % x.shape[-1] == 0 else 1
    return x.repeat(1, frames) / frames if x.ndim == 2 else x.repeat(frames)


def _channel_qkv(x: Tensor, shape: torch.Size, config: ChannelAttention, output: Shape) -> Tensor:
    """Queries, keys and values of channel attention for T times as many tokens, all frames alike.

    The products are sums over tokens, so one factor is divided by T. The video network's formula
    (`scale: tokens`) is the image network's with other names, softmax(k v) q in place of softmax(q
    k) v, at another scale.
    """
    if len(x) % 3:
        return x
    q, k, v = x.chunk(3)
    if config.scale == "head_dim":
        return torch.cat((q, k / output.frames, v))
    scale = math.sqrt(output.tokens * config.heads / output.channels) / output.frames
    return torch.cat((k * scale, v, q))


# ----------------------------------------------------------------------------- parts of the network


@dataclass(frozen=True)
class Slot:
    """A parameter of the network with its counterpart in image networks; without one it becomes
    zero.

    Parameters that a family of image networks does not have are in no slot and stay as they were
    initialised.
    """

    target: str
    source: str | None
    convert: Convert = _reshaped


_FIELDS = ("weight", "bias")


def _module(target: str, source: str | None, convert: Convert = _reshaped) -> Iterator[Slot]:
    for kind in _FIELDS:
        yield Slot(f"{target}.{kind}", source and f"{source}.{kind}", convert)


def _conv(target: str, source: str, convert: Convert = inflate) -> Iterator[Slot]:
    yield Slot(f"{target}.weight", f"{source}.weight", convert)
    yield Slot(f"{target}.bias", f"{source}.bias")


def _stem(part: Part, image: ImageNetwork) -> Iterator[Slot]:
    config = part.config
    if isinstance(config, TubeStem):
        if not config.interpolated:
            for i in config.image_tubes():
                # With space_to_depth the convolution makes a fraction of the image network's
                # channels.
                if math.prod(config.tubes[i].space_to_depth) == 1:
                    yield from _conv(f"tubes.{i}.conv", "stem", inflate_patch)
        return
    if isinstance(config, ConvStem):
        yield from _conv("conv", "stem")
        if config.norm == "layer":
            yield from _module("norm", "stem.norm")
        return
    assert isinstance(config, PatchStem)
    yield from _conv("proj", "stem", inflate_patch)
    if config.position != "none":
        yield Slot("positions.0", "position", place_positions)
    if config.position == "factorized":
        yield Slot("positions.1", None)
    if config.class_tokens != "none" and "class_token" in image:
        yield Slot("token.value", "class_token")
        if config.position != "none":
            yield Slot("token.position", "class_position")
    if config.norm and (image.family != "ViT" or "stem.norm.weight" in image):
        yield from _module("norm", "stem.norm")


def _downsample(part: Part, at: str) -> Iterator[Slot]:
    if isinstance(part.config, ConvDownsample):
        yield from _module("norm", f"{at}.norm")
        yield from _conv("conv", at)
    elif isinstance(part.config, MergeDownsample):
        yield from _module("norm", f"{at}.norm", _side_by_side)
        yield Slot("reduction.weight", f"{at}.weight", _side_by_side)


def _layer(part: Part, at: str, image: ImageNetwork) -> Iterator[Slot]:
    config = part.config
    norm1, attention, norm2 = "norm1", "", "norm2"
    if isinstance(config, Factorized):
        space = 1 if config.variant == "divided" else 0
        norm1, attention, norm2 = f"attention.{space}.norm", f"attention.{space}.", "norm"
        if config.variant == "self_attention":
            yield from _module("attention.1.proj", None)
    elif not isinstance(config, T2D | TPS | ChannelAttention):
        return
    yield from _module(norm1, f"{at}.norm1")
    if isinstance(config, ChannelAttention):
        yield from _module("qkv", f"{at}.channel_qkv", partial(_channel_qkv, config=config, output=part.output))
        yield from _module("proj", f"{at}.channel_proj")
    else:
        yield from _module(f"{attention}qkv", f"{at}.qkv")
        yield from _module(f"{attention}proj", f"{at}.proj")
    yield from _module(norm2, f"{at}.norm2")
    yield from _module("mlp.0", f"{at}.mlp.0")
    yield from _module("mlp.2", f"{at}.mlp.2")
    if isinstance(config, TPS):
        yield Slot("bias_table", f"{at}.bias_table", partial(inflate_bias_table, window=config.window))
    if isinstance(config, T2D | ChannelAttention) and config.cpe != "none":
        for cpe in ("cpe1", "cpe2"):
            if image.family == "DaViT":
                yield from _conv(f"{cpe}.planes.0", f"{at}.{cpe}")
            else:
                yield from _module(f"{cpe}.planes.0", None)
            if config.cpe == "3d":
                yield from _module(f"{cpe}.planes.1", None)
                yield from _module(f"{cpe}.planes.2", None)


def _head(part: Part, image: ImageNetwork, pooled: bool) -> Iterator[Slot]:
    """The norm, if it is the first behind the layers, and a classifier of the same classes."""
    config = part.config
    if not isinstance(config, MeanHead | AttentionHead | ClassTokenHead):
        return
    has_norm = not isinstance(config, MeanHead) or config.norm != "none"
    if has_norm and not pooled and "norm.weight" in image:
        yield from _module("norm", "norm")
    classifier = image.tensors.get("head.weight")
    if classifier is not None and tuple(classifier.shape) == (part.output.channels, part.input.channels):
        yield from _module("classifier", "head")


def _layout(architecture: Architecture) -> list[tuple[Part, str, bool]]:
    """Parts with their place in an image network, and whether they come after frames were pooled to
    tokens.

    A stage of an image network begins with a downsampling; our stages may be finer.
    """
    places, stage, layer, pooled = [], 0, 0, False
    for part in architecture.parts():
        at = ""
        if isinstance(part.config, ConvDownsample | MergeDownsample) or part.stride != (1, 1, 1):
            stage, layer = stage + 1, 0
            at = f"stages.{stage}.downsample"
        pooled = pooled or isinstance(part.config, FramePool)
        if isinstance(part.config, LayerConfig) and not pooled:
            at = f"stages.{stage}.layers.{layer}"
            layer += 1
        places.append((part, at, pooled))
    return places


def _slots(architecture: Architecture, image: ImageNetwork) -> Iterator[Slot]:
    """All parameters of a network that an image network of the family has, by their full names."""
    for part, at, pooled in _layout(architecture):
        slots: Iterator[Slot]
        if part.path == "stem":
            slots = _stem(part, image)
        elif part.path == "head":
            slots = _head(part, image, pooled)
        elif isinstance(part.config, FramePool):
            slots = _module("norm", "norm") if "norm.weight" in image else iter(())
        elif isinstance(part.config, LayerConfig):
            slots = iter(()) if pooled else _layer(part, at, image)
        else:
            slots = _downsample(part, at)
        for slot in slots:
            yield Slot(f"parts.{part.path.replace('.', '_')}.{slot.target}", slot.source, slot.convert)


# --------------------------------------------------------------------------------------------- fill


def fill(model: Network, state: Mapping[str, Tensor], source: str = "checkpoint", partial: bool = False) -> Filled:
    """Copies the weights of an image network, or those of a network of this package, into a
    network.

    Of an image network everything that the network shares with it must be there. What it does not
    have stays as it was initialised, or becomes zero where the image network's function would
    change otherwise: temporal positions, the output of ViViT's temporal attention, position
    encoding in planes with time.

    A state of this package (`parts.…`) must have all names of the network in the same shapes, apart
    from a classifier of other classes, which stays new. Learned positions of other frames or size
    are interpolated, and so are TPS's bias tables of other frames.

    Args:
        model: The network; it is unchanged where this raises.
        state: Tensors by name, of any floating type.
        source: Name of the checkpoint for messages.
        partial: Take of a state of this package what agrees in name and shape, and leave the rest,
            so that several can be filled in one after the other: the tubes of a small network into
            a large one.

    Raises:
        NasError: Another depth or width, something is missing, or names of no known network.
    """
    own = {name: short for name in state if (short := PREFIX.sub("", name, count=1)).startswith("parts.")}
    if own:
        fill_own = _fill_partly if partial else _fill_own
        done = fill_own(model, {short: state[name] for name, short in own.items()}, source)
        return replace(done, left=done.left + [name for name in state if name not in own])
    image = read_image_network(state, source)
    kind = f"{image.family} with the names of {image.library}"
    _check_depths(model, image, source)
    notes = _stem_notes(model.architecture.stem, image, source)
    slots = list(_slots(model.architecture, image))
    named = [slot for slot in slots if slot.source]
    missing = [slot.source for slot in named if slot.source and slot.source not in image]
    if missing:
        raise NasError(
            f"{source}, a {kind}, has no {missing[0]!r}, so that only {len(named) - len(missing)} of "
            f"{len(named)} image parameters of the network can be filled; allowed: a checkpoint with all of them"
        )
    targets = dict(model.named_parameters())
    values = {}
    for slot in slots:
        target = targets[slot.target]
        if slot.source is None:
            values[slot.target] = torch.zeros_like(target)
            continue
        tensor = image.tensors[slot.source]
        value = slot.convert(_precise(tensor), target.shape)
        if value.shape != target.shape:
            raise NasError(
                f"{source}, a {kind}, has a {slot.source!r} of {list(tensor.shape)}, but {slot.target!r} is "
                f"{list(target.shape)}; allowed: a checkpoint of the same widths"
            )
        values[slot.target] = value
    _copy(model, values, source)
    filled = {slot.target: slot.source for slot in named}
    taken = {origin for name in filled.values() for origin in image.origins[str(name)]}
    left = [name for name in state if name not in taken and name not in image.beside]
    path = {origin for origins in image.origins.values() for origin in origins}
    left.sort(key=lambda name: name not in path)
    return Filled(source, kind, list(filled), [name for name in targets if name not in filled], left, notes)


def _stem_notes(stem: StemConfig, image: ImageNetwork, source: str) -> list[str]:
    """What the stem has and the image network has not; refuses a norm behind the image network's
    stem without place.
    """
    normed = getattr(stem, "norm", False) in (True, "layer")
    if "stem.norm.weight" in image and not normed:
        allowed = "a checkpoint without one" if isinstance(stem, TubeStem) else "a stem with one"
        raise NasError(
            f"{source}, a {image.family} with the names of {image.library}, has a LayerNorm behind its stem "
            f"({image.origins['stem.norm.weight'][0]!r}), and the network has none; allowed: {allowed}"
        )
    notes = []
    if image.family == "ViT" and normed and "stem.norm.weight" not in image:
        notes.append("the LayerNorm of the stem is new: the checkpoint has none before its blocks")
    if isinstance(stem, PatchStem) and stem.class_tokens != "none" and "class_token" not in image:
        notes.append("the class token is new, with random values: the checkpoint has none")
    return notes


OWN = "a network of this package"
CLASSIFIER = "parts.head.classifier."
POSITION = re.compile(r".*\.(?:positions\.\d+|position)")
BIAS_TABLE = ".bias_table"


def _fill_own(model: Network, state: Mapping[str, Tensor], source: str) -> Filled:
    """Everything, or nothing."""
    targets = model.state_dict(keep_vars=True)
    classes = [name for name in targets if name.startswith(CLASSIFIER)]
    if any(name not in state or state[name].shape != targets[name].shape for name in classes):
        targets = {name: target for name, target in targets.items() if name not in classes}
    required = [name for name in targets if not DERIVED.fullmatch(name)]
    whole = "allowed: a checkpoint of the same architecture, or fill(model, state, partial=True)"
    if missing := [name for name in required if name not in state]:
        raise NasError(
            f"{source}, {OWN}, lacks {len(missing)} of {len(required)} names of the network (first {missing[0]!r}); "
            f"{whole}"
        )
    if strange := [name for name in state if name not in targets and name not in classes]:
        raise NasError(
            f"{source}, {OWN}, has {len(strange)} names that the network lacks (first {strange[0]!r}); {whole}"
        )
    values = {}
    for name, target in targets.items():
        if name in state:
            values[name] = _own_value(model, name, state[name], target)
            if values[name].shape != target.shape and not _is_swapped(model, name, values[name], target):
                raise NasError(
                    f"{source}, {OWN}, has a {name!r} of {list(state[name].shape)}, but the network's is "
                    f"{list(target.shape)}; {whole}"
                )
    _copy(model, values, source)
    resized = [name for name in values if name.endswith(BIAS_TABLE) or POSITION.fullmatch(name)]
    resized = [name for name in resized if state[name].shape != values[name].shape]
    notes = [f"interpolated to the frames and size of the network: {_listed(resized)}"] if resized else []
    new = [name for name, _ in model.named_parameters() if name not in values]
    return Filled(source, OWN, list(values), new, [name for name in state if name not in values], notes)


def _own_value(model: Network, name: str, value: Tensor, target: Tensor) -> Tensor:
    """A tensor of a state of this package, interpolated where it belongs to other frames or another
    size.
    """
    if value.shape == target.shape:
        return value
    if POSITION.fullmatch(name):
        return resize_positions(_precise(value), target.shape)
    if name.endswith(BIAS_TABLE):
        block = model.get_submodule(name.removesuffix(BIAS_TABLE))
        assert isinstance(block, TPSBlock)
        return resize_bias_table(_precise(value), target.shape, block.config.window)
    return value


def _is_swapped(model: Network, name: str, value: Tensor, target: Tensor) -> bool:
    """Whether a tensor holds swapped atoms, of which loading takes the size too."""
    path, _, short = name.rpartition(".")
    return short in ATOMS and isinstance(model.get_submodule(path), JointFilterConv) and may_replace(value, target)


def _fill_partly(model: Network, state: Mapping[str, Tensor], source: str) -> Filled:
    """What agrees in name and shape."""
    targets = model.state_dict(keep_vars=True)
    values = {k: v for k, v in state.items() if k in targets and targets[k].shape == v.shape}
    if not values:
        raise NasError(
            f"{source} is {OWN}, but no tensor agrees in name and shape with one of the network "
            f"(first {next(iter(state))!r}); allowed: a checkpoint that shares parts with it"
        )
    _copy(model, values, source)
    new = [name for name, _ in model.named_parameters() if name not in values]
    return Filled(source, OWN, list(values), new, [name for name in state if name not in values])


def _precise(x: Tensor) -> Tensor:
    """At least single precision, which interpolation needs."""
    return x if x.dtype == torch.float64 else x.float()


def _copy(model: Network, values: Mapping[str, Tensor], source: str) -> None:
    if any(parameter.is_meta for parameter in model.parameters()):
        raise NasError(f"{source} cannot fill a network on the 'meta' device; allowed: 'cpu' or an accelerator")
    broken = next((name for name, value in values.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise NasError(f"{source} has numbers that are not finite for {broken!r}; allowed: weights of finite numbers")
    model.load_state_dict(values, strict=False)


def _check_depths(model: Network, image: ImageNetwork, source: str) -> None:
    layers: dict[str, int] = {}
    fillable = False
    for part, at, pooled in _layout(model.architecture):
        if isinstance(part.config, LayerConfig) and not pooled:
            stage = at.split(".")[1]
            layers[stage] = layers.get(stage, 0) + 1
            fillable = fillable or isinstance(part.config, T2D | TPS | ChannelAttention | Factorized)
    if not fillable:
        raise NasError(
            f"{source} is a {image.family}, but no layer of the network has weights of one; "
            "allowed: networks with layers of t2d, tps, channel_attention or factorized"
        )
    depths = list(layers.values())
    if depths != image.depths:
        raise NasError(
            f"{source}, a {image.family} with the names of {image.library}, has {image.depths} layers per stage, but "
            f"the network has {depths}; allowed: a checkpoint of the same depths"
        )

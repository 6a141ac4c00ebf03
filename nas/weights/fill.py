"""Fills a network from a checkpoint: of an image network, ViT, CLIP's ViT, Swin or DaViT, or of a
network of this package.

A clip that shows one image in every frame gives the image network's features, as long as the
temporal branches add nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nas.architecture import LAYERS, Architecture, Operator, PatchStem, TubeStem
from nas.errors import NasError
from nas.models.image_weights import Slot, precise
from nas.models.network import Network
from nas.models.registry import module_class
from nas.weights import own_state
from nas.weights.checkpoints import check_kinds, load_state
from nas.weights.filled import Filled, copy_values
from nas.weights.image_networks import ImageNetwork, read_image_network
from nas.weights.own_images import architecture_beside, is_image_network, read_own_images
from nas.weights.slots import Place, network_slots, places


def fill_from(model: Network, source: str | Path, partial: bool = False, copy_to_time: bool = True) -> Filled:
    """Fills a network from a file or a name on the Hugging Face hub: `load_state`, then `fill`.

    The folder of a network of this package that takes clips of one frame is that of an image
    network for one that takes more.
    """
    state, beside = load_state(source), architecture_beside(source)
    if beside is not None and starts_from_images(beside, model.architecture):
        check_kinds(state, str(source))
        image = read_own_images(state, beside, str(source))
        return fill_image_weights(model, image, state, str(source), copy_to_time)
    return fill(model, state, str(source), partial, copy_to_time)


def starts_from_images(beside: Architecture | None, architecture: Architecture) -> bool:
    """Whether the weights of a network of this package are image weights for another one.

    Args:
        beside: The network that the weights are of, where it is known.
        architecture: The network that begins with them.
    """
    return is_image_network(beside) and architecture.input.frames > 1


def fill(
    model: Network,
    state: Mapping[str, Tensor],
    source: str = "checkpoint",
    partial: bool = False,
    copy_to_time: bool = True,
) -> Filled:
    """Copies the weights of an image network, or those of a network of this package, into a
    network.

    Of an image network everything that the network shares with it must be there. What it does not
    have stays as it was initialised, or becomes zero where the image network's function would
    change otherwise: temporal positions, the output of ViViT's temporal attention, the linear layer
    behind TimeSformer's, position encoding in planes with time.

    A checkpoint whose patches have an extent in time is one of a video network of the same names:
    ViViT's model 1, whose positions fit `joint` ones of the same number, or TPS's released weights,
    whose tables of position biases fit `bias_index: released`. What does not fit is refused.

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
        copy_to_time: Let TimeSformer's attention over time start as a copy of the image network's
            attention, its norm included, as in the released recipe; otherwise it stays as it was
            initialised. The linear layer behind it starts at zero either way, so a still clip
            gives the image network's features.

    Raises:
        NasError: Another depth or width, something is missing, tensors that are no plain numbers,
            two different tensors of one name, or names of no known network.
    """
    check_kinds(state, source)
    own = own_state.short_names(state)
    if own:
        return own_state.fill(model, state, own, source, partial)
    return fill_image_weights(model, read_image_network(state, source), state, source, copy_to_time)


def fill_image_weights(
    model: Network, image: ImageNetwork, names: Iterable[str], source: str, copy_to_time: bool = True
) -> Filled:
    """Copies the weights of an image network into a network; see `fill`.

    Args:
        model: The network; it is unchanged where this raises.
        image: The image network.
        names: All of the checkpoint, for the report of what is left.
        source: Name of the checkpoint for messages.
        copy_to_time: As of `fill`.

    Raises:
        NasError: They do not fit.
    """
    architecture = model.architecture
    check_depths(places(architecture), image, source)
    notes = stem_notes(architecture.stem, image, source)
    slots = [slot for slot in network_slots(architecture, image) if copy_to_time or not slot.copy]
    named = {slot.target: slot.source for slot in slots if slot.source}
    missing = [name for name in named.values() if name not in image]
    if missing:
        raise NasError(
            f"{source}, {image.described}, has no {missing[0]!r}, so that only {len(named) - len(missing)} of "
            f"{len(named)} image parameters of the network can be filled; allowed: a checkpoint with all of them"
        )
    targets = dict(model.named_parameters())
    copy_values(model, {slot.target: converted(slot, targets[slot.target], image, source) for slot in slots}, source)
    taken = {origin for name in named.values() for origin in image.origins[name]}
    left = [name for name in names if name not in taken and name not in image.ignored]
    path = {origin for origins in image.origins.values() for origin in origins}
    left.sort(key=lambda name: name not in path)
    new = [name for name in targets if name not in named]
    return Filled(source, image.kind_and_library, list(named), new, left, notes)


def converted(slot: Slot, target: Tensor, image: ImageNetwork, source: str) -> Tensor:
    """What a parameter of the network, named by the slot, becomes.

    Raises:
        NasError: Its counterpart does not fit.
    """
    if slot.source is None:
        return torch.zeros_like(target)
    tensor = image.tensors[slot.source]
    try:
        value = slot.convert(precise(tensor), target.shape)
    except NasError as error:
        raise NasError(f"{source}, {image.described}, does not fit {slot.target!r}: {error}") from None
    if value.shape != target.shape:
        raise NasError(
            f"{source}, {image.described}, has a {slot.source!r} of {list(tensor.shape)}, but {slot.target!r} is "
            f"{list(target.shape)}; allowed: a checkpoint of the same widths"
        )
    return value


def stem_notes(stem: Operator, image: ImageNetwork, source: str) -> list[str]:
    """What the stem has and the image network has not; refuses a norm behind the image network's
    stem without place, and patches with an extent in time for a stem without patches.
    """
    if image.kind.video and not isinstance(stem, PatchStem):
        shape = list(image.tensors["stem.weight"].shape)
        raise NasError(
            f"{source}, {image.described}, has patches with an extent in time ({image.origins['stem.weight'][0]!r} of "
            f"{shape}), but the network has a {stem.op!r} stem; allowed: a stem of patches"
        )
    normed = getattr(stem, "norm", False) in (True, "layer")
    if "stem.norm.weight" in image and not normed:
        allowed = "a checkpoint without one" if isinstance(stem, TubeStem) else "a stem with one"
        raise NasError(
            f"{source}, {image.described}, has a LayerNorm behind its stem "
            f"({image.origins['stem.norm.weight'][0]!r}), and the network has none; allowed: {allowed}"
        )
    notes = []
    if image.kind.video:
        network = {"ViT": "ViViT's model 1", "Swin": "TPS's released weights"}.get(image.kind.family, "a video network")
        notes.append(f"patches have an extent in time, so positions and bias tables are read as those of {network}")
    if image.kind.family == "ViT" and normed and "stem.norm.weight" not in image:
        notes.append("the LayerNorm of the stem is new: the checkpoint has none before its blocks")
    if isinstance(stem, PatchStem) and stem.class_tokens != "none" and "class_token" not in image:
        notes.append("the class token is new, with random values: the checkpoint has none")
    return notes


def check_depths(found: Sequence[Place], image: ImageNetwork, source: str) -> None:
    """Raises NasError where a network, whose `places` are given, has no layers of an image network,
    or not as many in each stage as this one.
    """
    layers = [place for place in found if place.is_layer]
    if not any(place.fillable for place in layers):
        fillable = [kind.op_name() for kind in LAYERS.types() if hasattr(module_class(kind), "image_slots")]
        raise NasError(
            f"{source} is a {image.kind.family}, but no layer of the network has weights of one; "
            f"allowed: networks with layers of {', '.join(fillable)}"
        )
    stages = [place.at.split(".")[1] for place in layers]
    depths = [stages.count(stage) for stage in dict.fromkeys(stages)]
    if depths != image.depths:
        raise NasError(
            f"{source}, {image.described}, has {image.depths} layers per stage, but the network has {depths}; "
            "allowed: a checkpoint of the same depths"
        )

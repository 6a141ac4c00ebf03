"""Which parameters of a video network an image network has, and how the image network's tensors
become them: pure tensor maths.

The module class of a layer says so beside its parameters, in two optional methods that
`nas.weights` calls; a layer without them stays as it was initialised.

    @classmethod
    def image_slots(cls, config, shape: Shape, kind: CheckpointKind) -> Iterator[Slot]
        Called when weights of an image network are filled in. Lists the parameters of the layer
        that the image network has, and those that must be zero for a clip that shows one image in
        every frame to give the image network's features. `shape` is the map that the layer gives.

    def fitted_state(self, name: str, value: Tensor) -> Tensor | None
        Called when a state of this package holds a tensor of another shape than the parameter
        `name` of the module. Returns the tensor as `load_state_dict` takes it, interpolated to
        other frames say, or None where it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

Convert = Callable[[Tensor, torch.Size], Tensor]  # from the image network's tensor and our shape


@dataclass(frozen=True)
class CheckpointKind:
    """What network a checkpoint holds.

    Attributes:
        family: ViT (CLIP's included), Swin or DaViT.
        video: Whether its patches have an extent in time, so that its positions and tables of
            position biases may have one too.
    """

    family: str
    video: bool = False


def reshaped(x: Tensor, shape: torch.Size) -> Tensor:
    """A tensor in our shape, where that is a matter of axes of length one."""
    return x.reshape(shape) if x.squeeze().shape == torch.Size(n for n in shape if n != 1) else x


@dataclass(frozen=True)
class Slot:
    """A parameter with its counterpart in image networks.

    Attributes:
        target: Name of the parameter inside its part of the network.
        source: Name of the counterpart, as in `nas.weights.image_networks`, inside its layer where
            a layer lists it; none for a parameter that becomes zero.
        convert: Makes a tensor of the parameter's shape of the counterpart. It may raise NasError
            with what does not fit and what is allowed.
        copy: Whether the parameter is one of time that starts as a copy of one of space, which
            `nas.weights.fill.fill` leaves out where asked.
    """

    target: str
    source: str | None
    convert: Convert = reshaped
    copy: bool = False

    def inside(self, target: str, source: str = "") -> Slot:
        """The slot under the names of what holds it; `source` is the start of the counterpart's."""
        return replace(
            self,
            target=f"{target}.{self.target}" if target else self.target,
            source=self.source and source + self.source,
        )


def module_slots(target: str, source: str | None, convert: Convert = reshaped, copy: bool = False) -> Iterator[Slot]:
    """Weight and bias of a module."""
    for name in ("weight", "bias"):
        yield Slot(f"{target}.{name}", source and f"{source}.{name}", convert, copy)


def conv_slots(target: str, source: str, convert: Convert | None = None) -> Iterator[Slot]:
    """Weight, inflated over time, and bias of a convolution."""
    yield Slot(f"{target}.weight", f"{source}.weight", convert or inflate)
    yield Slot(f"{target}.bias", f"{source}.bias")


def position_encoding_slots(cpe: str, family: str) -> Iterator[Slot]:
    """Those of `cpe1` and `cpe2`, `PositionEncoding` of the kind `cpe`: DaViT has them in space,
    other families have none, and planes with time add nothing to what an image network knows.
    """
    for name in ("cpe1", "cpe2") if cpe != "none" else ():
        if family == "DaViT":
            yield from conv_slots(f"{name}.planes.0", name)
        else:
            yield from module_slots(f"{name}.planes.0", None)
        if cpe == "3d":
            yield from module_slots(f"{name}.planes.1", None)
            yield from module_slots(f"{name}.planes.2", None)


def precise(x: Tensor) -> Tensor:
    """At least single precision, which interpolation needs."""
    return x if x.dtype == torch.float64 else x.float()


def with_shape(x: Tensor, target: Tensor) -> Tensor | None:
    """The tensor if it has the shape of another one."""
    return x if x.shape == target.shape else None


def resized(x_CHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic interpolation of maps, exact where the size is the same."""
    if tuple(x_CHW.shape[1:]) == tuple(size):
        return x_CHW
    return F.interpolate(x_CHW[None], size=tuple(size), mode="bicubic", align_corners=False)[0]


def resized_frames(x_TN: Tensor, frames: int) -> Tensor:
    """Linear interpolation along the first axis, exact where the number is the same."""
    if len(x_TN) == frames:
        return x_TN
    return F.interpolate(x_TN.T[None], size=frames, mode="linear", align_corners=False)[0].T


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
    patch = resized(kernel.flatten(0, 1), shape[3:]).view(*kernel.shape[:2], *shape[3:])
    return inflate(patch * (area / (shape[3] * shape[4])), shape)


def resize_positions(position: Tensor, shape: torch.Size) -> Tensor:
    """(1, T, H, W, C) to another (1, T, H, W, C): linearly along time, bicubically in space."""
    if position.ndim != 5 or position.shape[::4] != shape[::4] or not position.numel():
        return position
    frames, height, width = shape[1:4]
    x = resized_frames(position[0].flatten(1), frames)
    x = x.reshape(frames, *position.shape[2:]).permute(0, 3, 1, 2)
    return torch.stack([resized(frame, (height, width)) for frame in x]).permute(0, 2, 3, 1)[None]

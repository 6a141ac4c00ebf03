"""What standalone files hold beside the layers: reading weights, and taking frames as they come.

`nas.deployment.standalone` copies it, so it needs torch alone.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name: a length, a header in JSON, then their bytes."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    state = {}
    for name, entry in header.items():
        if name != "__metadata__":
            dtype, shape, (first, _) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            count = math.prod(shape)
            flat = torch.frombuffer(data, dtype=dtype, count=count, offset=first) if count else torch.empty(0)
            state[name] = flat.reshape(shape).clone()
    return state


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fills a network, in place, with the weights of a safetensors file, all of them or none."""
    network.load_state_dict(read_safetensors(path))


class FromFrames(nn.Module):
    """A network that takes frames as a decoder gives them: uint8 (B, T, H, W, 3), red, green, blue.

    Frames of any height and width are resized to cover `resized`, their aspect ratio kept, by
    linear interpolation that averages where it makes smaller; `size` is cut out of the middle; and
    values from 0 to 1 are brought to the mean and standard deviation that the network was trained
    with. Frames of the size `resized` are cut only.

    Attributes:
        network: (B, 3, T, height, width) to logits (B, classes).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: tuple[int, int],
        resized: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.network, self.size, self.resized = network, size, resized
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def pixels(self, frames_BTHWC: Tensor) -> Tensor:
        """The middle of the resized frames, float (B, T, height, width, 3) from 0 to 255."""
        extent = [torch.arange(n, dtype=torch.float64, device=frames_BTHWC.device) for n in frames_BTHWC.shape[2:4]]
        # Tensors and not numbers, so that an exported file takes frames of any size.
        scale = torch.maximum(*(least / (n[-1] + 1) for least, n in zip(self.resized, extent, strict=True)))
        rows, columns = (
            resampling(n, scale, least, size) for n, least, size in zip(extent, self.resized, self.size, strict=True)
        )
        x = frames_BTHWC.permute(0, 1, 4, 2, 3).float()
        return (rows @ x @ columns.mT).permute(0, 1, 3, 4, 2)

    def forward(self, frames_BTHWC: Tensor) -> Tensor:
        x = (self.pixels(frames_BTHWC) / 255 - self.mean) / self.std
        logits: Tensor = self.network(x.permute(0, 4, 1, 2, 3))
        return logits


def resampling(places_N: Tensor, scale: Tensor, least: int, size: int) -> Tensor:
    """What each of `size` values in the middle of a resized axis takes of each of its N values.

    Args:
        places_N: 0 to N - 1, float64.
        scale: By which the axis is resized; it becomes no shorter than `least`.
        least: See `scale`.
        size: Values in the middle of it.

    Returns:
        (size, N), float32; rows have the sum 1.
    """
    count = places_N[-1] + 1
    full = torch.round(count * scale).clamp(min=least)
    step = count / full
    first = torch.floor((full - size) / 2)
    centres = (torch.arange(size, dtype=torch.float64, device=places_N.device) + first + 0.5) * step - 0.5
    weights = (1 - (centres[:, None] - places_N).abs() / step.clamp(min=1)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()

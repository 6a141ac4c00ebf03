"""Augmentation and normalisation of uint8 batches. Shape suffixes: B clips, T frames, H x W pixels,
C = 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.errors import NasError

MEAN, STD = 0.45, 0.225


def augment(
    clips_BTHWC: Tensor, crop_size: tuple[int, int], flip: bool, generator: torch.Generator | None = None
) -> Tensor:
    """Cuts a random window out of each clip and mirrors half of them left to right.

    Args:
        clips_BTHWC: clips of any dtype, at least as large as `crop_size`.
        crop_size: (height, width) of the result; one window for all frames of a clip.
        flip: whether clips may be mirrored; False where left and right are classes.
        generator: source of the randomness, on the CPU; None is torch's own.

    Returns:
        (B, T, crop height, crop width, C), same dtype and device, contiguous.

    Raises:
        NasError: a clip is smaller than the crop.
    """
    batch, _, height, width, _ = clips_BTHWC.shape
    room_y, room_x = _room(height, width, crop_size)
    top = torch.randint(room_y + 1, (batch,), generator=generator).tolist()
    left = torch.randint(room_x + 1, (batch,), generator=generator).tolist()
    mirrored = (torch.rand(batch, generator=generator) < 0.5).tolist() if flip else [False] * batch
    windows = []
    for clip, y, x, mirror in zip(clips_BTHWC, top, left, mirrored, strict=True):
        window = clip[:, y : y + crop_size[0], x : x + crop_size[1]]
        windows.append(window.flip(2) if mirror else window)
    return torch.stack(windows)


def centre_crop(clips_BTHWC: Tensor, crop_size: tuple[int, int]) -> Tensor:
    """The middle (height, width) window of each clip, as a view; raises NasError if a clip is
    smaller.
    """
    room_y, room_x = _room(clips_BTHWC.shape[2], clips_BTHWC.shape[3], crop_size)
    y, x = room_y // 2, room_x // 2
    return clips_BTHWC[:, :, y : y + crop_size[0], x : x + crop_size[1]]


def normalise(clips_BTHWC: Tensor) -> Tensor:
    """(x / 255 - 0.45) / 0.225 as float (B, C, T, H, W), a permuted view of contiguous (B, T, H, W,
    C).
    """
    return clips_BTHWC.permute(0, 4, 1, 2, 3).float().div_(255).sub_(MEAN).div_(STD)


def _room(height: int, width: int, crop_size: tuple[int, int]) -> tuple[int, int]:
    if crop_size[0] > height or crop_size[1] > width:
        raise NasError(
            f"crop of {crop_size[0]}x{crop_size[1]} is larger than clips of {height}x{width} pixels; "
            "allowed: up to their size"
        )
    return height - crop_size[0], width - crop_size[1]

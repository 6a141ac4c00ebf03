"""Clips on their way to the device that trains on them.

A copy from memory that the system may move makes the host wait for all that the device was given
before, so that nothing is launched ahead. So clips that take a small share of a GPU lie there, and
others pass through memory that is pinned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.clips import Clips

RESIDENT = 0.05  # of the memory that a process may take of a GPU: so much of it clips may take for good


def moved(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, for which the host does not wait."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def fits_beside(clips: Clips, device: torch.device) -> bool:
    """Whether clips take little of a GPU's memory, of which a process may have a share."""
    if device.type != "cuda":
        return False
    total = torch.cuda.get_device_properties(device).total_memory
    return clips.pixels.nbytes <= RESIDENT * total * torch.cuda.get_per_process_memory_fraction(device)


class Feed:
    """Batches of clips on a device.

    Args:
        clips: What is read.
        device: Where batches go.
        resident: Whether all clips lie there from now on; by what they take unless given.
    """

    def __init__(self, clips: Clips, device: torch.device, resident: bool | None = None) -> None:
        self._clips, self._device = clips, device
        resident = fits_beside(clips, device) if resident is None else resident
        self._pixels = torch.tensor(clips.pixels, device=device) if resident else None

    def pixels(self, chosen: Tensor) -> Tensor:
        """The clips at some places, uint8 (B, T, H, W, 3)."""
        if self._pixels is not None:
            return self._pixels[moved(chosen, self._device)]
        return moved(torch.from_numpy(self._clips.pixels[chosen.numpy()]), self._device)

    def labels(self, chosen: Tensor) -> Tensor:
        """Their labels, int64 (B,)."""
        return moved(torch.from_numpy(self._clips.labels[chosen.numpy()]), self._device)

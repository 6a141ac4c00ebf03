"""Images in random order, for the network with two heads that is trained on clips beside them."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.clips import Clips


class Stills:
    """What every second step of a training with two heads reads: a batch of images.

    Images run in an order of their own: another one begins when fewer than a batch are left,
    whether or not the clips' epoch ends then.

    Attributes:
        clips: The images, clips of one frame.
        flip: Whether they may be mirrored.
        batch: Images of a step: as many as clips, or all where there are fewer.
        order: Of the pass that is under way.
        taken: How many of it were read.
        loss: Sum of the losses of the epoch's steps on images, a tensor on the device.
        mean_loss: Mean of those of the epoch before; None where it had none.
    """

    def __init__(self, clips: Clips, flip: bool, batch: int, device: torch.device) -> None:
        self.clips, self.flip, self.batch = clips, flip, min(batch, len(clips.labels))
        self.order, self.taken = torch.empty(0, dtype=torch.int64), 0
        self.loss = torch.zeros((), device=device)
        self.mean_loss: float | None = None

    def draw(self, generator: torch.Generator) -> Tensor:
        """The next batch: places among the images."""
        if self.taken + self.batch > len(self.order):
            self.order, self.taken = torch.randperm(len(self.clips.labels), generator=generator), 0
        chosen = self.order[self.taken : self.taken + self.batch]
        self.taken += self.batch
        return chosen

    def end_epoch(self, steps: int) -> None:
        """Keeps the mean loss of an epoch's steps on images, and begins the next sum."""
        self.mean_loss = self.loss.item() / steps if steps else None
        self.loss = torch.zeros_like(self.loss)

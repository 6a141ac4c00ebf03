"""Several processes that train one network together, each on its share of every batch.

At each step all of them have the same weights, order of clips and random numbers about clips: each
draws for the whole batch and varies its share, so the batch is that of a single process. What they
exchange goes through torch's default process group, which whoever starts them has made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.errors import NasError
from nas.units import plural


@dataclass(frozen=True)
class Workers:
    """The processes as one of them sees them; of a single one nothing is exchanged.

    Attributes:
        rank: Which this one is, from 0.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    def share(self, size: int) -> range:
        """The part of so many clips that is this one's; the parts differ by one clip at most."""
        return range(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    def parts(self, size: int, most: int) -> list[slice]:
        """The share of so many clips in micro-batches of at most `most`, of every worker equally
        many; of one clip more where `most` is one and the shares differ.
        """
        own, largest = self.share(size), -(-size // self.count)
        count = min(-(-largest // most), size // self.count)
        cuts = [own.start + len(own) * i // count for i in range(count + 1)]
        return [slice(start, stop) for start, stop in pairwise(cuts)]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces the values of tensors, all on one device, by their sums over the workers, which
        are the same bits in each.
        """
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, sums in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(sums.view_as(tensor))

    def add_up_gradients(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Adds up the gradients and the loss of all shares, each a part of the batch's mean, and
        returns the batch's loss.
        """
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        self.add_up([loss, *gradients])
        return loss

    def agreed(self, value: float) -> float:
        """The first worker's value, where each would go by its own clock."""
        if self.count == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(told, 0)
        return told.item()

    def gathered(self, value: Tensor) -> list[Tensor]:
        """The tensors of all workers by rank, of one shape, on the CPU."""
        if self.count == 1:
            return [value]
        found = [torch.empty_like(value) for _ in range(self.count)]
        dist.all_gather(found, value)
        return found

    def check_same_state(self, steps: int | None, where: str) -> None:
        """Checks that all have found the same state, which each reads by itself.

        Args:
            steps: Taken until the state that this one found; None where it found none.
            where: Name of what was read, for messages.

        Raises:
            NasError: They have not.
        """
        told = [int(each) for each in self.gathered(torch.tensor(-1 if steps is None else steps))]
        for rank, other in enumerate(told):
            if other != told[0]:
                first, second = ("without a state" if n < 0 else f"after {plural(n, 'step')}" for n in (told[0], other))
                raise NasError(
                    f"worker 0 finds {where} {first} and worker {rank} {second}; allowed: a folder on a disk that "
                    "shows every machine the same files"
                )


ALONE = Workers()

"""What a checkpoint did to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nas.errors import NasError
from nas.models.image_weights import precise
from nas.models.network import Network

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
            lines.append(f"  {what}: {len(names)}" + (f" ({listed(names)})" if names else ""))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def copy_values(model: Network, values: Mapping[str, Tensor], source: str) -> None:
    """Copies tensors into a network by name.

    Raises:
        NasError: The network is on the meta device, or a tensor is of whole numbers in the place of
            fractions, or the other way round, or not finite; nothing is copied.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise NasError(f"{source} cannot fill a network on the 'meta' device; allowed: 'cpu' or an accelerator")
    targets = model.state_dict(keep_vars=True)
    for name, value in values.items():
        if value.is_floating_point() != targets[name].is_floating_point():
            raise NasError(
                f"{source} has {name!r} as numbers of type {value.dtype}; allowed: those of type {targets[name].dtype}"
                f"{' or other floating types' if targets[name].is_floating_point() else ''}"
            )
        if value.is_floating_point() and not torch.isfinite(precise(value)).all():
            raise NasError(f"{source} has numbers that are not finite for {name!r}; allowed: weights of finite numbers")
    model.load_state_dict(values, strict=False)

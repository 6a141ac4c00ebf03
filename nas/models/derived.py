"""Buffers that follow from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Derived(nn.Module):
    """A module whose buffers follow from its configuration: they are in no state dict.

    `to_empty`, which makes a network of the meta device a real one, leaves buffers without numbers,
    and no state dict has them; so they are computed again wherever the module is moved.
    """

    def derived(self) -> dict[str, Tensor | None]:
        """The buffers by name, on the default device."""
        raise NotImplementedError

    def register_derived(self) -> None:
        for name, value in self.derived().items():
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = {name: now for name, now in self.named_buffers(recurse=False) if now is not before[name]}
        if moved:
            with torch.no_grad(), torch.device("cpu"):
                for name, value in self.derived().items():
                    if value is not None and name in moved:
                        moved[name].copy_(value)
        return self

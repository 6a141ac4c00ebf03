"""The parts of a network in the order in which data flows."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn


class Chain(nn.Module):
    """Stem, layers, downsamplings and head, one after the other: (B, 3, T, H, W) to class logits
    (B, classes).

    Attributes:
        parts: The modules by name; the first, `stem`, reads the clip as a view (B, T, H, W, 3).
        gated: Names of those that take the tokens of a tube stem, without their embedding, as a
            second argument.
    """

    def __init__(self, parts: Mapping[str, nn.Module], gated: Collection[str] = ()) -> None:
        super().__init__()
        self.parts, self.gated = nn.ModuleDict(parts), frozenset(gated)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        logits: Tensor = self.parts["head"](self.encode(clip_BCTHW))
        return logits

    def encode(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map (B, T, H, W, C), which the head reads."""
        raw = {"raw": True} if self.gated else {}  # otherwise the memory of the tokens ends with their first use
        out = self.parts["stem"](clip_BCTHW.permute(0, 2, 3, 4, 1), **raw)
        x, tokens = out if self.gated else (out, None)
        del out
        for name, part in self.parts.items():
            if name not in ("stem", "head"):
                x = part(x, tokens) if name in self.gated else part(x)
        last_map: Tensor = x
        return last_map

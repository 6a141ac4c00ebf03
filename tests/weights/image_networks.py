"""Image networks written plainly from their papers, to compare video networks with: ViT, Swin and
DaViT.

Parameters: `patch`, `cls`, `pos`, `pre`, `stages.S.L.{ln1, qkv, out, ln2, fc1, fc2, table, cpe1,
cpe2}`, `merge.S.{norm, reduce}` before stage S, `norm` and `classifier`. All maps are (images,
height, width, channels).
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention(x_BNC: Tensor, block: nn.ModuleDict, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v, heads written out."""
    b, n, c = x_BNC.shape
    q, k, v = block["qkv"](x_BNC).view(b, n, 3, heads, c // heads).unbind(2)
    logits = torch.einsum("bihd,bjhd->bhij", q, k) / (c // heads) ** 0.5 + bias
    return block["out"](torch.einsum("bhij,bjhd->bihd", logits.softmax(-1), v).reshape(b, n, c))


def channel_attention(x_BNC: Tensor, block: nn.ModuleDict, groups: int) -> Tensor:
    """softmax(k^T v / sqrt(d)) q^T, channels by channels."""
    b, n, c = x_BNC.shape
    q, k, v = block["qkv"](x_BNC).view(b, n, 3, groups, c // groups).unbind(2)
    weights = (torch.einsum("bngi,bngj->bgij", k, v) / (c // groups) ** 0.5).softmax(-1)
    return block["out"](torch.einsum("bgij,bngj->bngi", weights, q).reshape(b, n, c))


def block(width: int, ratio: int = 2) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "ln1": nn.LayerNorm(width),
            "qkv": nn.Linear(width, 3 * width),
            "out": nn.Linear(width, width),
            "ln2": nn.LayerNorm(width),
            "fc1": nn.Linear(width, ratio * width),
            "fc2": nn.Linear(ratio * width, width),
        }
    )


def windows(x_BHWC: Tensor, size: int) -> Tensor:
    """(windows, size * size, C), windows row by row."""
    _, h, w, c = x_BHWC.shape
    rows = [x_BHWC[:, y : y + size, x : x + size] for y in range(0, h, size) for x in range(0, w, size)]
    return torch.stack(rows, dim=1).reshape(-1, size * size, c)


def unwindows(x_SLC: Tensor, size: int, height: int, width: int) -> Tensor:
    x = x_SLC.view(-1, height // size, width // size, size, size, x_SLC.shape[-1])
    return torch.cat([torch.cat(list(row.unbind(1)), dim=2) for row in x.unbind(1)], dim=1)


class Plain(nn.Module):
    """What the three share: random parameters, large enough for every one to matter."""

    stages: Any
    merge: Any

    def randomize(self) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():
            parameter.data.normal_(std=0.2, generator=generator)


class ViT(Plain):
    """Tokens of a per-image transformer, (images, N or 1 + N, C), after the last norm."""

    def __init__(
        self, *, image: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 3, token: bool = True,
        pre_norm: bool = False, quick: bool = False, classes: int = 5
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.quick = heads, quick
        self.patch = nn.Conv2d(3, width, patch, patch, bias=not pre_norm)
        self.cls = nn.Parameter(torch.empty(1, 1, width)) if token else None
        self.pos = nn.Parameter(torch.empty(1, (image // patch) ** 2 + token, width))
        self.pre = nn.LayerNorm(width) if pre_norm else None
        self.stages = nn.ModuleList([nn.ModuleList(block(width) for _ in range(depth))])
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        self.randomize()

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).mT
        if self.cls is not None:
            x = torch.cat((self.cls.expand(len(x), -1, -1), x), dim=1)
        x = x + self.pos
        if self.pre is not None:
            x = self.pre(x)
        for layer in self.stages[0]:
            x = x + attention(layer["ln1"](x), layer, self.heads)
            y = layer["fc1"](layer["ln2"](x))
            x = x + layer["fc2"](y * torch.sigmoid(1.702 * y) if self.quick else F.gelu(y))
        return self.norm(x)


class Swin(Plain):
    """Map of the last stage, (images, H, W, C), after the last norm; odd blocks shift their windows
    by half.
    """

    def __init__(
        self, *, patch: int = 4, window: int = 4, width: int = 24, depths: tuple[int, ...] = (2, 2, 1), classes: int = 5
    ) -> None:
        super().__init__()
        self.window, self.heads = window, [3 * 2**s for s in range(len(depths))]
        widths = [width * 2**s for s in range(len(depths))]
        self.patch, self.pre = nn.Conv2d(3, width, patch, patch), nn.LayerNorm(width)
        self.stages, self.merge = nn.ModuleList(), nn.ModuleDict()
        for s, (w, depth) in enumerate(zip(widths, depths, strict=True)):
            self.stages.append(nn.ModuleList(block(w) for _ in range(depth)))
            for layer in self.stages[s]:
                layer.table = nn.Parameter(torch.empty((2 * window - 1) ** 2, self.heads[s]))
            if s:
                reduce = nn.Linear(2 * w, w, bias=False)
                self.merge[str(s)] = nn.ModuleDict({"norm": nn.LayerNorm(2 * w), "reduce": reduce})
        self.norm = nn.LayerNorm(widths[-1])
        self.classifier = nn.Linear(widths[-1], classes)
        self.randomize()

    def bias(self, table: Tensor) -> Tensor:
        """(heads, L, L): the row of the table for every distance of two patches."""
        n, places = self.window, [(y, x) for y in range(self.window) for x in range(self.window)]
        rows = [[(y - v + n - 1) * (2 * n - 1) + x - u + n - 1 for v, u in places] for y, x in places]
        return table[torch.tensor(rows)].permute(2, 0, 1)

    def block(self, x: Tensor, layer: nn.ModuleDict, heads: int, shift: int) -> Tensor:
        _, h, w, _ = x.shape
        y = layer["ln1"](x).roll((-shift, -shift), dims=(1, 2))
        # Patches that the roll brought together are further apart in the image than a window is
        # wide.
        place = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), dim=-1)[None]
        place = windows(place.roll((-shift, -shift), dims=(1, 2)), self.window)
        far = ((place[:, :, None] - place[:, None]).abs() >= self.window).any(-1)
        mask = torch.zeros(far.shape, dtype=x.dtype).masked_fill(far, float("-inf"))
        bias = (self.bias(layer.get_parameter("table"))[None] + mask[:, None]).repeat(len(x), 1, 1, 1)
        y = unwindows(attention(windows(y, self.window), layer, heads, bias), self.window, h, w)
        x = x + y.roll((shift, shift), dims=(1, 2))
        return x + layer["fc2"](F.gelu(layer["fc1"](layer["ln2"](x))))

    def forward(self, images: Tensor) -> Tensor:
        x = self.pre(self.patch(images).permute(0, 2, 3, 1))
        for s, stage in enumerate(self.stages):
            if s:
                cells = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
                x = self.merge[str(s)]["reduce"](self.merge[str(s)]["norm"](torch.cat(cells, dim=-1)))
            for i, layer in enumerate(stage):
                shift = self.window // 2 if i % 2 and x.shape[1] > self.window else 0
                x = self.block(x, layer, self.heads[s], shift)
        return self.norm(x)


class DaViT(Plain):
    """Norm of the mean over the last map, (images, C); blocks attend in windows and between
    channels by turns.
    """

    def __init__(self, *, window: int = 5, width: int = 24, depths: tuple[int, ...] = (2, 4), classes: int = 5) -> None:
        super().__init__()
        self.window, self.heads = window, [3 * 2**s for s in range(len(depths))]
        widths = [width * 2**s for s in range(len(depths))]
        self.patch, self.pre = nn.Conv2d(3, width, 7, 4, padding=3), nn.LayerNorm(width)
        self.stages, self.merge = nn.ModuleList(), nn.ModuleDict()
        for s, (w, depth) in enumerate(zip(widths, depths, strict=True)):
            self.stages.append(nn.ModuleList(block(w) for _ in range(depth)))
            for layer in self.stages[s]:
                layer["cpe1"], layer["cpe2"] = (nn.Conv2d(w, w, 3, padding=1, groups=w) for _ in range(2))
            if s:
                reduce = nn.Conv2d(w // 2, w, 2, 2)
                self.merge[str(s)] = nn.ModuleDict({"norm": nn.LayerNorm(w // 2), "reduce": reduce})
        self.norm = nn.LayerNorm(widths[-1])
        self.classifier = nn.Linear(widths[-1], classes)
        self.randomize()

    def in_windows(self, x: Tensor, layer: nn.ModuleDict, heads: int) -> Tensor:
        _, h, w, _ = x.shape
        x = F.pad(x, (0, 0, 0, -w % self.window, 0, -h % self.window))
        y = attention(windows(x, self.window), layer, heads)
        return unwindows(y, self.window, x.shape[1], x.shape[2])[:, :h, :w]

    def forward(self, images: Tensor) -> Tensor:
        def conv(module: nn.Module, x: Tensor) -> Tensor:
            return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

        x = self.pre(self.patch(images).permute(0, 2, 3, 1))
        for s, stage in enumerate(self.stages):
            if s:
                x = conv(self.merge[str(s)]["reduce"], self.merge[str(s)]["norm"](x))
            for i, layer in enumerate(stage):
                x = x + conv(layer["cpe1"], x)
                y = layer["ln1"](x)
                if i % 2:
                    y = channel_attention(y.flatten(1, 2), layer, self.heads[s]).view(x.shape)
                else:
                    y = self.in_windows(y, layer, self.heads[s])
                x = x + y
                x = x + conv(layer["cpe2"], x)
                x = x + layer["fc2"](F.gelu(layer["fc1"](layer["ln2"](x))))
        return self.norm(x.mean(dim=(1, 2)))

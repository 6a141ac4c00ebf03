"""Temporal patch shift (TPS, ECCV 2022): a Swin block whose 2D window attention sees several
frames, at no MACs.

Before attention every patch of a window is moved in time by a fixed pattern, after attention
(before the output projection) the move is undone exactly. The channel shift of the even blocks
moves an eighth of every head's channels one frame back and another eighth one frame forward, and is
not undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.layers.tps import TPS
from nas.architecture.shape import Shape
from nas.errors import NasError
from nas.models.attention import attend, pad_to_windows, window_partition
from nas.models.derived import Derived
from nas.models.image_weights import CheckpointKind, Slot, module_slots, precise, resized, resized_frames, with_shape
from nas.models.mlp import linear, mlp
from nas.models.registry import implements

# Frames by which the patch at (row, column) inside its window moves: out[t] = in[t - shift],
# circular in time.
PATTERNS = {
    "3x3": ((-4, +1, +2), (-1, 0, +3), (-2, -3, +4)),
    "2x2": ((0, +1), (-1, 0)),
    "2x2_long": ((0, +1), (-1, +2)),
}


class _PermuteTokens(torch.autograd.Function):
    """A permutation of tokens: its gradient is the inverse permutation, a gather instead of a
    scatter-add.
    """

    @staticmethod
    def forward(x_BNC: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        return x_BNC.index_select(1, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad.index_select(1, inverse), None, None


def permute_tokens(x_BTHWC: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """Reads token `index[n]` of the flattened map at place n; `inverse` undoes `index`."""
    permuted = _PermuteTokens.apply(x_BTHWC.flatten(1, 3), index, inverse)  # type: ignore[no-untyped-call]
    out: Tensor = permuted.view_as(x_BTHWC)
    return out


def pattern_shifts(pattern: str, window: tuple[int, int]) -> Tensor:
    """The frames by which every patch of a window moves, (window height, window width)."""
    rows = PATTERNS[pattern]
    return torch.tensor([[rows[i % len(rows)][j % len(rows)] for j in range(window[1])] for i in range(window[0])])


def shift_index(shifts_HW: Tensor, frames: int) -> Tensor:
    """For every token of a (T, H, W) map the flat index of the token that moves there, circular in
    time.
    """
    h, w = shifts_HW.shape
    t = torch.arange(frames).view(-1, 1, 1)
    return (((t - shifts_HW) % frames) * (h * w) + torch.arange(h * w).view(h, w)).flatten()


def channel_shift(x: Tensor, heads: int, axis: int = 1) -> Tensor:
    """In every head the first eighth of the channels, which are the last axis, takes frame t-1 and
    the second t+1; edge frames keep their own. Frames are the given axis.
    """
    frames = x.shape[axis]
    x = torch.unflatten(x, -1, (heads, -1))
    fold = x.shape[-1] // 8
    back, forth, stay = torch.split(x, [fold, fold, x.shape[-1] - 2 * fold], dim=-1)
    back = torch.cat((back.narrow(axis, 0, 1), back.narrow(axis, 0, frames - 1)), dim=axis)
    forth = torch.cat((forth.narrow(axis, 1, frames - 1), forth.narrow(axis, frames - 1, 1)), dim=axis)
    return torch.cat((back, forth, stay), dim=-1).flatten(-2)


@implements(TPS)
class TPSBlock(Derived):
    """Swin block (pre-norm window attention with a relative position bias, MLP) with a shift in
    time.

    The bias table has (2T-1)(2wh-1)(2ww-1) rows per head. `bias_index` says which row a pair of
    patches reads: `shifted` the one of the distance between the frames that the two patches show,
    which at the ends of the clip, where the shift wraps around, is the long way; `released`, as the
    released weights do, the one of the query in its frame and the key in frame 0.

    A bias differs between frames, between windows (by the mask of the cyclic shift) or both. What
    it differs between counts as heads, and the rest as sequences, so that one bias is for all of
    them: attention kernels would have it written out for each.
    """

    index: Tensor
    inverse: Tensor
    bias_rows: Tensor
    mask: Tensor | None

    def __init__(self, config: TPS, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        width, frames = shape_out.channels, shape_out.frames
        wh, ww = config.window
        self.heads, self.window, self.shift = config.heads, (1, wh, ww), config.shift
        height, breadth = (math.ceil(n / s) * s for n, s in zip(shape_out.extent[1:], (wh, ww), strict=True))
        # A window that covers an axis has no neighbour to be shifted into.
        self.roll = (wh // 2 if config.cyclic and wh < height else 0, ww // 2 if config.cyclic and ww < breadth else 0)

        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = mlp(width, config.mlp_ratio, config.activation)
        self.bias_table = nn.Parameter(torch.empty((2 * frames - 1) * (2 * wh - 1) * (2 * ww - 1), config.heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)

        self.config, self.extent = config, (frames, height, breadth)
        by_frame = config.shift == "patch" or config.bias_index == "released"
        windows = (height // wh) * (breadth // ww)
        axes = [("frames", frames, by_frame), ("windows", windows, any(self.roll))]
        # Axes of tokens from the outermost: what shares a bias, the patches of a window, the rest.
        self.axes = [(name, n) for name, n, own in axes if not own]
        self.axes += [("patches", wh * ww), *((name, n) for name, n, own in axes if own)]
        self.register_derived()

    def derived(self) -> dict[str, Tensor | None]:
        frames, height, breadth = self.extent
        _, wh, ww = self.window
        moved = self.config.shift == "patch"
        shifts = pattern_shifts(self.config.pattern, (wh, ww)) if moved else torch.zeros(wh, ww, dtype=torch.int64)
        # One permutation rolls the map, shifts its patches in time and sorts them by window.
        place = torch.arange(frames * height * breadth).view(frames, height, breadth)
        place = place.roll((-self.roll[0], -self.roll[1]), dims=(1, 2)).flatten()
        place = place[shift_index(shifts.repeat(height // wh, breadth // ww), frames)]
        index = window_partition(place.view(1, frames, height, breadth, 1), self.window).view(frames, -1, wh * ww)
        number = {"frames": 0, "windows": 1, "patches": 2}
        index = index.permute([number[name] for name, _ in self.axes]).flatten()
        rows = _bias_rows(shifts, frames, self.config.bias_index)
        if not moved and self.config.bias_index == "shifted":
            rows = rows[:1].clone()  # unshifted patches of one frame are 0 frames apart, whatever the frame
        mask = _roll_mask((height, breadth), (wh, ww), self.roll) if any(self.roll) else None
        return {"index": index, "inverse": index.argsort(), "bias_rows": rows, "mask": mask}

    def bias(self) -> Tensor:
        """Position bias plus the mask of the cyclic shift, (G heads, L, L), with G the frames, the
        windows or both that differ in it.
        """
        bias = self.bias_table[self.bias_rows].permute(0, 3, 1, 2)[:, None]  # (1 or T, 1, heads, L, L)
        return (bias if self.mask is None else bias + self.mask).flatten(0, 2)

    @classmethod
    def image_slots(cls, config: TPS, shape: Shape, kind: CheckpointKind) -> Iterator[Slot]:
        """All parameters, those of a Swin block; a ViT has no position biases, which become zero.
        See `nas.models.image_weights`.
        """
        for name in ("norm1", "qkv", "proj", "norm2", "mlp.0", "mlp.2"):
            yield from module_slots(name, name)
        source = None if kind.family == "ViT" else "bias_table"
        yield Slot("bias_table", source, partial(placed_bias_table, config=config, kind=kind))

    def fitted_state(self, name: str, value: Tensor) -> Tensor | None:
        """The bias table of other frames, interpolated; see `nas.models.image_weights`."""
        if name != "bias_table":
            return None
        return with_shape(resize_bias_table(precise(value), self.bias_table.shape, self.config.window), self.bias_table)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        _, t, h, w, _ = x_BTHWC.shape
        x = permute_tokens(pad_to_windows(self.norm1(x_BTHWC), self.window), self.index, self.inverse)
        names, sizes = zip(*self.axes, strict=True)
        if self.shift == "channel":
            frames_axis = 1 + names.index("frames")
            x = channel_shift(torch.unflatten(x.flatten(1, 3), 1, sizes), self.heads, frames_axis).view_as(x)
        patches = names.index("patches")
        length, together = sizes[patches], math.prod(sizes[patches + 1 :])
        # Clips and windows are merged in a step of their own, or an export guards their product.
        sequences = torch.unflatten(x.flatten(1, 3), 1, (-1, length, together)).flatten(0, 1)
        qkv = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        q, k, v = (F.linear(sequences, weight, bias).flatten(2) for weight, bias in qkv)
        y = attend(q, k, v, together * self.heads, self.bias()).view_as(x)
        y = permute_tokens(y, self.inverse, self.index)
        x = x_BTHWC + self.proj(y[:, :t, :h, :w])
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def _bias_rows(shifts_HW: Tensor, frames: int, bias_index: str) -> Tensor:
    """Row of the bias table for every pair of patches of a window in every frame: (T, L, L)."""
    wh, ww = shifts_HW.shape
    row, column = (axis.flatten() for axis in torch.meshgrid(torch.arange(wh), torch.arange(ww), indexing="ij"))
    dy, dx = (axis[:, None] - axis[None, :] for axis in (row, column))
    query = (torch.arange(frames)[:, None] - shifts_HW.flatten()) % frames  # (T, L): the frame that a patch shows
    key = query[:1] if bias_index == "released" else query
    dt = query[:, :, None] - key[:, None, :]
    return ((dt + frames - 1) * (2 * wh - 1) + dy + wh - 1) * (2 * ww - 1) + dx + ww - 1


def _roll_mask(size: tuple[int, int], window: tuple[int, int], roll: tuple[int, int]) -> Tensor:
    """Forbids attention between patches that the cyclic shift made neighbours: (windows, 1, L, L),
    0 or -inf.
    """
    region = torch.zeros(size, dtype=torch.int64)
    for axis, (n, w, r) in enumerate(zip(size, window, roll, strict=True)):
        if r:
            place = torch.arange(n)
            label = (place >= n - w).long() + (place >= n - r).long()
            region = region * 3 + label.view((-1, 1) if axis == 0 else (1, -1))
    cut = region.view(size[0] // window[0], window[0], size[1] // window[1], window[1]).permute(0, 2, 1, 3)
    cut = cut.reshape(-1, 1, window[0] * window[1])
    different = cut[..., :, None] != cut[..., None, :]
    return torch.zeros(different.shape).masked_fill(different, float("-inf"))


def placed_bias_table(table: Tensor, shape: torch.Size, config: TPS, kind: CheckpointKind) -> Tensor:
    """A table of an image network at every distance in time, or one of the released video weights.

    Raises:
        NasError: The table is over frames, as the released ones, which only `bias_index: released`
            reads as they were trained.
    """
    if not kind.video or len(table) == math.prod(2 * n - 1 for n in config.window):
        return inflate_bias_table(table, shape, config.window)
    if config.bias_index != "released":
        raise NasError(
            f"bias_index {config.bias_index!r} reads other rows of a table over frames, {list(table.shape)}, than the "
            "released video weights were trained with; allowed: bias_index 'released'"
        )
    return resize_bias_table(table, shape, config.window)


def inflate_bias_table(table: Tensor, shape: torch.Size, window: tuple[int, int]) -> Tensor:
    """((2h-1)(2w-1), heads) to ((2T-1)(2wh-1)(2ww-1), heads): equal at every distance in time."""
    if table.ndim != 2:
        return table
    wh, ww = (2 * n - 1 for n in window)
    side = math.isqrt(len(table))
    size = (wh, ww) if len(table) == wh * ww else (side, side)
    if math.prod(size) != len(table):
        return table
    plane = resized(table.T.reshape(-1, *size), (wh, ww)).flatten(1).T
    return plane.repeat(shape[0] // (wh * ww), 1)


def resize_bias_table(table: Tensor, shape: torch.Size, window: tuple[int, int]) -> Tensor:
    """((2T-1)(2wh-1)(2ww-1), heads) to another T, linearly along the distance in time."""
    plane = math.prod(2 * n - 1 for n in window)
    if table.ndim != 2 or len(table) % plane or (len(table) // plane) % 2 == 0:
        return table  # of another window
    return resized_frames(table.reshape(-1, plane * table.shape[1]), shape[0] // plane).reshape(-1, table.shape[1])

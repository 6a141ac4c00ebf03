"""Windows of (B, T, H, W, C) maps, and attention inside them.

Shape suffixes: B batch, T frames, H height, W width, C channels, S sequences (windows of all
clips), L tokens of a sequence. Windows that lie one after the other in memory are views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture.fields import Triple

GRID = 65_535  # blocks on an axis of a GPU's grid: attention kernels have one for sequences and one for heads


def pad_to_windows(x_BTHWC: Tensor, window: Triple) -> Tensor:
    """Pads T, H and W at their ends with zeros to multiples of the window; any axes may follow."""
    t, h, w = ((-n) % s for n, s in zip(x_BTHWC.shape[1:4], window, strict=True))
    rest = (0, 0) * (x_BTHWC.ndim - 4)
    return F.pad(x_BTHWC, (*rest, 0, w, 0, h, 0, t)) if t or h or w else x_BTHWC


def window_partition(x_BTHWC: Tensor, window: Triple) -> Tensor:
    """Cuts a map whose extent is a multiple of the window into sequences: (S, L, C), clips and
    frames outermost.

    The channels may be several axes. Where the windows lie one after the other in memory the result
    is a view.
    """
    b, t, h, w, *c = x_BTHWC.shape
    wt, wh, ww = window
    x = x_BTHWC.reshape(b, t // wt, wt, h // wh, wh, w // ww, ww, *c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, *range(7, x.ndim)).reshape(-1, wt * wh * ww, *c)


def window_reverse(x_SLC: Tensor, window: Triple, extent: Sequence[int]) -> Tensor:
    """Puts the sequences of `window_partition` back to a map of `extent` (T, H, W)."""
    t, h, w = extent
    wt, wh, ww = window
    x = x_SLC.reshape(-1, t // wt, h // wh, w // ww, wt, wh, ww, x_SLC.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, t, h, w, x_SLC.shape[-1])


def sequences_per_call(heads: int, length: int, head_dim: int) -> int:
    """How many sequences the attention kernels of a GPU take in one call.

    They put the sequences on an axis of a grid, and the backward pass of flash attention has an
    index of 32 bits into an array of S x heads x L x head_dim numbers, L rounded up to 128 and
    head_dim to 32.
    """
    rounded = -(-length // 128) * 128
    return max(1, min(GRID, 2**31 // (heads * rounded * max(head_dim, 32))))


def attend_in_parts(
    q_ShLD: Tensor,
    k_ShLD: Tensor,
    v_ShLD: Tensor,
    bias_hLL: Tensor | None,
    most: int,
    scale: float | None = None,
) -> Tensor:
    """Attention of at most so many sequences at a time, and of as many heads as an axis of a GPU's
    grid has.
    """
    found = []
    for first in range(0, q_ShLD.shape[1], GRID):
        own = slice(first, first + GRID)
        bias = None if bias_hLL is None else bias_hLL[own]
        parts = zip(*(torch.split(x[:, own], most) for x in (q_ShLD, k_ShLD, v_ShLD)), strict=True)
        found.append(torch.cat([_fused(q, k, v, bias, scale) for q, k, v in parts]))
    return torch.cat(found, dim=1) if len(found) > 1 else found[0]


def attend_aligned(q_ShLD: Tensor, k_ShLD: Tensor, v_ShLD: Tensor, bias_hLL: Tensor, most: int) -> Tensor:
    """Attention in 16 bits with a bias, with zeros that make the numbers of a head a multiple of
    eight: the kernel of a GPU that takes a bias wants it so, or all logits are written out.
    """
    head_dim = q_ShLD.shape[-1]
    q, k, v = (F.pad(x, (0, -head_dim % 8)) for x in (q_ShLD, k_ShLD, v_ShLD))
    return attend_in_parts(q, k, v, bias_hLL, most, head_dim**-0.5)[..., :head_dim]


def _fused(q: Tensor, k: Tensor, v: Tensor, bias_hLL: Tensor | None, scale: float | None = None) -> Tensor:
    # A bias without an axis of sequences is written out for none of them.
    mask = None if bias_hLL is None else bias_hLL[None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def without_plans() -> None:
    """Keeps cuDNN's attention out of this process: it builds a plan for every new shape, and every
    candidate of a search brings new ones.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda and not torch.compiler.is_exporting()


def attend(q_SLC: Tensor, k_SLC: Tensor, v_SLC: Tensor, heads: int, bias_hLL: Tensor | None = None) -> Tensor:
    """Multi-head attention of sequences, scaled by head_dim^-0.5.

    Args:
        q_SLC: Queries (S, Lq, C).
        k_SLC: Keys (S, Lk, C).
        v_SLC: Values (S, Lk, C).
        bias_hLL: Added to the logits, (heads, Lq, Lk).

    Returns:
        (S, Lq, C).
    """
    q, k, v = (torch.unflatten(x, -1, (heads, -1)).transpose(1, 2) for x in (q_SLC, k_SLC, v_SLC))
    most = sequences_per_call(heads, q.shape[2], q.shape[3])
    if bias_hLL is not None and _on_gpu(q) and q.shape[3] % 8 and q.element_size() == 2:
        y = attend_aligned(q, k, v, bias_hLL, most).transpose(1, 2)
    elif _on_gpu(q) and (q.shape[0] > most or heads > GRID):
        y = attend_in_parts(q, k, v, bias_hLL, most).transpose(1, 2)
    else:
        y = _fused(q, k, v, bias_hLL).transpose(1, 2)
    if bias_hLL is not None and torch.compiler.is_exporting():
        # ONNX export finds a view here by the strides of fused attention, then replays it with
        # those of plain attention, which a bias that needs a gradient selects; a clone has the same
        # strides in both.
        y = y.clone(memory_format=torch.contiguous_format)
    return y.flatten(2)


def window_attention(qkv_BTHW3C: Tensor, heads: int, window: Triple) -> Tensor:
    """Self-attention inside windows of a map of queries, keys and values.

    A window of extent 1 along an axis is attention in the plane of the others. Where the map is no
    multiple of the window it is padded with zeros, which are attended to.

    Args:
        qkv_BTHW3C: (B, T, H, W, 3, C); C may be part of a larger axis.

    Returns:
        (B, T, H, W, C).
    """
    if math.prod(window) == 1:  # the softmax over one key is 1
        return qkv_BTHW3C[..., 2, :]
    t, h, w = qkv_BTHW3C.shape[1:4]
    padded = pad_to_windows(qkv_BTHW3C, window)
    q, k, v = window_partition(padded, window).unbind(-2)
    y = window_reverse(attend(q, k, v, heads), window, padded.shape[1:4])
    return y[:, :t, :h, :w]

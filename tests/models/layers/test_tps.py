"""TPS: a Swin block whose patches, or channels, come from other frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from cases import BLOCK, BLOCK_PARAMS, SPACE, W3, Case, D, N
from torch import Tensor

from nas.architecture import TPS, LayerConfig, Shape
from nas.models.layers.tps import channel_shift, pattern_shifts, permute_tokens, shift_index

Make = Callable[..., Any]
# Frames by which a patch moves: +s means that frame t shows frame t - s, circular.
PATTERNS = {
    "3x3": [[-4, +1, +2], [-1, 0, +3], [-2, -3, +4]],
    "2x2": [[0, +1], [-1, 0]],
    "2x2_long": [[0, +1], [-1, +2]],
}
WINDOW_OF_FRAME_0_OF_16 = [  # which frame is seen at every place of a 7x7 window
    [4, 15, 14, 4, 15, 14, 4],
    [1, 0, 13, 1, 0, 13, 1],
    [2, 3, 12, 2, 3, 12, 2],
    [4, 15, 14, 4, 15, 14, 4],
    [1, 0, 13, 1, 0, 13, 1],
    [2, 3, 12, 2, 3, 12, 2],
    [4, 15, 14, 4, 15, 14, 4],
]
CASES = (
    *(
        Case(TPS(heads=2, window=(3, 3), shift=shift, cyclic=cyclic))
        for shift in get_args(TPS.model_fields["shift"].annotation)
        for cyclic in (False, True)
    ),
    *(
        Case(TPS(heads=2, window=(2, 4), pattern=pattern, bias_index="released", cyclic=True))
        for pattern in get_args(TPS.model_fields["pattern"].annotation)
    ),
    Case(TPS(heads=2, window=(5, 3), activation="gelu_tanh")),
)
# A Swin block, at no multiply-adds for the shift; its table has (2T-1)(2wh-1)(2ww-1) rows for each
# of 2 heads.
CLOSED_FORMS = (
    (TPS(heads=2, window=(5, 7)), BLOCK + SPACE, BLOCK_PARAMS + 9 * 9 * 13 * 2),
    (TPS(heads=2, window=(3, 3)), 3 * D * D * W3 + 9 * D * D * N + 2 * D * W3 * 9, BLOCK_PARAMS + 9 * 5 * 5 * 2),
)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = (
    (TPS(heads=2, window=(3, 4)), [1, 1]),  # one permutation rolls, shifts and cuts, one undoes it
    (TPS(heads=2, window=(3, 4), cyclic=True), [1, 1]),
    (TPS(heads=2, window=(3, 4), shift="channel"), [1, 1, 1]),  # and the channels are put together anew
)
# Windows with and without a mask, one bias for all frames and one for each, and a window that is
# the whole map.
EXPORTED = (
    Case(TPS(heads=2, window=(4, 4)), Shape(1, 4, 4, 32)),
    Case(TPS(heads=2, window=(4, 4), shift="none"), Shape(4, 4, 4, 32)),
    Case(TPS(heads=2, window=(2, 2), shift="none", cyclic=True), Shape(2, 4, 4, 32)),
    Case(TPS(heads=2, window=(2, 4), shift="channel", cyclic=True, bias_index="released")),
)


def test_the_pattern_of_frames_restarts_in_every_window() -> None:
    frames = 16
    shifts = pattern_shifts("3x3", (7, 7)).repeat(2, 3)
    clip = torch.arange(frames).view(1, frames, 1, 1, 1).repeat(1, 1, 14, 21, 1)
    seen = permute_tokens(clip, shift_index(shifts, frames), shift_index(-shifts, frames))[0, ..., 0]
    for row in (0, 7):
        for column in (0, 7, 14):
            window = seen[:, row : row + 7, column : column + 7]
            assert window[0].tolist() == WINDOW_OF_FRAME_0_OF_16
            for t in range(frames):  # every frame sees the same, t frames later, with wrap-around
                assert torch.equal(window[t], (window[0] + t) % frames)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name: str) -> None:
    size = len(PATTERNS[name])
    assert pattern_shifts(name, (size, size)).tolist() == PATTERNS[name]


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 16])
def test_unshift_is_exact_and_the_gradient_is_the_inverse(frames: int) -> None:
    shifts = pattern_shifts("3x3", (7, 7))
    index, inverse = shift_index(shifts, frames), shift_index(-shifts, frames)
    x = torch.randn(2, frames, 7, 7, 3, requires_grad=True)
    assert torch.equal(permute_tokens(permute_tokens(x, index, inverse), inverse, index), x)
    permute_tokens(x, index, inverse).mul(torch.arange(frames).view(1, -1, 1, 1, 1)).sum().backward()
    shown_at = (torch.arange(frames).view(-1, 1, 1) + shifts) % frames  # where the patch of frame t is seen
    assert x.grad is not None and torch.equal(x.grad[0, ..., 0], shown_at.float())


def test_channel_shift_against_a_loop() -> None:
    """Of the 32 channels of every head 0..3 come from t-1, 4..7 from t+1; edge frames keep their
    own.
    """
    x = torch.randn(2, 5, 2, 3, 64)
    y = channel_shift(x, heads=2)
    for t in range(5):
        for c in range(64):
            source = {0: t - 1, 1: t + 1}.get(c % 32 // 4, t)
            source = source if 0 <= source < 5 else t
            assert torch.equal(y[:, t, ..., c], x[:, source, ..., c])


def reference(block: Any, x: Tensor, config: TPS) -> Tensor:
    """The block patch by patch and window by window."""
    frames, height, width = x.shape[1:4]
    wh, ww = config.window
    rows, columns = (-(-height // wh) * wh, -(-width // ww) * ww)
    n = F.pad(block.norm1(x), (0, 0, 0, columns - width, 0, rows - height))
    roll = (wh // 2 if rows > wh else 0, ww // 2 if columns > ww else 0) if config.cyclic else (0, 0)
    n = n.roll((-roll[0], -roll[1]), (2, 3))
    pattern = PATTERNS[config.pattern] if config.shift == "patch" else [[0]]
    moved = [[pattern[r % wh % len(pattern)][c % ww % len(pattern)] for c in range(columns)] for r in range(rows)]
    if config.shift == "channel":
        n = channel_shift(n, config.heads)
    for r in range(rows):
        for c in range(columns):
            n[:, :, r, c] = n[:, :, r, c].roll(moved[r][c], 1)
    table = block.bias_table.view(2 * frames - 1, 2 * wh - 1, 2 * ww - 1, config.heads)
    # Patches may see each other if neither or both of them were rolled in from the other side.
    strange_rows, strange_columns = (torch.arange(s) >= s - r for s, r in ((rows, roll[0]), (columns, roll[1])))
    out = torch.empty_like(n)
    for top in range(0, rows, wh):
        for left in range(0, columns, ww):
            places = [(r, c) for r in range(wh) for c in range(ww)]
            for t in range(frames):
                cut = (slice(None), t, slice(top, top + wh), slice(left, left + ww))
                qkv = block.qkv(n[cut].flatten(1, 2)).unflatten(-1, (3, config.heads, -1))
                q, k, v = qkv.permute(2, 0, 3, 1, 4)
                logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
                for i, (r, c) in enumerate(places):
                    for j, (s, d) in enumerate(places):
                        query = (t - moved[top + r][left + c]) % frames
                        key = ((t if config.bias_index == "shifted" else 0) - moved[top + s][left + d]) % frames
                        logits[:, :, i, j] += table[query - key + frames - 1, r - s + wh - 1, c - d + ww - 1]
                        if (
                            strange_rows[top + r] != strange_rows[top + s]
                            or strange_columns[left + c] != strange_columns[left + d]
                        ):
                            logits[:, :, i, j] = float("-inf")
                y = logits.softmax(-1) @ v
                out[cut] = y.transpose(1, 2).flatten(2).unflatten(1, (wh, ww))
    for r in range(rows):
        for c in range(columns):
            out[:, :, r, c] = out[:, :, r, c].roll(-moved[r][c], 1)
    out = out.roll(roll, (2, 3))[:, :, :height, :width]
    x = x + block.proj(out)
    y = x + block.mlp(block.norm2(x))
    assert isinstance(y, Tensor)
    return y


@pytest.mark.parametrize(
    "config",
    [
        TPS(heads=2, window=(3, 3)),  # 6x9 is a multiple of 3x3
        TPS(heads=2, window=(3, 3), cyclic=True),
        TPS(heads=2, window=(4, 5), cyclic=True),  # padded to 8x10, two windows each way
        TPS(heads=2, window=(6, 4), cyclic=True),  # a window that covers an axis is not shifted along it
        TPS(heads=2, window=(4, 4), shift="channel"),
        TPS(heads=2, window=(3, 3), shift="none", cyclic=True),  # Swin: frame distance 0 in every bias
        TPS(heads=2, window=(4, 4), shift="none", bias_index="released"),
        TPS(heads=2, window=(3, 3), pattern="2x2", bias_index="released"),
        TPS(heads=2, window=(3, 3), pattern="2x2_long", bias_index="released", cyclic=True),
    ],
    ids=lambda c: "-".join(f"{v}" for v in c.model_dump(exclude_defaults=True).values()),
)
@torch.no_grad()
def test_the_block_against_loops(make_layer: Make, x: Tensor, config: TPS) -> None:
    """Order: LN, pad, roll in space, shift in time, qkv, attention with bias and mask, unshift,
    roll back, project.
    """
    block = make_layer(config)
    torch.nn.init.normal_(block.bias_table)
    torch.nn.init.normal_(block.qkv.bias)
    assert torch.allclose(block(x[:1]), reference(block, x[:1].clone(), config), atol=1e-12)


def test_rows_of_the_bias_table_by_hand(make_layer: Make) -> None:
    """A window of 2x2 in 5 frames: 9 distances in time of 3x3 rows each, distance 0 in the middle
    of each axis.
    """
    shape = Shape(5, 4, 4, 32)
    rows = make_layer(TPS(heads=2, window=(2, 2), pattern="2x2"), shape).bias_rows
    assert rows.shape == (5, 4, 4)
    # Patch (0, 0) stays and (0, 1) shows the frame before. In frame 2 that is frames 2 and 1:
    # distance +1; dy 0, dx -1.
    assert rows[2, 0, 1] == (1 + 4) * 9 + (0 + 1) * 3 + (-1 + 1)
    assert rows[2, 1, 0] == (-1 + 4) * 9 + (0 + 1) * 3 + (1 + 1)
    # In frame 0 patch (0, 1) shows frame 4, which is 4 frames away.
    assert rows[0, 0, 1] == (-4 + 4) * 9 + (0 + 1) * 3 + (-1 + 1)
    # Patch (1, 0) shows the frame after: in frame 4 that is frame 0, and patch (0, 1) shows frame
    # 3.
    assert rows[4, 2, 1] == (0 - 3 + 4) * 9 + (1 + 1) * 3 + (-1 + 1)
    # Released: the key is that of frame 0, where patch (0, 1) shows frame 4 and (1, 0) frame 1.
    rows = make_layer(TPS(heads=2, window=(2, 2), pattern="2x2", bias_index="released"), shape).bias_rows
    assert rows[2, 0, 0] == (2 - 0 + 4) * 9 + (0 + 1) * 3 + (0 + 1)
    assert rows[2, 0, 1] == (2 - 4 + 4) * 9 + (0 + 1) * 3 + (-1 + 1)
    assert rows[4, 2, 2] == (0 - 1 + 4) * 9 + (0 + 1) * 3 + (0 + 1)
    # Without a shift every pair of a frame is 0 frames apart, so one row serves all frames.
    rows = make_layer(TPS(heads=2, window=(2, 2), shift="channel"), shape).bias_rows
    assert rows.shape == (1, 4, 4) and rows[0, 0, 3] == (0 + 4) * 9 + (-1 + 1) * 3 + (-1 + 1)


def test_one_frame_is_an_image_block(make_layer: Make) -> None:
    shape = Shape(1, 6, 6, 32)
    blocks = [make_layer(TPS(heads=2, window=(3, 3), shift=s), shape) for s in ("patch", "channel", "none")]
    x = torch.randn(1, 1, 6, 6, 32, dtype=torch.float64)
    for block in blocks[:2]:
        block.load_state_dict(blocks[2].state_dict())
        assert torch.allclose(block(x), blocks[2](x), atol=1e-12)

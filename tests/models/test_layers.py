"""Every operator: builds anywhere, trains, and computes what its paper says."""

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas.architecture import OPERATORS, STRIDED_OPERATORS, Architecture
from nas.models.layers.d2plus1d import round8
from nas.models.layers.joint_filter import JointFilterConv, dct_atoms, fourier_bessel_atoms
from nas.models.layers.tps import PATTERNS, channel_shift, pattern_shifts, permute_tokens, shift_index
from nas.models.network import build
from nas.profiler.cost import cost

TUBES = [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}, {"kernel": [3, 1, 1], "stride": [3, 2, 2], "offset": [0, 1, 1]}]
LAYERS: list[dict[str, Any]] = [
    *({"op": "t2d", "variant": v} for v in ("shared", "separate", "fused", "2d", "2d+1d", "3d")),
    *({"op": "t2d", "variant": v, "window": [2, 3, 4]} for v in ("shared", "separate", "fused", "2d", "2d+1d", "3d")),
    {"op": "t2d", "activation": "quick_gelu", "mlp_ratio": 2.5},
    *({"op": "tps", "window": 3, "shift": s, "cyclic": c} for s in ("patch", "channel", "none") for c in (False, True)),
    {"op": "tps", "window": [2, 4], "pattern": "2x2", "bias_index": "released", "cyclic": True},
    {"op": "tps", "window": [5, 3], "pattern": "2x2_long", "activation": "gelu_tanh"},
    *({"op": "factorized", "variant": v} for v in ("divided", "self_attention", "dot_product", "joint")),
    *({"op": "factorized", "variant": v, "window": 3} for v in ("divided", "self_attention", "dot_product")),
    {"op": "sparse_tube", "tubes": TUBES},
    {"op": "d2plus1d", "modules": 3, "kernel": 5},
    {"op": "joint_filter"},
    {"op": "joint_filter", "execution": "factored", "temporal_atoms": 2},
    {"op": "full3d", "temporal_kernel": 5},
]
CONVOLUTIONS = [layer for layer in LAYERS if layer["op"] in ("d2plus1d", "joint_filter", "full3d")]


def document(
    layer: dict[str, Any], frames: int = 5, size: tuple[int, int] = (20, 28), width: int = 32
) -> dict[str, Any]:
    heads = {"heads": 2} if layer["op"] in ("t2d", "tps", "factorized", "sparse_tube") else {}
    return {
        "input": {"frames": frames, "size": list(size)},
        "num_classes": 3,
        "stem": {"op": "conv"},
        "stages": [{"width": 32, "layers": [{**heads, **layer}]}],
    }


def layer_of(layer: dict[str, Any], **options: Any) -> nn.Module:
    torch.manual_seed(0)
    network = build(Architecture.parse(document(layer, **options))).double()
    return network.parts["stages_0_layers_0"]


def strided_document(layer: dict[str, Any], stride: tuple[int, int, int], width: int = 48) -> dict[str, Any]:
    """A 5x5x7 map of width 32, then the layer with this stride and a new width as `stages.1.layers.0`."""
    data = document({"op": "full3d"})
    data["stages"].append(
        {"width": width, "downsample": {"op": "in_layer", "stride": list(stride)}, "layers": [layer, layer]}
    )
    return data


def strided_layer(layer: dict[str, Any], stride: tuple[int, int, int], width: int = 48) -> nn.Module:
    torch.manual_seed(0)
    network = build(Architecture.parse(strided_document(layer, stride, width))).double()
    return network.parts["stages_1_layers_0"]


def spread(block: nn.Module) -> None:
    """Draws every parameter anew, so that no zero or one of the initialisation hides a term."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)


def test_every_operator_and_variant_is_listed() -> None:
    assert {layer["op"] for layer in LAYERS} == set(OPERATORS)
    assert {layer["op"] for layer in CONVOLUTIONS} == set(STRIDED_OPERATORS)
    assert {layer.get("pattern", "3x3") for layer in LAYERS if layer["op"] == "tps"} == set(PATTERNS)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "-".join(str(v) for v in layer.values() if v is not TUBES))
def test_builds_trains_and_saves(layer: dict[str, Any], tmp_path: Any) -> None:
    architecture = Architecture.parse(document(layer))
    network = build(architecture)
    clip = torch.randn(2, 3, 5, 20, 28)
    network(clip).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert build(architecture, device="meta")(clip.to("meta")).shape == (2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(clip).isfinite().all()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    again = build(architecture)
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(again.eval()(clip), network.eval()(clip))
    with pytest.raises(ValueError, match="allowed"):
        network(clip[:, :, :4])


def test_a_layer_maps_contiguous_to_contiguous() -> None:
    for layer in LAYERS:
        x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64)
        assert layer_of(layer)(x).is_contiguous(), layer


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: "-".join(map(str, layer.values())))
def test_convolutions_carry_stride_and_width(layer: dict[str, Any], stride: tuple[int, int, int]) -> None:
    """Sizes are rounded up: 5x5x7 becomes 3x3x4 at stride 2."""
    block = strided_layer(layer, stride)
    spread(block)
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64, requires_grad=True)
    y = block(x)
    assert y.shape == (2, *(-(-n // s) for n, s in zip((5, 5, 7), stride, strict=True)), 48)
    assert y.is_contiguous()
    y.square().sum().backward()
    assert x.grad is not None and all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    clip = torch.empty(2, 3, 5, 20, 28, device="meta")
    assert build(Architecture.parse(strided_document(layer, stride)), device="meta")(clip).shape == (2, 3)


def attention(x: Tensor, qkv: nn.Linear, heads: int) -> Tensor:
    """Plain multi-head attention of (S, L, C), written out."""
    q, k, v = qkv(x).chunk(3, -1)
    s, n, c = x.shape
    q, k, v = (y.view(s, n, heads, c // heads).transpose(1, 2) for y in (q, k, v))
    return ((q @ k.transpose(-1, -2) * (c // heads) ** -0.5).softmax(-1) @ v).transpose(1, 2).reshape(s, n, c)


def test_t2d_is_the_image_block_at_alpha_zero_and_adds_two_planes_otherwise() -> None:
    block: Any = layer_of({"op": "t2d"})
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64)
    n = block.norm1(x)
    y = block.proj(attention(n.flatten(0, 1).flatten(1, 2), block.qkv, 2)).view_as(x)
    torch.nn.init.zeros_(block.alpha)
    image = x + y
    image = image + block.mlp(block.norm2(image))
    assert torch.allclose(block(x), image, atol=1e-12)
    torch.nn.init.ones_(block.alpha)
    th = attention(y.permute(0, 3, 1, 2, 4).reshape(14, 25, 32), block.qkv_t[0], 2)
    th = th.view(2, 7, 5, 5, 32).permute(0, 2, 3, 1, 4)
    tw = attention(y.permute(0, 2, 1, 3, 4).reshape(10, 35, 32), block.qkv_t[0], 2)
    tw = tw.view(2, 5, 5, 7, 32).permute(0, 2, 1, 3, 4)
    z = x + y + block.proj_t[0](th + tw)
    assert torch.allclose(block(x), z + block.mlp(block.norm2(z)), atol=1e-12)


def plane_attention(qkv: Tensor, plane: str) -> Tensor:
    """Two heads over the named axes of a (T, H, W, 3C) map, one sequence per index of the others; zeros padded before."""
    axes = ["thw".index(letter) for letter in plane]
    order = [axis for axis in range(3) if axis not in axes] + axes
    moved = qkv.permute(*order, 3)
    rows = moved.shape[: 3 - len(axes)].numel()
    tokens = moved.reshape(rows, -1, 3, 2, qkv.shape[-1] // 6)  # sequence, token, qkv, head, channel
    q, k, v = tokens.permute(2, 0, 3, 1, 4)
    y = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
    y = y.transpose(1, 2).reshape(*moved.shape[:3], -1)
    return y.permute(*(order.index(axis) for axis in range(3)), 3)


def planes_in_windows(qkv: Tensor, plane: str, window: tuple[int, int, int]) -> Tensor:
    """`plane_attention` in every window of the map, padded with zeros at its ends, window by window."""
    sizes = [w if letter in plane else n for letter, w, n in zip("thw", window, qkv.shape, strict=False)]
    t, h, w = qkv.shape[:3]
    padded = F.pad(qkv, (0, 0, 0, -w % sizes[2], 0, -h % sizes[1], 0, -t % sizes[0]))
    out = torch.zeros(*padded.shape[:3], qkv.shape[-1] // 3, dtype=qkv.dtype)
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(padded.shape[:3], sizes, strict=True))):
        cut = tuple(slice(c, c + s) for c, s in zip(corner, sizes, strict=True))
        out[cut] = plane_attention(padded[cut], plane)
    return out[:t, :h, :w]


@pytest.mark.parametrize("window", [None, (2, 3, 4)], ids=["global", "windowed"])
@pytest.mark.parametrize("variant", ["shared", "separate", "fused", "2d", "2d+1d", "3d"])
def test_t2d_as_its_equations(variant: str, window: tuple[int, int, int] | None) -> None:
    """Windows do not divide the 5x5x7 map. The image branch pads its input, so that a padded token is the bias of qkv;
    the temporal planes pad what is projected already, so that a padded token is zero."""
    block: Any = layer_of({"op": "t2d", "variant": variant, **({"window": window} if window else {})})
    spread(block)
    x = torch.randn(5, 5, 7, 32, dtype=torch.float64)
    n = block.norm1(x)
    sizes = window or (5, 5, 7)
    first = "thw" if variant == "3d" else "hw"
    if window:
        frames, rows, columns = 6 if variant == "3d" else 5, 6, 8
        qkv = block.qkv(F.pad(n, (0, 0, 0, columns - 7, 0, rows - 5, 0, frames - 5)))
    else:
        qkv = block.qkv(n)
    y = planes_in_windows(qkv, first, (sizes[0], sizes[1], sizes[2]))[:5, :5, :7]
    if variant == "fused":
        own = qkv[:5, :5, :7]
        y = block.proj(y + block.alpha * (planes_in_windows(own, "th", sizes) + planes_in_windows(own, "tw", sizes)))
    else:
        y = block.proj(y)
    if variant == "shared":
        z = block.qkv_t[0](y)
        temporal = block.proj_t[0](planes_in_windows(z, "th", sizes) + planes_in_windows(z, "tw", sizes))
        y = y + block.alpha * temporal
    elif variant == "separate":
        a = block.proj_t[0](planes_in_windows(block.qkv_t[0](y), "th", sizes))
        b = block.proj_t[1](planes_in_windows(block.qkv_t[1](y), "tw", sizes))
        y = y + block.alpha * (a + b)
    elif variant == "2d+1d":
        y = y + block.alpha * block.proj_t[0](planes_in_windows(block.qkv_t[0](y), "t", sizes))
    z = x + y
    assert torch.allclose(block(x[None])[0], z + block.mlp(block.norm2(z)), atol=1e-10)


def test_t2d_swapping_height_and_width_swaps_the_planes() -> None:
    block = layer_of({"op": "t2d"}, size=(20, 28))
    other = layer_of({"op": "t2d"}, size=(28, 20))
    other.load_state_dict(block.state_dict())
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    assert torch.allclose(block(x), other(x.transpose(2, 3)).transpose(2, 3), atol=1e-12)


def test_t2d_in_a_window_of_the_whole_map_is_global() -> None:
    block, windowed = layer_of({"op": "t2d"}), layer_of({"op": "t2d", "window": [5, 5, 7]})
    windowed.load_state_dict(block.state_dict())
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    assert torch.allclose(block(x), windowed(x), atol=1e-12)


def test_tps_moves_patches_by_the_papers_pattern() -> None:
    # Each row of windows of 7 starts the pattern anew; +s means that frame t shows frame t - s, circular.
    frames = 16
    shifts = pattern_shifts("3x3", (7, 7)).repeat(2, 2)
    row = [-4, 1, 2, -4, 1, 2, -4]
    assert shifts[0].tolist() == row + row
    assert shifts[:7, 1].tolist() == [1, 0, -3, 1, 0, -3, 1]
    index = shift_index(shifts, frames)
    clip = torch.arange(frames).view(1, frames, 1, 1, 1).expand(1, frames, 14, 14, 1).double()
    moved = permute_tokens(clip.contiguous(), index, shift_index(-shifts, frames))
    assert moved[0, 0, :3, :3, 0].tolist() == [[4, 15, 14], [1, 0, 13], [2, 3, 12]]
    assert moved[0, 15, 0, 0, 0] == 3
    window = [
        [12, 7, 6, 12, 7, 6, 12],
        [9, 8, 5, 9, 8, 5, 9],
        [10, 11, 4, 10, 11, 4, 10],
        [12, 7, 6, 12, 7, 6, 12],
        [9, 8, 5, 9, 8, 5, 9],
        [10, 11, 4, 10, 11, 4, 10],
        [12, 7, 6, 12, 7, 6, 12],
    ]  # frame 8: every 7x7 window shows the same
    assert moved[0, 8, :, :, 0].tolist() == [row + row for row in window] * 2
    assert pattern_shifts("2x2", (2, 2)).tolist() == [[0, 1], [-1, 0]]
    assert pattern_shifts("2x2_long", (2, 2)).tolist() == [[0, 1], [-1, 2]]


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 16])
def test_tps_unshift_is_exact(frames: int) -> None:
    shifts = pattern_shifts("3x3", (7, 7))
    index, inverse = shift_index(shifts, frames), shift_index(-shifts, frames)
    x = torch.randn(2, frames, 7, 7, 3, requires_grad=True)
    back = permute_tokens(permute_tokens(x, index, inverse), inverse, index)
    assert torch.equal(back, x)
    permute_tokens(x, index, inverse).mul(torch.arange(frames).view(1, -1, 1, 1, 1)).sum().backward()
    expected = (torch.arange(frames).view(-1, 1, 1) + shifts) % frames
    assert x.grad is not None and torch.equal(x.grad[0, ..., 0], expected.float())


def test_tps_channel_shift_keeps_edge_frames() -> None:
    x = torch.randn(1, 4, 1, 1, 64)
    y = channel_shift(x, heads=2)
    for head in (0, 32):
        for t in range(4):
            assert torch.equal(y[0, t, 0, 0, head : head + 4], x[0, max(t - 1, 0), 0, 0, head : head + 4])
            assert torch.equal(y[0, t, 0, 0, head + 4 : head + 8], x[0, min(t + 1, 3), 0, 0, head + 4 : head + 8])
            assert torch.equal(y[0, t, 0, 0, head + 8 : head + 32], x[0, t, 0, 0, head + 8 : head + 32])


def test_tps_without_shift_is_a_swin_block() -> None:
    """Cyclic shift by half a window, windows of 2x2 on 4x4, position bias, mask between strangers."""
    block: Any = layer_of({"op": "tps", "window": 2, "shift": "none", "cyclic": True}, frames=3, size=(16, 16))
    x = torch.randn(1, 3, 4, 4, 32, dtype=torch.float64)
    n = block.norm1(x).roll((-1, -1), (2, 3))
    region = torch.tensor([0, 0, 1, 2])  # rows before the last window, of the last window, rolled in from the top
    label = (region[:, None] * 3 + region[None, :]).view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
    y = torch.zeros_like(n)
    table = block.bias_table.view(5, 3, 3, 2)
    place = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for t in range(3):
        for w in range(4):
            r, c = 2 * (w // 2), 2 * (w % 2)
            tokens = n[:, t, r : r + 2, c : c + 2].reshape(1, 4, 32)
            q, k, v = (z.view(4, 2, 16).transpose(0, 1) for z in block.qkv(tokens)[0].chunk(3, -1))
            logits = q @ k.transpose(-1, -2) / 4
            for i in range(4):
                for j in range(4):
                    logits[:, i, j] += table[2, place[i][0] - place[j][0] + 1, place[i][1] - place[j][1] + 1]
                    if label[w, i] != label[w, j]:
                        logits[:, i, j] = float("-inf")
            y[0, t, r : r + 2, c : c + 2] = (logits.softmax(-1) @ v).transpose(0, 1).reshape(2, 2, 32)
    z = x + block.proj(y.roll((1, 1), (2, 3)))
    assert torch.allclose(block(x), z + block.mlp(block.norm2(z)), atol=1e-12)


def test_tps_bias_of_a_shifted_pair_uses_the_distance_of_the_frames_that_are_shown() -> None:
    """Pattern [[0, +1], [-1, 0]] on 5 frames: (0,0) shows frame t, (0,1) frame t-1 and (1,0) frame t+1, circular."""
    layer = {"op": "tps", "window": 2, "pattern": "2x2"}
    block: Any = layer_of(layer, frames=5, size=(8, 8))

    def row(dt: int, dy: int, dx: int) -> int:
        return (dt + 4) * 9 + (dy + 1) * 3 + dx + 1  # of 9 x 3 x 3

    assert block.bias_table.shape == (81, 2)
    assert block.bias_rows.shape == (5, 4, 4)
    for t in (1, 2, 3):
        assert block.bias_rows[t, 0].tolist() == [row(0, 0, 0), row(1, 0, -1), row(-1, -1, 0), row(0, -1, -1)]
        assert block.bias_rows[t, 1, 0] == row(-1, 0, 1)
    # In frame 0 the patch (0,1) shows frame 4, and in frame 4 the patch (1,0) shows frame 0.
    assert block.bias_rows[0, 0].tolist() == [row(0, 0, 0), row(-4, 0, -1), row(-1, -1, 0), row(0, -1, -1)]
    assert block.bias_rows[4, 0].tolist() == [row(0, 0, 0), row(1, 0, -1), row(4, -1, 0), row(0, -1, -1)]

    # The released weights take the key in frame 0: there (0,0) shows frame 0, (0,1) frame 4, (1,0) frame 1.
    released: Any = layer_of({**layer, "bias_index": "released"}, frames=5, size=(8, 8))
    assert released.bias_rows[3, 0].tolist() == [row(3, 0, 0), row(-1, 0, -1), row(2, -1, 0), row(3, -1, -1)]
    assert released.bias_rows[3, 1].tolist() == [row(2, 0, 1), row(-2, 0, 0), row(1, -1, 1), row(2, -1, 0)]

    # Without a patch shift the frames are 0 apart, or t for the released weights.
    still: Any = layer_of({**layer, "shift": "channel"}, frames=5, size=(8, 8))
    assert still.bias_rows.shape == (1, 4, 4) and still.bias_rows[0, 0, 1] == row(0, 0, -1)
    still = layer_of({**layer, "shift": "channel", "bias_index": "released"}, frames=5, size=(8, 8))
    assert [still.bias_rows[t, 0, 1] for t in range(5)] == [row(t, 0, -1) for t in range(5)]


@pytest.mark.parametrize("bias_index", ["shifted", "released"])
@pytest.mark.parametrize("shift", ["patch", "channel", "none"])
@pytest.mark.parametrize("cyclic", [False, True], ids=["even", "odd"])
def test_tps_block_patch_by_patch(cyclic: bool, shift: str, bias_index: str) -> None:
    """The whole block, padded and rolled, one frame of one window after the other; 4x5 cells in windows of 3x3."""
    frames, window = 5, 3
    layer = {"op": "tps", "window": window, "shift": shift, "cyclic": cyclic, "bias_index": bias_index}
    block: Any = layer_of(layer, frames=frames, size=(16, 20))
    spread(block)
    x = torch.randn(frames, 4, 5, 32, dtype=torch.float64)
    n = F.pad(block.norm1(x), (0, 0, 0, 1, 0, 2))  # to 6x6, before the roll
    roll = 1 if cyclic else 0
    n = n.roll((-roll, -roll), (1, 2))
    if shift == "channel":
        n = channel_shift(n[None], 2)[0]
    moves = PATTERNS["3x3"] if shift == "patch" else ((0,) * 3,) * 3
    table = block.bias_table.view(2 * frames - 1, 5, 5, 2)
    places = list(itertools.product(range(3), range(3)))
    region = [0, 0, 0, 1, 1, 2] if cyclic else [0] * 6  # beyond the last window's start; rolled in from the other end
    y = torch.zeros_like(n)
    for t, top, left in itertools.product(range(frames), (0, 3), (0, 3)):
        shown = [(t - moves[i][j]) % frames for i, j in places]  # frame that each patch of the window shows
        at_0 = [(0 - moves[i][j]) % frames for i, j in places]
        tokens = torch.stack([n[f, top + i, left + j] for f, (i, j) in zip(shown, places, strict=True)])
        q, k, v = (z.view(9, 2, 16).transpose(0, 1) for z in block.qkv(tokens).chunk(3, -1))
        logits = q @ k.transpose(-1, -2) / 4
        for a, b in itertools.product(range(9), range(9)):
            dt = shown[a] - (at_0 if bias_index == "released" else shown)[b]
            (ya, xa), (yb, xb) = places[a], places[b]
            logits[:, a, b] += table[dt + frames - 1, ya - yb + 2, xa - xb + 2]
            if region[top + ya] != region[top + yb] or region[left + xa] != region[left + xb]:
                logits[:, a, b] = float("-inf")
        out = (logits.softmax(-1) @ v).transpose(0, 1).reshape(9, 32)
        for f, (i, j), token in zip(shown, places, out, strict=True):
            y[f, top + i, left + j] = token  # the shift is undone: a patch goes back to its frame
    z = x + block.proj(y.roll((roll, roll), (1, 2))[:, :4, :5])
    assert torch.allclose(block(x[None])[0], z + block.mlp(block.norm2(z)), atol=1e-10)


def test_tps_a_window_of_the_whole_map_is_not_rolled() -> None:
    rolled: Any = layer_of({"op": "tps", "window": [5, 3], "cyclic": True})
    assert rolled.roll == (0, 1)


def test_factorized_divided_starts_as_the_spatial_block() -> None:
    block: Any = layer_of({"op": "factorized", "variant": "divided"})
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    space = block.attention[1]
    y = x + space.proj(attention(space.norm(x).flatten(0, 1).flatten(1, 2), space.qkv, 2)).view_as(x)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_factorized_joint_is_t2d_3d_and_dot_product_adds_no_parameters() -> None:
    joint: Any = layer_of({"op": "factorized", "variant": "joint"})
    three: Any = layer_of({"op": "t2d", "variant": "3d"})
    names = {"norm1": joint.attention[0].norm, "qkv": joint.attention[0].qkv, "proj": joint.attention[0].proj}
    for name, module in {**names, "norm2": joint.norm, "mlp": joint.mlp}.items():
        getattr(three, name).load_state_dict(module.state_dict())
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    for norm in (three.norm1, three.norm2):
        norm.eps = 1e-6  # T2D's is 1e-5
    assert torch.allclose(three(x), joint(x), atol=1e-12)
    split = layer_of({"op": "factorized", "variant": "dot_product"})
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in joint.parameters())


@pytest.mark.parametrize("variant", ["divided", "self_attention"])
def test_two_attentions_follow_each_other(variant: str) -> None:
    """divided: time, through its linear layer, then space; self_attention: space, then time. Each pre-norm, residual."""
    block: Any = layer_of({"op": "factorized", "variant": variant})
    spread(block)
    x = torch.randn(5, 5, 7, 32, dtype=torch.float64)

    def over(plane: str, branch: Any, y: Tensor) -> Tensor:
        out: Tensor = branch.proj(plane_attention(branch.qkv(branch.norm(y)), plane))
        return out

    if variant == "divided":
        branch, temporal_fc = block.attention[0]
        y = x + temporal_fc(over("t", branch, x))
        y = y + over("hw", block.attention[1], y)
    else:
        y = x + over("hw", block.attention[0], x)
        y = y + over("t", block.attention[1], y)
    assert torch.allclose(block(x[None])[0], y + block.mlp(block.norm(y)), atol=1e-10)


@pytest.mark.parametrize("variant", ["divided", "self_attention", "dot_product"])
def test_factorized_windows_are_small_maps(variant: str) -> None:
    """A 6x6 map in windows of 3 gives what the global block gives on each 3x3 piece: attention over time is per place."""
    windowed = layer_of({"op": "factorized", "variant": variant, "window": 3}, size=(24, 24))
    whole = layer_of({"op": "factorized", "variant": variant}, size=(12, 12))
    spread(windowed)
    whole.load_state_dict(windowed.state_dict())
    x = torch.randn(1, 5, 6, 6, 32, dtype=torch.float64)
    y = windowed(x)
    for row, column in itertools.product((0, 3), (0, 3)):
        cut = (slice(None), slice(None), slice(row, row + 3), slice(column, column + 3))
        assert torch.allclose(y[cut], whole(x[cut].contiguous()), atol=1e-10)


def test_dot_product_halves_the_heads_between_time_and_space() -> None:
    block: Any = layer_of({"op": "factorized", "variant": "dot_product"})
    branch = block.attention[0]
    x = torch.randn(1, 3 + 2, 5, 7, 32, dtype=torch.float64)
    q, k, v = (z.view(5, 35, 2, 16) for z in branch.qkv(branch.norm(x)).view(5, 35, 96).chunk(3, -1))
    time = torch.einsum("tnd,snd->nts", q[:, :, 0], k[:, :, 0]).div(4).softmax(-1)
    space = torch.einsum("tnd,tmd->tnm", q[:, :, 1], k[:, :, 1]).div(4).softmax(-1)
    over_time = torch.einsum("nts,snd->tnd", time, v[:, :, 0])
    over_space = torch.einsum("tnm,tmd->tnd", space, v[:, :, 1])
    y = x + branch.proj(torch.cat((over_time, over_space), -1)).view_as(x)
    assert torch.allclose(block(x), y + block.mlp(block.norm(y)), atol=1e-12)


def test_sparse_tube_attends_to_the_tubes() -> None:
    block: Any = layer_of({"op": "sparse_tube", "tubes": TUBES})
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    n = block.norm1(x).permute(0, 4, 1, 2, 3)
    tokens = torch.cat(
        [
            F.conv3d(n[:, :, :, o:, o:], conv.weight, conv.bias, stride).flatten(2).transpose(1, 2)
            for conv, stride, o in zip(block.tubes, ((2, 2, 2), (3, 2, 2)), (0, 1), strict=True)
        ],
        dim=1,
    )
    assert tokens.shape[1] == 2 * 2 * 3 + 1 * 2 * 3
    q = block.q(block.norm1(x).flatten(1, 3)).view(1, -1, 2, 16).transpose(1, 2)
    k = block.k(tokens + block.embedding).view(1, -1, 2, 16).transpose(1, 2)
    v = block.v(tokens).view(1, -1, 2, 16).transpose(1, 2)
    y = ((q @ k.transpose(-1, -2) / 4).softmax(-1) @ v).transpose(1, 2).reshape(1, -1, 32)
    z = x + block.proj(y).view_as(x)
    assert torch.allclose(block(x), z + block.mlp(block.norm2(z)), atol=1e-12)


def batch_norm(x: Tensor, norm: Any) -> Tensor:
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


def conv(x: Tensor, module: Any, **options: Any) -> Tensor:
    return F.conv3d(x, module.weight, module.bias, **options)


@pytest.mark.parametrize("width", [32, 48])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)], ids=str)
def test_full3d_is_the_basic_block_with_stride_and_width(stride: tuple[int, int, int], width: int) -> None:
    block: Any = strided_layer({"op": "full3d", "temporal_kernel": 5}, stride, width)
    spread(block)
    first = nn.Conv3d(32, width, (5, 3, 3), stride, (2, 1, 1), bias=False).double()
    second = nn.Conv3d(width, width, (5, 3, 3), 1, (2, 1, 1), bias=False).double()
    first.load_state_dict(block.conv1.state_dict())
    second.load_state_dict(block.conv2.state_dict())
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64)
    c = x.permute(0, 4, 1, 2, 3)
    short = c
    if stride != (1, 1, 1) or width != 32:
        short = batch_norm(conv(c, block.shortcut[0], stride=stride), block.shortcut[1])
    y = F.relu(batch_norm(first(c), block.norm1))
    y = F.relu(batch_norm(second(y), block.norm2) + short)
    assert torch.allclose(block(x), y.permute(0, 2, 3, 4, 1), atol=1e-10)


@pytest.mark.parametrize("strided", [False, True])
def test_d2plus1d_is_the_t_osa_block(strided: bool) -> None:
    """Against plain Conv3d on (B, C, T, H, W), with a stride and a new width in the second stage."""
    layer = {"op": "d2plus1d", "modules": 3}
    block: Any = strided_layer(layer, (1, 2, 2)) if strided else layer_of(layer)
    spread(block)
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64)
    c = x.permute(0, 4, 1, 2, 3)
    stride, features, y = (2 if strided else 1), ([] if strided else [c]), c
    for i, module in enumerate(block.tosa):
        inner = module.space.weight.shape[0]
        s = stride if i == 0 else 1
        z = F.relu(batch_norm(conv(y, module.expand), module.norm1))
        z = conv(z, module.space, stride=(1, s, s), padding=(0, 1, 1), groups=inner)
        z = batch_norm(conv(z, module.time, padding=(1, 0, 0), groups=inner), module.norm2)
        if i % 2 == 0:
            gate = F.relu(conv(z.mean((2, 3, 4), keepdim=True), module.excite.reduce))
            z = z * torch.sigmoid(conv(gate, module.excite.expand))
        z = batch_norm(conv(F.silu(z), module.project), module.norm3)
        y = F.relu(y + z if y.shape == z.shape and s == 1 else z)
        features.append(y)
    out = batch_norm(conv(torch.cat(features, 1), block.aggregate), block.norm)
    short = batch_norm(conv(c, block.shortcut[0], stride=(1, 2, 2)), block.shortcut[1]) if strided else c
    assert torch.allclose(block(x), F.relu(short + out).permute(0, 2, 3, 4, 1), atol=1e-10)


def test_d2plus1d_starts_as_its_shortcut_and_rounds_se_widths() -> None:
    block = layer_of({"op": "d2plus1d"})
    x = torch.rand(1, 5, 5, 7, 32, dtype=torch.float64)
    assert torch.allclose(block(x), x, atol=1e-12)
    assert [round8(v) for v in (1, 3, 12, 13, 20, 24)] == [8, 8, 16, 16, 24, 24]


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)], ids=str)
def test_joint_filter_factored_equals_composed(stride: tuple[int, int, int]) -> None:
    layer = {"op": "joint_filter", "temporal_atoms": 2, "temporal_kernel": 5}
    composed: Any = strided_layer(layer, stride)
    factored: Any = strided_layer({**layer, "execution": "factored"}, stride)
    spread(composed)
    factored.load_state_dict(composed.state_dict())
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    assert torch.allclose(composed(x), factored(x), atol=1e-9)
    # Both are the convolution with W[o,i,t,h,w] = sum A[o,i,a,b] Dt[a,t] Ds[b,h,w].
    first = composed.conv1
    weight = torch.einsum("oiab,at,bhw->oithw", first.coefficients, first.temporal_atoms, first.spatial_atoms)
    expected = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, stride=stride, padding=(2, 1, 1)).permute(0, 2, 3, 4, 1)
    assert torch.allclose(first(x), expected, atol=1e-9)
    assert torch.allclose(factored.conv1(x), expected, atol=1e-9)


def test_joint_filter_with_delta_atoms_is_a_convolution() -> None:
    block: Any = layer_of({"op": "joint_filter", "temporal_atoms": 3, "spatial_atoms": 9})
    layer: JointFilterConv = block.conv1
    weight = torch.randn(32, 32, 3, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.temporal_atoms.copy_(torch.eye(3))
        layer.spatial_atoms.copy_(torch.eye(9).view(9, 3, 3))
        layer.coefficients.copy_(weight.reshape(32, 32, 3, 9))
    assert torch.equal(layer.weight(), weight)
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    expected = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, padding=1).permute(0, 2, 3, 4, 1)
    assert torch.allclose(layer(x), expected, atol=1e-10)


def test_joint_filter_frames_doubled_with_dilated_atoms_double_the_output() -> None:
    """At the borders too: the two frames of zeros that dilated atoms of 5 places pad are one frame of zeros, doubled."""
    block: Any = layer_of({"op": "joint_filter"})
    layer: Any = block.conv1
    x = torch.randn(1, 6, 5, 7, 32, dtype=torch.float64)
    once = layer(x)
    dilated = copy.deepcopy(layer)
    atoms = torch.zeros(3, 5, dtype=torch.float64)
    atoms[:, ::2] = layer.temporal_atoms.detach()
    dilated.temporal_atoms = nn.Parameter(atoms)
    assert torch.allclose(dilated(x.repeat_interleave(2, 1)), once.repeat_interleave(2, 1), atol=1e-10)


def test_atoms() -> None:
    atoms = fourier_bessel_atoms(6, 3)
    assert torch.linalg.matrix_rank(atoms.flatten(1)) == 6
    assert torch.allclose(atoms.flatten(1).norm(dim=1), torch.ones(6))
    assert (atoms[0] > 0).all() and atoms[0].argmax() == 4
    assert torch.allclose(atoms[0], atoms[0].rot90())
    # A function on the disc is zero outside: the corners of 5x5, which lie 2.83 from the centre.
    assert all(fourier_bessel_atoms(14, 5)[:, i, j].eq(0).all() for i in (0, 4) for j in (0, 4))
    assert torch.linalg.matrix_rank(fourier_bessel_atoms(9, 3).flatten(1)) == 9
    assert torch.linalg.matrix_rank(fourier_bessel_atoms(14, 5).flatten(1)) == 14
    assert torch.allclose(dct_atoms(3, 3) @ dct_atoms(3, 3).T, torch.eye(3), atol=1e-6)


def test_starting_values_of_the_papers() -> None:
    t2d: Any = layer_of({"op": "t2d"})
    assert t2d.alpha.shape == (32,) and torch.allclose(t2d.alpha, torch.full_like(t2d.alpha, 1e-4))
    divided: Any = layer_of({"op": "factorized", "variant": "divided"})
    assert not divided.attention[0][1].weight.any() and not divided.attention[0][1].bias.any()
    joint: Any = layer_of({"op": "joint_filter"})
    assert torch.equal(joint.conv1.temporal_atoms.float(), dct_atoms(3, 3))
    assert torch.equal(joint.conv1.spatial_atoms.float(), fourier_bessel_atoms(6, 3))
    # Kaiming normal: fan in I Kt Ks for the coefficients, fan out with ReLU for plain convolutions.
    assert joint.conv1.coefficients.std().item() == pytest.approx((2 / (32 * 3 * 6)) ** 0.5, rel=0.03)
    full: Any = layer_of({"op": "full3d"})
    assert full.conv1.weight.std().item() == pytest.approx((2 / (32 * 27)) ** 0.5, rel=0.03)
    assert full.conv1.bias is None and (full.norm1.eps, full.norm1.momentum) == (1e-5, 0.1)


D, N, T, H, W = 32, 5 * 5 * 7, 5, 5, 7
# LayerNorms, qkv, projection and an MLP of ratio 4, of which only the weights multiply.
BLOCK, BLOCK_PARAMS = 12 * D * D * N, 12 * D * D + 13 * D
ATTENTION, NORM = 4 * D * D + 4 * D, 2 * D  # parameters of qkv with projection, and of a norm
SPACE, PLANES = 2 * N * D * H * W, 2 * N * D * (T * H + T * W)
COMPOSE = 3 * 6 * 3 + 3 * 6 * 9  # per channel pair: temporal atoms first, then spatial ones
FILTER_PARAMS = 3 * 6 * D * D + 3 * 3 + 6 * 9
# In windows of (2, 3, 4) the 5x5x7 map is padded to 5x6x8 for the XY plane, 6x6x7 for TH and 6x5x8 for TW.
XY, TH, TW = 5 * 6 * 8, 6 * 6 * 7, 6 * 5 * 8
W3 = 5 * 6 * 9  # the map padded to windows of 3x3

CLOSED_FORMS: list[tuple[dict[str, Any], int, int]] = [
    # layer, multiply-adds, parameters
    ({"op": "t2d"}, BLOCK + 4 * D * D * N + SPACE + PLANES, BLOCK_PARAMS + ATTENTION + D),
    (
        {"op": "t2d", "variant": "separate"},
        BLOCK + 8 * D * D * N + SPACE + PLANES,
        BLOCK_PARAMS + 2 * ATTENTION + D,
    ),
    ({"op": "t2d", "variant": "fused"}, BLOCK + SPACE + PLANES, BLOCK_PARAMS + D),
    ({"op": "t2d", "variant": "2d"}, BLOCK + SPACE, BLOCK_PARAMS),
    ({"op": "t2d", "variant": "2d+1d"}, BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T, BLOCK_PARAMS + ATTENTION + D),
    ({"op": "t2d", "variant": "3d"}, BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        # Padded before qkv in the image branch, after it in the temporal planes.
        {"op": "t2d", "window": [2, 3, 4]},
        3 * D * D * XY + 13 * D * D * N + 2 * D * (XY * 3 * 4 + TH * 2 * 3 + TW * 2 * 4),
        BLOCK_PARAMS + ATTENTION + D,
    ),
    (
        {"op": "factorized", "variant": "divided"},
        BLOCK + 5 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM + D * D + D,
    ),
    (
        {"op": "factorized", "variant": "self_attention"},
        BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T,
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    ({"op": "factorized", "variant": "dot_product"}, BLOCK + N * D * (H * W + T), BLOCK_PARAMS),
    ({"op": "factorized", "variant": "joint"}, BLOCK + 2 * N * N * D, BLOCK_PARAMS),
    (
        {"op": "factorized", "variant": "self_attention", "window": 3},
        3 * D * D * W3 + 13 * D * D * N + 2 * D * (W3 * 9 + N * T),
        BLOCK_PARAMS + ATTENTION + NORM,
    ),
    # A Swin block, at no multiply-adds for the shift; its table has (2T-1)(2wh-1)(2ww-1) rows for each of 2 heads.
    ({"op": "tps", "window": [5, 7]}, BLOCK + SPACE, BLOCK_PARAMS + 9 * 9 * 13 * 2),
    ({"op": "tps", "window": 3}, 3 * D * D * W3 + 9 * D * D * N + 2 * D * W3 * 9, BLOCK_PARAMS + 9 * 5 * 5 * 2),
    ({"op": "full3d"}, 2 * 27 * D * D * N, 2 * 27 * D * D + 2 * NORM),
    ({"op": "joint_filter"}, 2 * (27 * D * D * N + D * D * COMPOSE), 2 * (FILTER_PARAMS + NORM)),
    (
        {"op": "joint_filter", "execution": "factored"},
        2 * N * (D * 3 * 3 + D * 18 * 9 + D * D * 18),
        2 * (FILTER_PARAMS + NORM),
    ),
    (
        # One module of E = 64: 1x1x1, 1x3x3, 3x1x1, SE of 8, 1x1x1; then 32 + 32 channels aggregated.
        {"op": "d2plus1d", "modules": 1},
        N * (D * 64 + 64 * 12 + 64 * 32 + 64 * D) + 2 * 64 * 8,
        3 * 64 * 32 + 64 * 12 + (2 * 64 * 8 + 64 + 8) + 2 * (64 + 64 + 32 + 32),
    ),
    (
        # 18 tube tokens: their convolutions, q and projection of all cells, k and v of the tokens, QK and AV, the MLP.
        {"op": "sparse_tube", "tubes": TUBES},
        D * D * (12 * 8 + 6 * 3) + 10 * D * D * N + 2 * D * D * 18 + 2 * N * 18 * D,
        BLOCK_PARAMS + (8 + 3) * D * D + 2 * D,
    ),
]


@pytest.mark.parametrize(
    ("layer", "macs", "params"),
    CLOSED_FORMS,
    ids=["-".join(str(v) for v in layer.values() if v is not TUBES) for layer, _, _ in CLOSED_FORMS],
)
def test_cost_equals_the_closed_form(layer: dict[str, Any], macs: int, params: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(document(layer))).layers}
    assert (rows["stages.0.layers.0"].macs, rows["stages.0.layers.0"].params) == (macs, params)


# Stride 2 from 5x5x7 to 3x3x4 and width 32 to 48, with a pointwise convolution in the shortcut.
N2, E = 3 * 3 * 4, 48
SHORT = D * E * N2


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        ({"op": "full3d"}, 27 * (D + E) * E * N2 + SHORT),
        ({"op": "joint_filter"}, (D + E) * E * (27 * N2 + COMPOSE) + SHORT),
        (
            # Time first: temporal atoms at 3x5x7, spatial atoms at 3x3x4.
            {"op": "joint_filter", "execution": "factored"},
            9 * (D * 3 * 5 * 7 + E * N2) + 18 * (9 + E) * (D + E) * N2 + SHORT,
        ),
        (
            # Inner width 96: expansion at 5x5x7, space at 5x3x4, time at 3x3x4, SE of 8; the input is not aggregated.
            {"op": "d2plus1d", "modules": 1},
            96 * (D * N + 9 * 5 * 3 * 4 + 3 * N2 + 2 * 8 + E * N2) + E * E * N2 + SHORT,
        ),
    ],
    ids=["full3d", "composed", "factored", "d2plus1d"],
)
def test_multiply_adds_of_a_strided_layer(layer: dict[str, Any], macs: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(strided_document(layer, (2, 2, 2)))).layers}
    assert rows["stages.1.layers.0"].macs == macs

"""Every operator: builds anywhere, trains, and computes what its paper says."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas.architecture import OPERATORS, Architecture
from nas.models.layers.d2plus1d import round8
from nas.models.layers.joint_filter import JointFilterConv, dct_atoms, fourier_bessel_atoms
from nas.models.layers.tps import channel_shift, pattern_shifts, permute_tokens, shift_index
from nas.models.network import build
from nas.profiler.cost import cost

TUBES = [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}, {"kernel": [3, 1, 1], "stride": [3, 2, 2], "offset": [0, 1, 1]}]
LAYERS: list[dict[str, Any]] = [
    *({"op": "t2d", "variant": v} for v in ("shared", "separate", "fused", "2d", "2d+1d", "3d")),
    {"op": "t2d", "window": [2, 3, 4]},
    *({"op": "tps", "window": 3, "shift": s, "cyclic": c} for s in ("patch", "channel", "none") for c in (False, True)),
    {"op": "tps", "window": [2, 4], "pattern": "2x2", "bias_index": "released", "cyclic": True},
    *({"op": "factorized", "variant": v} for v in ("divided", "self_attention", "dot_product", "joint")),
    {"op": "factorized", "window": 3},
    {"op": "sparse_tube", "tubes": TUBES},
    {"op": "d2plus1d", "modules": 3, "kernel": 5},
    {"op": "joint_filter"},
    {"op": "joint_filter", "execution": "factored", "temporal_atoms": 2},
    {"op": "full3d", "temporal_kernel": 5},
]


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


def test_every_operator_is_listed() -> None:
    assert {layer["op"] for layer in LAYERS} == set(OPERATORS)


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


def test_tps_bias_of_a_shifted_pair_uses_the_distance_after_the_shift() -> None:
    block: Any = layer_of({"op": "tps", "window": 2, "pattern": "2x2"}, frames=5, size=(8, 8))
    rows = block.bias_rows.view(4, 4)
    # Patch (0,0) stays, patch (0,1) shows the frame before: distance +1 in time, 0 in y, -1 in x, of 9 x 3 x 3 rows.
    assert rows[0, 1] == (1 + 4) * 9 + 1 * 3 + 0
    assert rows[1, 0] == (-1 + 4) * 9 + 1 * 3 + 2
    released: Any = layer_of({"op": "tps", "window": 2, "bias_index": "released"}, frames=5, size=(8, 8))
    assert released.bias_rows[3, 0, 0] == (3 + 4) * 9 + 4


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
    assert torch.allclose(three(x), joint(x), atol=1e-5)  # the two papers' epsilons differ by 9e-6
    split = layer_of({"op": "factorized", "variant": "dot_product"})
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in joint.parameters())


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


@pytest.mark.parametrize("strided", [False, True])
def test_d2plus1d_is_the_t_osa_block(strided: bool) -> None:
    """Against plain Conv3d on (B, C, T, H, W), with a stride and a new width in the second stage."""
    data = document({"op": "d2plus1d", "modules": 2})
    downsample = {"op": "in_layer", "stride": [1, 2, 2]}
    data["stages"].append({"width": 48, "downsample": downsample, "layers": [{"op": "d2plus1d", "modules": 2}]})
    torch.manual_seed(0)
    network = build(Architecture.parse(data)).double()
    block: Any = network.parts["stages_1_layers_0" if strided else "stages_0_layers_0"]
    torch.nn.init.normal_(block.norm.weight)  # starts at zero
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


def test_full3d_is_the_basic_block() -> None:
    block: Any = layer_of({"op": "full3d"})
    x = torch.randn(2, 5, 5, 7, 32, dtype=torch.float64)
    c = x.permute(0, 4, 1, 2, 3)
    y = F.relu(batch_norm(conv(c, block.conv1, padding=1), block.norm1))
    y = F.relu(batch_norm(conv(y, block.conv2, padding=1), block.norm2) + c)
    assert torch.allclose(block(x), y.permute(0, 2, 3, 4, 1), atol=1e-10)


def test_joint_filter_factored_equals_composed() -> None:
    composed = layer_of({"op": "joint_filter", "temporal_atoms": 2})
    factored = layer_of({"op": "joint_filter", "temporal_atoms": 2, "execution": "factored"})
    factored.load_state_dict(composed.state_dict())
    x = torch.randn(1, 5, 5, 7, 32, dtype=torch.float64)
    assert torch.allclose(composed(x), factored(x), atol=1e-10)


def test_joint_filter_with_delta_atoms_is_a_convolution() -> None:
    block: Any = layer_of({"op": "joint_filter", "temporal_atoms": 3, "spatial_atoms": 9})
    layer: JointFilterConv = block.conv1
    weight = torch.randn(32, 32, 3, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.temporal_atoms.copy_(torch.eye(3))
        layer.spatial_atoms.copy_(torch.eye(9).view(9, 3, 3))
        layer.coefficients.copy_(weight.reshape(32, 32, 3, 9))
    assert torch.equal(layer.weight(), weight)


def test_joint_filter_frames_doubled_with_dilated_atoms_double_the_output() -> None:
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
    assert torch.allclose(atoms[0], atoms[0].T) and atoms[0].argmax() == 4
    assert torch.linalg.matrix_rank(fourier_bessel_atoms(9, 3).flatten(1)) == 9
    assert torch.linalg.matrix_rank(fourier_bessel_atoms(14, 5).flatten(1)) == 14
    assert torch.allclose(dct_atoms(3, 3) @ dct_atoms(3, 3).T, torch.eye(3), atol=1e-6)


D, N, T, H, W = 32, 5 * 5 * 7, 5, 5, 7
BLOCK = 12 * D * D * N  # qkv, projection and an MLP of ratio 4
SPACE, PLANES = 2 * N * D * H * W, 2 * N * D * (T * H + T * W)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        ({"op": "t2d"}, BLOCK + 4 * D * D * N + SPACE + PLANES),
        ({"op": "t2d", "variant": "separate"}, BLOCK + 8 * D * D * N + SPACE + PLANES),
        ({"op": "t2d", "variant": "fused"}, BLOCK + SPACE + PLANES),
        ({"op": "t2d", "variant": "2d"}, BLOCK + SPACE),
        ({"op": "t2d", "variant": "2d+1d"}, BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T),
        ({"op": "t2d", "variant": "3d"}, BLOCK + 2 * N * N * D),
        ({"op": "factorized", "variant": "divided"}, BLOCK + 5 * D * D * N + SPACE + 2 * N * D * T),
        ({"op": "factorized", "variant": "self_attention"}, BLOCK + 4 * D * D * N + SPACE + 2 * N * D * T),
        ({"op": "factorized", "variant": "dot_product"}, BLOCK + N * D * (H * W + T)),
        ({"op": "factorized", "variant": "joint"}, BLOCK + 2 * N * N * D),
        ({"op": "tps", "window": [5, 7]}, BLOCK + SPACE),
        ({"op": "full3d"}, 2 * 27 * D * D * N),
        ({"op": "joint_filter"}, 2 * (27 * D * D * N + D * D * (3 * 6 * 9 + 3 * 9 * 3))),
        ({"op": "joint_filter", "execution": "factored"}, 2 * N * (D * 3 * 3 + D * 18 * 9 + D * D * 18)),
        # One module of E = 64: 1x1x1, 1x3x3, 3x1x1, SE, 1x1x1; then 32 + 32 channels aggregated.
        ({"op": "d2plus1d", "modules": 1}, N * (D * 64 + 64 * 12 + 64 * 32 + 64 * D) + 2 * 64 * 8),
        # 18 tube tokens: their convolutions, q and projection of all cells, k and v of the tokens, QK and AV, the MLP.
        (
            {"op": "sparse_tube", "tubes": TUBES},
            D * D * (12 * 8 + 6 * 3) + 10 * D * D * N + 2 * D * D * 18 + 2 * N * 18 * D,
        ),
    ],
    ids=lambda value: "-".join(str(v) for v in value.values() if v is not TUBES) if isinstance(value, dict) else "",
)
def test_multiply_adds_equal_the_closed_form(layer: dict[str, Any], macs: int) -> None:
    rows = {row.path: row for row in cost(Architecture.parse(document(layer))).layers}
    assert rows["stages.0.layers.0"].macs == macs

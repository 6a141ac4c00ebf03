"""Stems, heads, downsampling, and whole networks."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.architecture import Architecture, Shape, Tube
from nas.errors import NasError
from nas.models.network import build, freeze_layers
from nas.models.tokens import centre_embedding, tube_centres


def tokens_of(frames: int) -> int:
    layers = [{"op": "factorized", "heads": 4, "variant": "joint"}]
    data = {"input": {"frames": frames}, "stem": {"op": "tube"}, "stages": [{"width": 48, "layers": layers}]}
    network = build(Architecture.parse(data), device="meta")
    clip = torch.empty(1, frames, 224, 224, 3, device="meta")
    return int(network.parts["stem"](clip).shape[3])


def test_tube_tokens_as_published() -> None:
    assert tokens_of(32) == 539
    assert tokens_of(64) == 1176


def stem_network(stem: dict[str, Any], frames: int, size: int, width: int = 12, **rest: Any) -> Any:
    layers = [{"op": "factorized", "heads": 2, "variant": "joint"}]
    stages = [{"width": width, "layers": layers}]
    data = {"input": {"frames": frames, "size": size}, "num_classes": 5, "stem": stem, "stages": stages, **rest}
    torch.manual_seed(0)
    return build(Architecture.parse(data)).double()


def test_a_flat_tube_is_a_patch_embedding_plus_its_centres() -> None:
    tube = {"kernel": [1, 16, 16], "stride": [32, 16, 16]}
    stem = stem_network({"op": "tube", "tubes": [tube]}, 1, 48).parts["stem"]
    image = torch.randn(1, 1, 48, 48, 3, dtype=torch.float64)
    conv = stem.tubes[0].conv
    patches = F.conv2d(image[:, 0].permute(0, 3, 1, 2), conv.weight[:, :, 0], conv.bias, 16).flatten(2).transpose(1, 2)
    centres = torch.tensor([[0, 8 + 16 * i, 8 + 16 * j] for i in range(3) for j in range(3)])
    expected = patches + centre_embedding(centres, 12)
    assert torch.allclose(stem(image)[:, 0, 0], expected, atol=1e-6)


def test_space_to_depth_concatenates_neighbours_on_channels() -> None:
    tube = {"kernel": [1, 2, 2], "stride": [1, 8, 8], "space_to_depth": [1, 2, 2]}
    stem = stem_network({"op": "tube", "tubes": [tube]}, 1, 16).parts["stem"]
    clip = torch.randn(1, 1, 16, 16, 3, dtype=torch.float64)
    conv = stem.tubes[0].conv
    fine = F.conv2d(clip[:, 0].permute(0, 3, 1, 2), conv.weight[:, :, 0], conv.bias, 4)  # (1, 3, 4, 4)
    assert fine.shape == (1, 3, 4, 4)
    for token, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        four = fine[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        expected = torch.cat([four[:, i, j] for i in (0, 1) for j in (0, 1)])
        assert torch.allclose(stem.tubes[0](clip)[0, token], expected, atol=1e-12)


def test_a_tube_starts_at_its_offset_and_lacks_no_neighbour() -> None:
    """Offset (1, 2, 4) in frames, rows, columns. The second output that time folds in does not fit:
    it is zero.
    """
    tube = {"kernel": [3, 4, 4], "stride": [4, 8, 8], "offset": [1, 2, 4], "space_to_depth": [2, 1, 1]}
    stem = stem_network({"op": "tube", "tubes": [tube]}, 5, 16).parts["stem"]
    clip = torch.randn(1, 5, 16, 16, 3, dtype=torch.float64)
    conv = stem.tubes[0].conv
    first = torch.einsum("thwi,oithw->o", clip[0, 1:4, 2:6, 4:8], conv.weight) + conv.bias
    tokens = stem.tubes[0](clip)
    assert tokens.shape == (1, 1 * 2 * 2, 12)
    assert torch.allclose(tokens[0, 0], torch.cat((first, torch.zeros_like(first))), atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_conv_stem(norm: str) -> None:
    """Convolution, depthwise convolution over time, then BN with ReLU or LayerNorm alone; VoV3D's
    kernel and stride.
    """
    stem = stem_network(
        {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2], "temporal_kernel": 5, "norm": norm}, 4, 8
    ).parts["stem"]
    clip = torch.randn(2, 4, 8, 8, 3, dtype=torch.float64)
    y = F.conv3d(clip.permute(0, 4, 1, 2, 3), stem.conv.weight, stride=(1, 2, 2), padding=(0, 1, 1))
    y = F.conv3d(y, stem.time.weight, padding=(2, 0, 0), groups=12)
    if norm == "batch":
        expected = F.relu(F.batch_norm(y, None, None, training=True)).permute(0, 2, 3, 4, 1)
    else:
        expected = F.layer_norm(y.permute(0, 2, 3, 4, 1), (12,), eps=1e-5)
    assert torch.allclose(stem(clip), expected, atol=1e-12)


def test_centre_embedding_by_hand() -> None:
    shape = Shape(8, 20, 20, 13)
    tube = Tube(kernel=(2, 4, 4), stride=(4, 8, 8), offset=(1, 2, 0))
    centres = tube_centres(tube, shape)
    assert centres[0].tolist() == [2, 4, 2] and centres[-1].tolist() == [6, 12, 18]
    row = centre_embedding(centres, 13)[0].double()
    omega = [1.0, 10000.0**-0.5]
    values = [f(p * w) for w in omega for p in (2.0, 2.0, 4.0) for f in (math.sin, math.cos)]
    assert torch.allclose(row[:12], torch.tensor(values).double(), atol=1e-6)
    assert row[12] == 0


@pytest.mark.parametrize("position", ["none", "joint", "factorized"])
def test_patch_stem_adds_its_positions(position: str) -> None:
    stem = stem_network({"op": "patch", "size": [2, 4, 4], "position": position}, 4, 8).parts["stem"]
    clip = torch.randn(1, 4, 8, 8, 3, dtype=torch.float64)
    expected = F.conv3d(clip.permute(0, 4, 1, 2, 3), stem.proj.weight, stem.proj.bias, (2, 4, 4)).permute(0, 2, 3, 4, 1)
    for embedding in stem.positions:
        expected = expected + embedding
    assert torch.allclose(stem(clip), expected, atol=1e-12)
    assert [tuple(p.shape) for p in stem.positions] == {
        "none": [],
        "joint": [(1, 2, 2, 2, 12)],
        "factorized": [(1, 1, 2, 2, 12), (1, 2, 1, 1, 12)],
    }[position]


def test_heads_pool_all_tokens() -> None:
    x = torch.randn(2, 2, 2, 2, 12, dtype=torch.float64)
    stem = {"op": "patch", "size": [2, 4, 4]}
    head = stem_network(stem, 4, 8, head={"op": "attention"}).parts["head"]
    tokens = head.norm(x).flatten(1, 3)
    weights = (tokens @ head.query[0, 0] * 12**-0.5).softmax(1)
    assert torch.allclose(head(x), head.classifier((weights[..., None] * tokens).sum(1)), atol=1e-12)
    for norm in ("before", "after", "none"):
        head = stem_network(stem, 4, 8, head={"op": "mean", "norm": norm}).parts["head"]
        mean = (head.norm(x) if norm == "before" else x).mean((1, 2, 3))
        mean = head.norm(mean) if norm == "after" else mean
        assert torch.allclose(head(x), head.classifier(mean), atol=1e-12)


def test_downsampling_pads_odd_maps() -> None:
    layers = [{"op": "full3d"}]
    data = {
        "input": {"frames": 3, "size": [20, 28]},
        "stem": {"op": "conv"},
        "stages": [
            {"width": 8, "layers": layers},
            {"width": 16, "downsample": {"op": "conv", "stride": [2, 2, 2]}, "layers": layers},
        ],
    }
    part: Any = build(Architecture.parse(data)).double().parts["stages_1_downsample"]
    nn.init.normal_(part.norm.bias)  # padding comes after the norm: it is zero whatever the bias
    x = torch.randn(1, 3, 5, 7, 8, dtype=torch.float64)
    padded = F.pad(part.norm(x), (0, 0, 0, 1, 0, 1, 0, 1)).permute(0, 4, 1, 2, 3)
    expected = F.conv3d(padded, part.conv.weight, part.conv.bias, 2).permute(0, 2, 3, 4, 1)
    assert part(x).shape == (1, 2, 3, 4, 16) and torch.allclose(part(x), expected, atol=1e-12)


@pytest.mark.parametrize("position", ["joint", "factorized", "spatial"])
def test_a_class_token_stands_before_all_others(position: str) -> None:
    stem = {"op": "patch", "size": [2, 4, 4], "position": position}
    clip = torch.randn(2, 4, 8, 8, 3, dtype=torch.float64)
    with_token = stem_network({**stem, "class_tokens": "clip"}, 4, 8, head={"op": "class_token"}).parts["stem"]
    plain = stem_network(stem, 4, 8).parts["stem"]
    plain.load_state_dict(with_token.state_dict(), strict=False)
    x = with_token(clip)
    token = with_token.token.value + with_token.token.position
    assert x.shape == (2, 1, 1, 1 + 2 * 2 * 2, 12)
    assert torch.equal(x[:, 0, 0, 0], token[:, 0, 0, 0].expand(2, -1))
    assert torch.equal(x[:, 0, 0, 1:], plain(clip).flatten(1, 3))


def test_class_tokens_of_frames_are_pooled_for_a_temporal_transformer() -> None:
    """ViViT model 2: each frame's token goes on, after LayerNorm, with its position, behind a token
    of the clip.
    """
    layer = {"op": "factorized", "heads": 2}
    data = {
        "input": {"frames": 6, "size": 8},
        "stem": {"op": "patch", "size": [2, 4, 4], "position": "spatial", "class_tokens": "frame"},
        "stages": [
            {"width": 12, "layers": [{**layer, "variant": "space"}]},
            {
                "width": 12,
                "downsample": {"op": "frame_pool", "class_token": True},
                "layers": [{**layer, "variant": "joint"}],
            },
        ],
        "head": {"op": "class_token"},
    }
    parts: Any = build(Architecture.parse(data)).double().parts
    x = parts["stem"](torch.randn(2, 6, 8, 8, 3, dtype=torch.float64))
    assert x.shape == (2, 3, 1, 1 + 4, 12)
    x = parts["stages_0_layers_0"](x)
    pool = parts["stages_1_downsample"]
    y = pool(x)
    assert y.shape == (2, 1, 1, 1 + 3, 12)
    assert torch.allclose(y[:, 0, 0, 1:], (pool.norm(x[:, :, :, :1]) + pool.position)[:, :, 0, 0], atol=1e-12)
    y = parts["stages_1_layers_0"](y)
    head = parts["head"]
    assert torch.equal(head(y), head.classifier(head.norm(y[:, 0, 0, 0])))


def test_frames_without_class_tokens_are_pooled_by_their_mean() -> None:
    data = {
        "input": {"frames": 3, "size": 20},
        "stem": {"op": "conv"},
        "stages": [
            {"width": 12, "layers": [{"op": "full3d"}]},
            {
                "width": 12,
                "downsample": {"op": "frame_pool", "position": False},
                "layers": [{"op": "factorized", "heads": 2, "variant": "joint"}],
            },
        ],
    }
    pool: Any = build(Architecture.parse(data)).double().parts["stages_1_downsample"]
    x = torch.randn(2, 3, 5, 5, 12, dtype=torch.float64)
    assert torch.allclose(pool(x)[:, :, 0, 0], pool.norm(x.mean((2, 3))), atol=1e-12)


def test_patch_merging_orders_cells_as_swin() -> None:
    data = {
        "input": {"frames": 2, "size": [20, 24]},
        "stem": {"op": "conv"},
        "stages": [
            {"width": 8, "layers": [{"op": "full3d"}]},
            {"width": 16, "downsample": {"op": "merge", "stride": [1, 2, 2]}, "layers": [{"op": "full3d"}]},
        ],
    }
    merge: Any = build(Architecture.parse(data)).double().parts["stages_1_downsample"]
    x = torch.randn(1, 2, 5, 6, 8, dtype=torch.float64)
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    cells = [padded[:, :, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    expected = F.linear(merge.norm(torch.cat(cells, -1)), merge.reduction.weight)
    assert merge.reduction.bias is None and torch.allclose(merge(x), expected, atol=1e-12)


def test_a_stem_splits_space_and_time() -> None:
    stem = {"op": "conv", "kernel": [1, 7, 7], "stride": [1, 2, 2], "inner_width": 5, "temporal_kernel": 3}
    data = {"input": {"frames": 4, "size": 16}, "stem": stem, "stages": [{"width": 8, "layers": [{"op": "full3d"}]}]}
    part: Any = build(Architecture.parse(data)).double().parts["stem"]
    clip = torch.randn(2, 3, 4, 16, 16, dtype=torch.float64)
    y = F.conv3d(clip, part.conv.weight, stride=(1, 2, 2), padding=(0, 3, 3))
    y = F.relu(F.batch_norm(y, None, None, training=True))
    y = F.conv3d(y, part.time[2].weight, padding=(1, 0, 0))
    y = F.relu(F.batch_norm(y, None, None, training=True)).permute(0, 2, 3, 4, 1)
    assert part.conv.weight.shape[0] == 5 and torch.allclose(part(clip.permute(0, 2, 3, 4, 1)), y, atol=1e-10)


def test_the_mean_of_frames_is_normalised_between_space_and_time() -> None:
    head = stem_network({"op": "patch", "size": [2, 4, 4]}, 4, 8, head={"op": "mean", "norm": "frame"}).parts["head"]
    x = torch.randn(2, 2, 2, 2, 12, dtype=torch.float64)
    assert torch.allclose(head(x), head.classifier(head.norm(x.mean((2, 3))).mean(1)), atol=1e-12)


def small_vov3d() -> Any:
    block = {"op": "d2plus1d", "modules": 2}
    data = {
        "input": {"frames": 4, "size": 32},
        "num_classes": 5,
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2], "temporal_kernel": 5},
        "stages": [{"width": 8, "downsample": {"op": "in_layer", "stride": [1, 2, 2]}, "layers": [block]}] * 2,
        "head": {"op": "conv", "inner_width": 16, "width": 24},
    }
    torch.manual_seed(0)
    return build(Architecture.parse(data)).double().eval()


def test_a_convolutional_head_averages_probabilities_over_a_larger_crop() -> None:
    """A 5x6 map under windows of the 4x4 that a crop of 32 gives: 2x3 positions."""
    network = small_vov3d()
    head = network.parts["head"]
    assert head.window == (4, 4, 4)
    x = torch.randn(2, 4, 5, 6, 8, dtype=torch.float64)
    probabilities = [head(x[:, :, i : i + 4, j : j + 4]).softmax(-1) for i in range(2) for j in range(3)]
    assert torch.allclose(head(x).exp(), torch.stack(probabilities).mean(0), atol=1e-12)
    assert network(torch.randn(1, 3, 4, 40, 48, dtype=torch.float64)).shape == (1, 5)
    with pytest.raises(ValueError, match="does not fit"):
        network(torch.randn(1, 3, 4, 24, 32, dtype=torch.float64))
    with pytest.raises(ValueError, match="does not fit"):
        network.train()(torch.randn(1, 3, 4, 40, 48, dtype=torch.float64))


def tube_vit(**layer: Any) -> Any:
    tubes = [
        {"kernel": [4, 8, 8], "stride": [8, 16, 16], "space_to_depth": [2, 1, 1]},
        {"kernel": [1, 8, 8], "stride": [16, 8, 8]},
    ]
    block = {"op": "factorized", "heads": 2, "variant": "joint"}
    data = {
        "input": {"frames": 16, "size": 32},
        "num_classes": 5,
        "stem": {"op": "tube", "tubes": tubes},
        "stages": [{"width": 24, "layers": [block, {**block, **layer}, block]}],
        "head": {"op": "attention"},
    }
    torch.manual_seed(0)
    return build(Architecture.parse(data)).double().eval()


def test_an_image_goes_through_the_flat_tube_alone() -> None:
    """As a ViT's patch embedding of stride 8, plus the embedding of centres at frame 0; a video has
    8 + 16 tokens.
    """
    network = tube_vit()
    image = torch.randn(2, 3, 1, 32, 32, dtype=torch.float64)
    stem = network.parts["stem"]
    tokens = stem(image.permute(0, 2, 3, 4, 1))
    conv = stem.tubes[1].conv
    patches = F.conv2d(image[:, :, 0], conv.weight[:, :, 0], conv.bias, stride=8).flatten(2).mT
    centres = torch.cartesian_prod(torch.zeros(1), torch.arange(4) * 8.0 + 4, torch.arange(4) * 8.0 + 4)
    assert torch.allclose(tokens[:, 0, 0], patches + centre_embedding(centres, 24), atol=1e-10)
    assert network(image).shape == (2, 5)
    assert stem(torch.zeros(1, 16, 32, 32, 3, dtype=torch.float64)).shape[3] == 2 * 2 * 2 + 16
    with pytest.raises(ValueError, match="does not fit"):
        network(torch.randn(1, 3, 8, 32, 32, dtype=torch.float64))


def test_an_image_goes_through_each_of_two_equal_tubes() -> None:
    """Tubes of the same kernel, stride and offset have weights of their own."""
    flat = {"kernel": [1, 8, 8], "stride": [8, 8, 8]}
    stem = stem_network({"op": "tube", "tubes": [flat, flat]}, 16, 16).parts["stem"].eval()
    image = torch.randn(2, 1, 16, 16, 3, dtype=torch.float64)
    tokens = stem(image)[:, 0, 0] - stem.image_embedding
    assert torch.allclose(tokens[:, :4], stem.tubes[0](image), atol=1e-6)
    assert torch.allclose(tokens[:, 4:], stem.tubes[1](image), atol=1e-6)
    assert not torch.allclose(tokens[:, :4], tokens[:, 4:])


def test_a_closed_gate_leaves_the_image_network_unchanged() -> None:
    plain, gated = tube_vit(), tube_vit(stem_gate=True)
    missing = gated.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["parts.stages_0_layers_1.gate"]
    image = torch.randn(2, 3, 1, 32, 32, dtype=torch.float64)
    clip = torch.randn(1, 3, 16, 32, 32, dtype=torch.float64)
    assert torch.equal(gated(image), plain(image)) and torch.equal(gated(clip), plain(clip))


def test_an_open_gate_adds_the_tokens_of_the_stem() -> None:
    """z_s = MLP(LN y_s) + y_s + tanh(a) z_0 (TubeViT, scaling up)."""
    network = tube_vit(stem_gate=True)
    block = network.parts["stages_0_layers_1"]
    x, z = torch.randn(2, 2, 1, 1, 9, 24, dtype=torch.float64)
    with torch.no_grad():
        closed = block(x, z)
        block.gate.fill_(0.7)
    assert torch.allclose(block(x, z) - closed, math.tanh(0.7) * z, atol=1e-12)


def test_a_gate_gets_the_tokens_without_the_embedding_of_their_centres() -> None:
    network = tube_vit(stem_gate=True)
    seen: list[Any] = []
    network.parts["stages_0_layers_1"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    stem = network.parts["stem"]
    for frames, embedding in ((16, stem.embedding), (1, stem.image_embedding)):
        clip = torch.randn(2, 3, frames, 32, 32, dtype=torch.float64)
        network(clip)
        torch.testing.assert_close(seen.pop() + embedding, stem(clip.permute(0, 2, 3, 4, 1)))


def test_convolutions_with_a_mean_train_on_clips_of_other_frames_and_size() -> None:
    """As in two stages of joint filters: all frames small, few frames large; as networks built for
    them.
    """
    layers = [{"op": "joint_filter"}, {"op": "full3d"}]
    data = {
        "input": {"frames": 4, "size": 32},
        "num_classes": 5,
        "stem": {"op": "conv"},
        "stages": [{"width": 8, "downsample": {"op": "conv", "stride": [2, 2, 2]}, "layers": layers}],
    }
    architecture = Architecture.parse(data)
    network = build(architecture).eval()
    for frames, size in ((8, (16, 16)), (2, (48, 40)), (1, (5, 3))):
        other = build(architecture, frames=frames, size=size).eval()
        other.load_state_dict(network.state_dict())
        clip = torch.randn(2, 3, frames, *size)
        assert torch.equal(network(clip), other(clip))
        assert network.train()(clip).requires_grad
        network.load_state_dict(other.state_dict())
        network.eval()
    for wrong in ((2, 4, 4, 32, 32), (2, 3, 0, 32, 32), (3, 4, 32, 32), (3,)):
        with pytest.raises(NasError, match="does not fit; allowed"):
            network(torch.zeros(wrong))


@pytest.mark.parametrize("device", ["foo", "cpu:x", "cuda:99", "", 1.5])
def test_a_device_that_is_none_is_refused(device: Any) -> None:
    with pytest.raises(NasError, match=r"device '.*' cannot be used; allowed: 'cpu', 'meta', or an accelerator"):
        build(tube_vit().architecture, device=device)


def test_layers_before_one_are_frozen() -> None:
    network = tube_vit()
    freeze_layers(network, before="stages.0.layers.2")
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"stem", "stages_0_layers_2", "head"}
    with pytest.raises(
        ValueError, match=r"layer 'stages.0.layers.3' is not in the network; allowed: stages.0.layers.0"
    ):
        freeze_layers(network, before="stages.0.layers.3")


def test_interpolated_tubes_share_one_kernel() -> None:
    """A tube of 8x8x8 has the kernel itself; one of 1x8x8 its mean over the two middle frames."""
    tubes = [{"kernel": [8, 8, 8], "stride": [8, 8, 8]}, {"kernel": [1, 8, 8], "stride": [16, 8, 8]}]
    stem = stem_network({"op": "tube", "tubes": tubes, "interpolated": True}, 16, 16).parts["stem"]
    assert [name for name, _ in stem.named_parameters()] == ["tubes.conv.weight", "tubes.conv.bias"]
    clip = torch.randn(1, 16, 16, 16, 3, dtype=torch.float64)
    kernel, bias = stem.tubes.conv.weight, stem.tubes.conv.bias
    maps = clip.permute(0, 4, 1, 2, 3)
    first = F.conv3d(maps, kernel, bias, stride=8)
    second = F.conv3d(maps, kernel[:, :, 3:5].mean(2, keepdim=True), bias, stride=(16, 8, 8))
    expected = torch.cat([y.flatten(2).mT for y in (first, second)], 1) + stem.embedding
    assert torch.allclose(stem(clip)[:, 0, 0], expected, atol=1e-10)


def test_input_and_classes_are_overridden_as_a_network_is_built() -> None:
    network = build("x3d_xs", frames=5, size=(64, 48), num_classes=7, device="meta")
    assert network(torch.empty(2, 3, 5, 64, 48, device="meta")).shape == (2, 7)

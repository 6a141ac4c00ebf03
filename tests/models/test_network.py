"""Stems, heads, downsampling, and whole networks."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.architecture import Architecture, Shape, Tube
from nas.models.network import build
from nas.models.positions import centre_embedding, tube_centres


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
    """Offset (1, 2, 4) in frames, rows, columns. The second output that time folds in does not fit: it is zero."""
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
    """Convolution, depthwise convolution over time, then BN with ReLU or LayerNorm alone; VoV3D's kernel and stride."""
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

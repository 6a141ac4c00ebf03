"""Checkpoints that do not fit: one sentence, and the network is as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_checkpoints import (
    FRAMES,
    T2D,
    WIDTH,
    architecture,
    checkpoint,
    davit_architecture,
    pst_architecture,
    refused,
    saved,
    vit_architecture,
)
from image_networks import DaViT, Swin, ViT

import nas
from nas.weights import checkpoints
from nas.weights.fill import fill


def test_another_depth_is_refused() -> None:
    message = refused(nas.build(vit_architecture(T2D, {}, depth=3)), checkpoint(ViT(), "vit timm"))
    assert message == (
        "weights.pt, a ViT with the names of timm, has [2] layers per stage, but the network has [3]; "
        "allowed: a checkpoint of the same depths"
    )


def test_another_width_is_refused() -> None:
    message = refused(nas.build(vit_architecture(T2D, {})), checkpoint(ViT(width=36), "vit timm"))
    assert message == (
        "weights.pt, a ViT with the names of timm, has a 'stem.weight' of [36, 3, 8, 8], but "
        "'parts.stem.proj.weight' is [48, 3, 1, 8, 8]; allowed: a checkpoint of the same widths"
    )


def test_a_swin_does_not_become_a_vit() -> None:
    message = refused(nas.build(vit_architecture(T2D, {})), checkpoint(Swin(), "swin torchvision"))
    assert "a Swin with the names of torchvision, has [2, 2, 1] layers per stage" in message


def test_a_vit_does_not_become_a_davit() -> None:
    network = vit_architecture({"op": "channel_attention"}, {})
    message = refused(nas.build(network), checkpoint(ViT(), "vit timm"))
    assert "has no 'stages.0.layers.0.channel_qkv.weight', so that only 23 of 31 image parameters" in message


def test_missing_parameters_are_refused_with_their_number() -> None:
    state = checkpoint(ViT(token=False), "vit timm")
    del state["blocks.1.mlp.fc1.weight"], state["blocks.1.mlp.fc1.bias"]
    message = refused(nas.build(vit_architecture(T2D, {})), state)
    assert message == (
        "weights.pt, a ViT with the names of timm, has no 'stages.0.layers.1.mlp.0.weight', so that only 29 of 31 "
        "image parameters of the network can be filled; allowed: a checkpoint with all of them"
    )


def test_blocks_of_another_kind_are_refused() -> None:
    state = checkpoint(ViT(), "vit timm") | {"blocks.0.ls1.gamma": torch.ones(WIDTH)}
    assert "(first 'blocks.0.ls1.gamma')" in refused(nas.build(vit_architecture(T2D, {})), state)


def test_unknown_names_are_refused() -> None:
    message = refused(nas.build(vit_architecture(T2D, {})), {"layer1.0.conv1.weight": torch.ones(3)})
    assert "the names of no known image network (first 'layer1.0.conv1.weight')" in message


def test_parameters_of_impossible_shapes_are_refused() -> None:
    state = checkpoint(ViT(), "vit timm") | {"blocks.0.attn.qkv.weight": torch.tensor(1.0)}
    refused(nas.build(vit_architecture(T2D, {})), state)
    state = checkpoint(DaViT(), "davit timm") | {"stages.0.blocks.0.1.attn.qkv.bias": torch.ones(71)}
    refused(nas.build(davit_architecture()), state)


def test_positions_that_are_no_square_are_refused() -> None:
    state = checkpoint(ViT(), "vit timm")
    state["pos_embed"] = torch.zeros(1, 15, WIDTH)
    assert "has 15 position embeddings" in refused(nas.build(vit_architecture(T2D, {})), state)


def test_tensors_without_numbers_are_refused() -> None:
    for name, shape in (("pos_embed", (1, 5, 0)), ("pos_embed", (0, WIDTH)), ("norm.weight", (0,))):
        message = refused(
            nas.build(vit_architecture(T2D, {})), checkpoint(ViT(), "vit timm") | {name: torch.zeros(shape)}
        )
        assert message.startswith(f"weights.pt has {name!r} of {list(shape)}, which holds nothing; allowed")
    state = checkpoint(Swin(), "swin microsoft") | {"layers.0.downsample.reduction.weight": torch.zeros(16, 0)}
    assert "'layers.0.downsample.reduction.weight' of [16, 0]" in refused(nas.build(pst_architecture()), state)


@pytest.mark.parametrize("op", ["t2d", "factorized"])
def test_a_norm_before_the_blocks_must_have_its_place(op: str) -> None:
    state = checkpoint(ViT(pre_norm=True), "clip openai")
    message = refused(nas.build(vit_architecture({"op": op}, {})), state)
    assert message == (
        "weights.pt, a ViT with the names of OpenAI's CLIP, has a LayerNorm behind its stem ('visual.ln_pre.weight'), "
        "and the network has none; allowed: a stem with one"
    )


def test_a_network_of_convolutions_takes_no_transformer() -> None:
    network = architecture({"op": "conv"}, [{"width": 8, "layers": [{"op": "full3d"}]}], {"op": "mean"})
    assert "no layer of the network has weights of one" in refused(nas.build(network), checkpoint(ViT(), "vit timm"))


def test_the_meta_device_is_refused(tmp_path: Path) -> None:
    path = saved(ViT(), "vit timm", tmp_path)
    with pytest.raises(nas.NasError, match="'meta'"):
        nas.build(vit_architecture(T2D, {}), init=path, device="meta")


def test_a_name_on_the_hub_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, file: str | None) -> Path:
        asked.append((repo, file))
        return saved(ViT(), "vit timm", tmp_path)

    monkeypatch.setattr(checkpoints, "download", download)
    nas.build(vit_architecture(T2D, {}), init="timm/vit_base.augreg")
    nas.build(vit_architecture(T2D, {}), init="timm/vit_base.augreg:weights/b.safetensors")
    assert asked == [("timm/vit_base.augreg", None), ("timm/vit_base.augreg", "weights/b.safetensors")]


TENSORS: dict[str, tuple[Any, str]] = {
    "sparse": (lambda x: x.to_sparse(), "sparse (torch.sparse_coo, torch.float32)"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "quantised (torch.strided, torch.qint8)",
    ),
    "meta": (lambda x: x.to("meta"), "without numbers, on the meta device (torch.strided, torch.float32)"),
    "complex": (lambda x: x.to(torch.complex64), "complex (torch.strided, torch.complex64)"),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_tensors_that_are_no_plain_numbers_are_refused(kind: str, own: bool) -> None:
    model = nas.build(vit_architecture(T2D, {}))
    state = dict(model.state_dict()) if own else checkpoint(ViT(), "vit timm")
    name = "parts.stages_0_layers_1.norm1.weight" if own else "blocks.1.norm1.weight"
    convert, described = TENSORS[kind]
    message = refused(model, state | {name: convert(state[name].detach())})
    assert message == (f"weights.pt has {name!r}, a tensor that is {described}; allowed: dense tensors of real numbers")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_whole_numbers_in_the_place_of_weights_are_refused(dtype: torch.dtype) -> None:
    model, state = nas.build(vit_architecture(T2D, {})), checkpoint(ViT(), "vit timm")
    message = refused(model, state | {"norm.weight": torch.ones(WIDTH, dtype=dtype)})
    assert message == f"weights.pt has 'norm.weight' as numbers of type {dtype}; allowed: weights of a floating type"
    whole = {name: value.to(dtype) if "alpha" in name else value for name, value in model.state_dict().items()}
    for partial in (False, True):
        with pytest.raises(nas.NasError, match=r"has 'parts.stages_0_layers_0.alpha' as numbers of type torch"):
            fill(model, whole, partial=partial)


def test_counts_of_batches_of_this_package_pass_and_eight_bit_floats_are_weights() -> None:
    network = architecture({"op": "conv"}, [{"width": 8, "layers": [{"op": "full3d"}]}], {"op": "mean"})
    model, other = nas.build(network), nas.build(network)
    model(torch.randn(2, 3, FRAMES, 32, 32))
    fill(other, model.state_dict())
    counts = [value for name, value in other.state_dict().items() if "num_batches" in name]
    assert counts and all(count == 1 for count in counts)
    eight = {name: value.to(torch.float8_e4m3fn) for name, value in checkpoint(ViT(), "vit timm").items()}
    fill(nas.build(vit_architecture(T2D, {})), eight)


@pytest.mark.parametrize("own", [False, True])
def test_two_copies_of_one_name_must_be_equal(own: bool) -> None:
    model = nas.build(vit_architecture(T2D, {}))
    state = dict(model.state_dict()) if own else checkpoint(ViT(token=False), "vit timm")
    name = "parts.stages_0_layers_1.norm1.weight" if own else "blocks.1.norm1.weight"
    filled = fill(model, state | {f"module.{name}": state[name].clone()})
    assert not [left for left in filled.left if left.endswith(name)]
    for other in (state[name] + 1, state[name][:5]):
        message = refused(model, state | {f"module.{name}": other})
        assert message == (
            f"weights.pt has {name!r} and 'module.{name}' for one parameter, with different values; "
            "allowed: one of them, or two that are equal"
        )

"""Checkpoints of video networks under the names of image networks: ViViT's and TPS's released ones.

Their patches have an extent in time, and so may their positions and tables of position biases.
"""

from __future__ import annotations

import pytest
import torch
from image_checkpoints import (
    FRAMES,
    T2D,
    WIDTH,
    checkpoint,
    davit_architecture,
    parts,
    pst_architecture,
    refused,
    vit_architecture,
)
from image_networks import DaViT, Swin, ViT
from torch import Tensor

import nas
from nas.weights.fill import fill

SIDE = 4  # patches along height and width of the small ViT


def vivit(frames: int, side: int = SIDE, prefix: str = "vivit.") -> dict[str, Tensor]:
    """A ViT in the names of transformers, its patches over two frames, its positions one per token
    of the clip.
    """
    state = {f"{prefix}{k.removeprefix('vit.')}": v for k, v in checkpoint(ViT(), "vit transformers").items()}
    state[f"{prefix}embeddings.patch_embeddings.projection.weight"] = torch.randn(WIDTH, 3, 2, 8, 8)
    state[f"{prefix}embeddings.position_embeddings"] = torch.randn(1, 1 + frames * side**2, WIDTH)
    return state


def joint_network(frames: int, position: str = "joint") -> nas.Architecture:
    stem = {"size": [2, 8, 8], "position": position, "class_tokens": "clip"}
    clip = {"frames": 2 * frames, "size": 8 * SIDE}
    layer = {"op": "factorized", "variant": "joint"}
    architecture: nas.Architecture = vit_architecture(layer, stem, "class_token", input=clip)
    return architecture


@pytest.mark.parametrize("prefix", ["vivit.", ""])
@pytest.mark.parametrize("frames", [1, 2, 4, 9, 16])
def test_a_video_vit_gives_every_token_of_the_clip_its_position(frames: int, prefix: str) -> None:
    """1, 4, 9 and 16 frames of 4x4 patches make square numbers: 4^2, 8^2, 12^2 and 16^2."""
    model, state = nas.build(joint_network(frames)), vivit(frames, prefix=prefix)
    filled = fill(model, state)
    position = state[f"{prefix}embeddings.position_embeddings"][0]
    stem = parts(model)["stem"]
    assert torch.equal(stem.positions[0].flatten(0, 3), position[1:])
    assert torch.equal(stem.token.position.flatten(), position[0])
    assert torch.equal(stem.proj.weight, state[f"{prefix}embeddings.patch_embeddings.projection.weight"])
    assert filled.new == filled.left == []


@pytest.mark.parametrize("frames", [4, 9])
def test_positions_of_another_number_of_frames_are_refused(frames: int) -> None:
    message = refused(nas.build(joint_network(2)), vivit(frames))
    assert message == (
        "weights.pt, a ViT with the names of transformers, does not fit 'parts.stem.positions.0': "
        f"{16 * frames} position embeddings of patches with an extent in time do not fit positions of 2x4x4; "
        "allowed: a network with 'joint' positions of the same frames, height and width"
    )


@pytest.mark.parametrize("position", ["factorized", "spatial"])
@pytest.mark.parametrize("side", [2, 4])
def test_positions_of_a_clip_are_not_taken_for_those_of_one_frame(position: str, side: int) -> None:
    """4 frames of 2x2 patches have as many positions as one frame of 4x4."""
    network = vit_architecture(T2D, {"size": [2, 8, 8], "position": position}, input={"frames": 8, "size": 32})
    assert "do not fit positions of 1x4x4; allowed: a network with 'joint'" in refused(
        nas.build(network), vivit(4, side)
    )


def test_patches_with_an_extent_in_time_need_a_stem_of_patches() -> None:
    network = vit_architecture(T2D, {}).document()
    network["stem"] = {"op": "conv", "norm": "layer"}
    message = refused(nas.build(nas.Architecture.parse(network)), vivit(4))
    assert message == (
        "weights.pt, a ViT with the names of transformers, has patches with an extent in time "
        "('vivit.embeddings.patch_embeddings.projection.weight' of [48, 3, 2, 8, 8]), but the network has a 'conv' "
        "stem; allowed: a stem of patches"
    )
    davit = checkpoint(DaViT(), "davit timm") | {"stem.conv.weight": torch.ones(24, 3, 3, 7, 7)}
    assert "('stem.conv.weight' of [24, 3, 3, 7, 7])" in refused(nas.build(davit_architecture()), davit)


def released_tps(frames: int = FRAMES, more: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A Swin in the names of Microsoft, its patches over two frames, its tables over `frames`."""
    state = checkpoint(Swin(), "swin microsoft")
    state["patch_embed.proj.weight"] = torch.randn(24, 3, 2, 4, 4)
    for name in [name for name in state if name.endswith("bias_table")]:
        state[name] = torch.randn((2 * frames - 1) * 49, state[name].shape[1])
    state = {f"backbone.{name}": value for name, value in state.items() if not name.startswith("head.")}
    state |= {"cls_head.fc_cls.weight": torch.randn(5, 96), "cls_head.fc_cls.bias": torch.randn(5)}
    state["backbone.layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(32, 32, dtype=torch.int64)
    return state | (more or {})


def pst(bias_index: str) -> nas.Architecture:
    document = pst_architecture("patch").document()
    for stage in document["stages"]:
        for i, layer in enumerate(stage["layers"]):
            layer |= {"bias_index": bias_index, "shift": ("channel", "patch")[i % 2]}
    return nas.Architecture.parse(document)


OLD = {"backbone.layers.0.blocks.1.attn.relative_position_index_old": torch.zeros(16, 16, dtype=torch.int64)}


@pytest.mark.parametrize("derived", [{}, OLD])
def test_released_tps_weights_fill_released_networks(derived: dict[str, Tensor]) -> None:
    model, state = nas.build(pst("released")), released_tps(more=derived)
    filled = fill(model, state)
    assert filled.kind == "Swin with the names of timm or Microsoft" and filled.new == filled.left == []
    assert filled.notes == [
        "patches have an extent in time, so positions and bias tables are read as those of TPS's released weights"
    ]
    table = state["backbone.layers.1.blocks.1.attn.relative_position_bias_table"]
    assert torch.equal(parts(model)["stages_1_layers_1"].bias_table, table)
    assert torch.equal(parts(model)["head"].classifier.weight, state["cls_head.fc_cls.weight"])


@pytest.mark.parametrize("derived", [{}, OLD])
@pytest.mark.parametrize("frames", [2, 5])  # 5: 9 distances x 49 rows are 21^2, as many as of an image window of 11
def test_released_tps_weights_are_refused_for_shifted_networks(frames: int, derived: dict[str, Tensor]) -> None:
    message = refused(nas.build(pst("shifted")), released_tps(frames, derived))
    assert message == (
        "weights.pt, a Swin with the names of timm or Microsoft, does not fit 'parts.stages_0_layers_0.bias_table': "
        f"bias_index 'shifted' reads other rows of a table over frames, {[(2 * frames - 1) * 49, 3]}, than the "
        "released video weights were trained with; allowed: bias_index 'released'"
    )


def test_tables_of_other_frames_are_interpolated_along_time() -> None:
    """Distances -1, 0, 1 of 2 frames become the -3 to 3 of 4, and distance 0 stays."""
    model, state = nas.build(pst("released"), frames=4 * FRAMES), released_tps(2)
    fill(model, state)
    table = state["backbone.layers.0.blocks.0.attn.relative_position_bias_table"].view(3, 49, 3)
    torch.testing.assert_close(parts(model)["stages_0_layers_0"].bias_table.view(7, 49, 3)[3], table[1])

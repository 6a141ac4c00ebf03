"""Checkpoints of image networks in the names of several libraries, filled into video networks.

The image networks are written plainly in `image_checkpoints.py`. On a clip that shows one image in
every frame the video network must give the image network's features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_checkpoints import (
    EXACT,
    FRAMES,
    T2D,
    TUBES,
    WIDTH,
    checkpoint,
    davit_architecture,
    error,
    features,
    image,
    parts,
    pst_architecture,
    saved,
    still,
    vit_architecture,
)
from image_networks import DaViT, Swin, ViT
from torch import Tensor, nn

import nas
from nas.models.image_weights import inflate_patch
from nas.models.layers.tps import inflate_bias_table
from nas.weights.fill import fill
from nas.weights.slots import place_positions

# --------------------------------------------------------------------- equality with image networks

VIT_NAMES = [
    ("vit timm", False),
    ("vit torchvision", False),
    ("vit transformers", False),
    ("vit timm", True),
    ("clip transformers", True),
    ("clip openai", True),
]


@pytest.mark.parametrize(("library", "clip"), VIT_NAMES)
def test_timesformer_with_class_token_is_the_vit_of_every_library(library: str, clip: bool, tmp_path: Path) -> None:
    vit = ViT(pre_norm=clip, quick=clip)
    layer = {"op": "factorized", "variant": "divided", "activation": "quick_gelu" if clip else "gelu"}
    video = vit_architecture(layer, {"class_tokens": "clip", "norm": clip}, "class_token")
    model = nas.build(video, init=saved(vit, library, tmp_path))
    with torch.no_grad():
        expected = vit.double()(image())[:, 0]
    assert error(features(model, still(image())), expected) < EXACT


@pytest.mark.parametrize("token", [False, True])
def test_attention_over_time_starts_as_a_copy_of_that_over_space(token: bool) -> None:
    """TimeSformer's released recipe; the linear layer behind it is zero, whatever it was before."""
    vit = ViT(token=token)
    layer, stem = {"op": "factorized", "variant": "divided"}, {"class_tokens": "clip" if token else "none"}
    video = vit_architecture(layer, stem, "class_token" if token else "mean")
    model, other = nas.build(video), nas.build(video)
    over_time, behind = parts(model)["stages_0_layers_1"].attention[0]
    torch.nn.init.ones_(behind.weight)
    filled = fill(model, checkpoint(vit, "vit timm"))
    block = vit.stages[0][1]
    assert torch.equal(over_time.qkv.weight, block["qkv"].weight) and torch.equal(over_time.qkv.bias, block["qkv"].bias)
    assert torch.equal(over_time.proj.weight, block["out"].weight)
    assert torch.equal(over_time.norm.weight, block["ln1"].weight)
    assert not behind.weight.any() and not behind.bias.any()
    assert "parts.stages_0_layers_1.attention.0.0.qkv.weight" in filled.filled
    before = parts(other)["stages_0_layers_1"].attention[0][0].qkv.weight.clone()
    left = fill(other, checkpoint(vit, "vit timm"), copy_to_time=False)
    assert torch.equal(parts(other)["stages_0_layers_1"].attention[0][0].qkv.weight, before)
    assert "parts.stages_0_layers_1.attention.0.0.qkv.weight" in left.new
    with torch.no_grad():
        expected = vit.double()(image())[:, 0] if token else vit.double()(image()).mean(1)
    assert error(features(model, still(image())), expected) < EXACT


@pytest.mark.parametrize("variant", ["shared", "separate", "fused", "2d", "2d+1d"])
def test_t2d_without_its_temporal_planes_is_the_vit_of_each_frame(variant: str, tmp_path: Path) -> None:
    vit = ViT(token=False)
    model = nas.build(vit_architecture({"op": "t2d", "variant": variant}, {}), init=saved(vit, "vit timm", tmp_path))
    if variant != "2d":
        assert torch.equal(parts(model)["stages_0_layers_0"].alpha, torch.full((WIDTH,), 1e-4))
    clip = torch.stack((image(), image().flip(-1)), dim=2)
    with torch.no_grad():
        frames = [vit.double()(clip[:, :, t]).mean(1) for t in range(FRAMES)]
    assert error(features(model, clip), (frames[0] + frames[1]) / 2) < EXACT


@pytest.mark.parametrize("position", ["joint", "factorized", "spatial"])
@pytest.mark.parametrize("variant", ["space", "joint", "self_attention", "divided"])
def test_factorized_attention_on_a_still_clip_is_the_vit(variant: str, position: str, tmp_path: Path) -> None:
    vit = ViT(token=False)
    video = vit_architecture(
        {"op": "factorized", "variant": variant},
        {"position": position, "size": [2, 8, 8]},
        input={"frames": 2 * FRAMES, "size": 32},
    )
    model = nas.build(video, init=saved(vit, "vit timm", tmp_path))
    with torch.no_grad():
        expected = vit.double()(image()).mean(1)
    assert error(features(model, still(image(), 2 * FRAMES)), expected) < EXACT


def test_vivit_model_2_takes_the_last_norm_before_its_temporal_transformer(tmp_path: Path) -> None:
    vit = ViT()
    video = vit_architecture({"op": "factorized", "variant": "space"}, {}).document()
    video["stem"]["class_tokens"] = "frame"
    temporal = {"op": "factorized", "variant": "joint", "heads": 3}
    pool = {"op": "frame_pool", "class_token": True, "norm_eps": 1e-5}
    video["stages"].append({"width": WIDTH, "downsample": pool, "layers": [temporal]})
    model = nas.build(
        nas.Architecture.parse(video | {"head": {"op": "class_token"}}), init=saved(vit, "vit timm", tmp_path)
    )
    seen: list[Tensor] = []
    parts(model)["stages_1_downsample"].norm.register_forward_hook(lambda *call: seen.append(call[2]))
    features(model, still(image()))
    with torch.no_grad():
        expected = vit.double()(image())[:, 0]
    assert error(seen[0][:, 1, 0, 0], expected) < EXACT


def test_dot_product_attention_takes_every_parameter_of_the_vit(tmp_path: Path) -> None:
    vit = ViT(token=False)
    layer = {"op": "factorized", "variant": "dot_product", "heads": 4}
    model = nas.build(vit_architecture(layer, {"position": "spatial"}))
    filled = fill(model, checkpoint(vit, "vit timm"))
    assert filled.new == filled.left == []
    weight = parts(model)["stages_0_layers_1"].attention[0].qkv.weight
    assert torch.equal(weight, vit.stages[0][1]["qkv"].weight)


def test_image_tube_is_the_patches_of_the_vit(tmp_path: Path) -> None:
    vit = ViT(token=False)
    video = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
    model = nas.build(
        nas.Architecture.parse(video | {"stem": {"op": "tube", "tubes": TUBES}}), init=saved(vit, "vit timm", tmp_path)
    )
    vit.double().pos.data = parts(model)["stem"].image_embedding.double()[None]
    with torch.no_grad():
        expected = vit(image()).mean(1)
    assert error(features(model, image()[:, :, None]), expected) < EXACT


def test_two_equal_image_tubes_are_both_filled_and_both_read(tmp_path: Path) -> None:
    vit, twice = ViT(token=False), [TUBES[1], TUBES[1]]
    document = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
    model = nas.build(nas.Architecture.parse(document | {"stem": {"op": "tube", "tubes": twice}}))
    fill(model, checkpoint(vit, "vit timm"))
    stem = parts(model)["stem"]
    for tube in stem.tubes:
        assert torch.equal(tube.conv.weight[:, :, 0], vit.patch.weight)
    torch.nn.init.zeros_(stem.tubes[1].conv.weight)
    with torch.no_grad():
        tokens = stem(image().float()[:, :, None].permute(0, 2, 3, 4, 1), raw=True)[1]
    assert tokens.shape[3] == 32  # 16 of each tube
    assert tokens[..., :16, :].std() > 0.1
    assert torch.equal(tokens[..., 16:, :], stem.tubes[1].conv.bias.expand(2, 1, 1, 16, -1))


@pytest.mark.parametrize(
    "library", ["swin timm", "swin microsoft", "swin torchvision", "swin transformers"], ids=lambda name: name[5:]
)
def test_pst_without_shift_is_the_swin_of_every_library(library: str, tmp_path: Path) -> None:
    swin = Swin()
    model = nas.build(pst_architecture(), init=saved(swin, library, tmp_path))
    with torch.no_grad():
        expected = swin.double()(image(64)).mean((1, 2))
    assert error(features(model, still(image(64), 2 * FRAMES)), expected) < EXACT


@pytest.mark.parametrize("shift", ["patch", "channel"])
def test_pst_on_a_still_clip_is_the_swin(shift: str, tmp_path: Path) -> None:
    swin = Swin()
    model = nas.build(pst_architecture(shift), init=saved(swin, "swin timm", tmp_path))
    with torch.no_grad():
        expected = swin.double()(image(64)).mean((1, 2))
    assert error(features(model, still(image(64), 2 * FRAMES)), expected) < EXACT


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("library", ["davit timm", "davit original"])
def test_davit_t2d_without_its_temporal_planes_is_davit(library: str, frames: int, tmp_path: Path) -> None:
    davit = DaViT()
    model = nas.build(davit_architecture(frames=frames), init=saved(davit, library, tmp_path))
    with torch.no_grad():
        expected = davit.double()(image(64))
    assert error(features(model, still(image(64), frames)), expected) < EXACT


def test_channel_attention_of_the_video_network_is_that_of_davit_under_other_names(tmp_path: Path) -> None:
    davit = DaViT()
    model = nas.build(davit_architecture("tokens"), init=saved(davit, "davit timm", tmp_path))
    with torch.no_grad():
        expected = davit.double()(image(64))
    # The scale that makes up for the other formula is rounded to single precision.
    assert error(features(model, still(image(64))), expected) < 1e-5


def test_davit_stem_with_extent_in_time_gives_the_image_stem_away_from_the_ends() -> None:
    davit = DaViT()
    document = davit_architecture().document() | {"input": {"frames": 6, "size": 64}}
    document["stem"]["kernel"] = [3, 7, 7]
    model = nas.build(nas.Architecture.parse(document))
    fill(model, checkpoint(davit, "davit timm"))
    with torch.no_grad():
        expected = davit.double().pre(davit.patch(image(64)).permute(0, 2, 3, 1))
        map_ = parts(model.double())["stem"](still(image(64), 6).permute(0, 2, 3, 4, 1))
    assert error(map_[:, 1:-1], expected[:, None].expand(-1, 4, -1, -1, -1)) < 1e-5  # a third in single precision


# -------------------------------------------------------------------------------------- conversions


def test_patch_kernel_is_repeated_over_time_and_divided() -> None:
    kernel = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    inflated = inflate_patch(kernel, torch.Size((1, 1, 4, 2, 2)))
    assert inflated.flatten().tolist() == [0.25, 0.5, 0.75, 1.0] * 4


def test_patch_kernel_of_another_size_keeps_the_sum_over_a_flat_patch() -> None:
    larger = inflate_patch(torch.full((1, 3, 4, 4), 2.0), torch.Size((1, 3, 2, 8, 8)))
    torch.testing.assert_close(larger, torch.full((1, 3, 2, 8, 8), 2.0 * (16 / 64) / 2))


def test_positions_of_the_same_grid_are_exact() -> None:
    position = torch.randn(9, 4)
    placed = place_positions(position, torch.Size((1, 2, 3, 3, 4)))
    assert torch.equal(placed[0, 0].flatten(0, 1), position)
    assert torch.equal(placed[0, 1].flatten(0, 1), position)


def test_positions_of_a_larger_grid_are_interpolated_in_space() -> None:
    rows = torch.arange(4.0).view(4, 1).expand(4, 4).reshape(16, 1)
    placed = place_positions(rows, torch.Size((1, 1, 8, 6, 1)))[0, 0, :, :, 0]
    # Row 3 lies at 1.25: cubic convolution (a = -3/4) weighs rows 1, 2 and 3 by .87890625,
    # .26171875 and -.03515625.
    torch.testing.assert_close(placed[3:5], torch.tensor([[1.296875], [1.703125]]).expand(2, 6))


def test_bias_table_is_repeated_along_the_distance_in_time() -> None:
    table = torch.arange(18.0).view(9, 2)  # a window of 2x2: distances -1, 0, 1 along both axes, two heads
    ours = inflate_bias_table(table, torch.Size((27, 2)), (2, 2))  # two frames: 3 distances in time
    # Row ((dt + 1) 3 + dy + 1) 3 + dx + 1 for dt = 1, dy = -1, dx = 1 is 20; the image's for dy =
    # -1, dx = 1 is 2.
    assert ours[20].tolist() == [4.0, 5.0]
    assert torch.equal(ours.view(3, 9, 2), table.expand(3, 9, 2))


def test_bias_table_of_another_window_is_interpolated(tmp_path: Path) -> None:
    swin = Swin(window=2, depths=(2, 2, 1))
    model = nas.build(pst_architecture(window=4), init=saved(swin, "swin timm", tmp_path))
    table = swin.stages[0][0].table.T.view(1, 3, 3, 3)
    expected = nn.functional.interpolate(table, size=(7, 7), mode="bicubic").flatten(2)[0].T
    torch.testing.assert_close(parts(model)["stages_0_layers_0"].bias_table[:49], expected)


def test_merging_over_frames_is_that_of_one_frame(tmp_path: Path) -> None:
    swin = Swin()
    document = pst_architecture().document()
    document["stages"][1]["downsample"]["stride"] = [2, 2, 2]
    model = nas.build(nas.Architecture.parse(document), init=saved(swin, "swin timm", tmp_path))
    with torch.no_grad():
        expected = swin.double()(image(64)).mean((1, 2))
    assert error(features(model, still(image(64), 2 * FRAMES)), expected) < EXACT


def test_a_larger_clip_resizes_positions_and_keeps_the_class_tokens_apart() -> None:
    vit = ViT()
    stem = {"class_tokens": "clip"}
    model = nas.build(vit_architecture({"op": "factorized"}, stem, "class_token"), size=64)
    filled = fill(model, checkpoint(vit, "vit timm"))
    assert filled.left == []
    stem_ = parts(model)["stem"]
    assert torch.equal(stem_.token.position.flatten(), vit.pos[0, 0])
    assert torch.equal(stem_.token.value.flatten(), vit.get_parameter("cls").flatten())
    grid = vit.pos[0, 1:].T.view(1, WIDTH, 4, 4)
    expected = nn.functional.interpolate(grid, size=(8, 8), mode="bicubic")[0].permute(1, 2, 0)
    torch.testing.assert_close(stem_.positions[0][0, 0], expected)
    assert not stem_.positions[1].any()


# ---------------------------------------------------------------------------------------- reporting


def test_the_report_names_what_was_filled_is_new_and_was_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(ViT(classes=7), "vit timm", tmp_path)
    nas.build(vit_architecture(T2D, {}), init=path)
    out, err = capsys.readouterr()
    assert out == ""
    # 3 of the stem, 12 in each of 2 blocks, 2 of the norm; alpha and 4 of the temporal planes in
    # each block are new.
    assert err.splitlines() == [
        f"{path}: ViT with the names of timm",
        "  filled: 29 (parts.stem.proj.weight, parts.stem.proj.bias, parts.stem.positions.0, and 26 more)",
        "  new: 13 (parts.stem.positions.1, parts.stages_0_layers_0.alpha, parts.stages_0_layers_0.qkv_t.0.weight, "
        "and 10 more)",
        "  left of the checkpoint: 3 (cls_token, head.bias, head.weight)",
    ]


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_files_of_torch_save_with_wrappers_and_prefixes(wrapper: str | None, prefix: str, tmp_path: Path) -> None:
    vit = ViT(token=False)
    state: Any = {prefix + name: value.bfloat16() for name, value in checkpoint(vit, "vit timm").items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "image.pth")
    model = nas.build(vit_architecture(T2D, {}), init=tmp_path / "image.pth")
    assert torch.equal(parts(model)["head"].classifier.weight, vit.classifier.weight.bfloat16().float())
    assert torch.equal(parts(model)["stages_0_layers_1"].qkv.weight, vit.stages[0][1]["qkv"].weight.bfloat16().float())


@pytest.mark.parametrize(
    ("library", "text", "left"),
    [
        (
            "clip openai",
            ("transformer.resblocks.0.ln_1.weight", "ln_final.bias", "text_projection", "positional_embedding"),
            ["visual.class_embedding", "visual.proj.weight", "visual.proj.bias"],
        ),
        (
            "clip transformers",
            ("text_model.encoder.layers.0.layer_norm1.weight", "text_projection.weight"),
            ["vision_model.embeddings.class_embedding", "visual_projection.weight", "visual_projection.bias"],
        ),
    ],
)
def test_the_text_half_of_a_clip_is_not_reported(library: str, text: tuple[str, ...], left: list[str]) -> None:
    """Of what is left the names of the image network's own path come first."""
    vit = ViT(pre_norm=True)
    model = nas.build(vit_architecture(T2D, {"norm": True}))
    beside = {name: torch.ones(8) for name in text} | {"logit_scale": torch.tensor(4.6)}
    filled = fill(model, beside | checkpoint(vit, library))
    assert filled.left[0] == left[0] and set(filled.left) == set(left) and filled.notes == []
    assert torch.equal(parts(model)["stages_0_layers_0"].norm1.weight, vit.stages[0][0]["ln1"].weight)


def test_what_the_stem_has_and_the_checkpoint_lacks_is_said() -> None:
    stem = {"norm": True, "class_tokens": "clip"}
    model = nas.build(vit_architecture({"op": "factorized"}, stem, "class_token"))
    filled = fill(model, checkpoint(ViT(token=False), "vit timm"))
    assert filled.describe().splitlines()[-2:] == [
        "  note: the LayerNorm of the stem is new: the checkpoint has none before its blocks",
        "  note: the class token is new, with random values: the checkpoint has none",
    ]


@pytest.mark.parametrize(
    ("library", "prefix"),
    [
        ("vit timm", "teacher.backbone."),
        ("vit timm", "visual.trunk."),
        ("vit timm", "encoder."),
        ("swin microsoft", "encoder."),
        ("swin transformers", "module."),
    ],
)
def test_prefixes_of_other_trainings(library: str, prefix: str) -> None:
    image_network = ViT() if library == "vit timm" else Swin()
    state = {prefix + name: value for name, value in checkpoint(image_network, library).items()}
    beside = {"decoder.0.weight": torch.ones(3, 3), "encoder.mask_token": torch.ones(1, 1, 3)}
    video = vit_architecture(T2D, {}) if library == "vit timm" else pst_architecture()
    filled = fill(nas.build(video), state | beside)
    plain = fill(nas.build(video), checkpoint(image_network, library))
    assert filled.filled == plain.filled and filled.kind == plain.kind


def test_position_encoding_that_the_family_lacks_is_zero() -> None:
    model = nas.build(vit_architecture(T2D | {"cpe": "3d"}, {}))
    fill(model, checkpoint(ViT(token=False), "vit timm"))
    assert not any(p.any() for name, p in model.named_parameters() if "cpe" in name)


def test_layers_without_a_counterpart_stay_new() -> None:
    document = vit_architecture(T2D, {}).document()
    document["stages"][0]["layers"] = [document["stages"][0]["layers"][0], {"op": "d2plus1d"}]
    filled = fill(nas.build(nas.Architecture.parse(document)), checkpoint(ViT(), "vit timm"))
    assert len([name for name in filled.filled if "layers_0" in name]) == 12
    assert not [name for name in filled.filled if "layers_1" in name]
    assert len([name for name in filled.left if name.startswith("blocks.1.")]) == 12

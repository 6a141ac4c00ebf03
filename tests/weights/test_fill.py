"""Checkpoints of image networks in the names of several libraries, filled into video networks.

The image networks are written plainly in `image_networks.py`. On a clip that shows one image in
every frame the video network must give the image network's features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_networks import DaViT, Plain, Swin, ViT
from safetensors.torch import save_file
from torch import Tensor, nn

import nas
from nas.models.layers.joint_filter import swap_temporal_atoms
from nas.models.network import Network
from nas.weights import checkpoints
from nas.weights import fill as pretrained

WIDTH = 48
FRAMES = 2
EXACT = 1e-10

# What the libraries call the parameters of the plain networks: modules, or parameters with {f} for
# weight and bias. {s} stage, {l} block in the stage, {before} = s - 1, {even} = 2 s, {odd} = 2 s +
# 1, {pair} and {kind} of block l. A tuple for `qkv` names queries, keys and values; `flat` drops
# the axes of length one of class token and positions.
Names = dict[str, Any]
MICROSOFT = {"ln1": "norm1", "qkv": "attn.qkv", "out": "attn.proj", "ln2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
TORCHVISION_SWIN = MICROSOFT | {"fc1": "mlp.0", "fc2": "mlp.3"}
QKV = ("query", "key", "value")
TABLE = "relative_position_bias_table"
HUGGING_FACE = {
    "ln1": "layernorm_before",
    "out": "attention.output.dense",
    "ln2": "layernorm_after",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
LIBRARIES: dict[str, Names] = {
    "vit timm": {
        "patch": "patch_embed.proj",
        "cls": "cls_token",
        "pos": "pos_embed",
        "pre": "norm_pre",
        "block": "blocks.{l}",
        "norm": "norm",
        "classifier": "head",
    }
    | MICROSOFT,
    "vit torchvision": {
        "patch": "conv_proj",
        "cls": "class_token",
        "pos": "encoder.pos_embedding",
        "block": "encoder.layers.encoder_layer_{l}",
        "ln1": "ln_1",
        "qkv": "self_attention.in_proj_{f}",
        "out": "self_attention.out_proj",
        "ln2": "ln_2",
        "fc1": "mlp.0",
        "fc2": "mlp.3",
        "norm": "encoder.ln",
        "classifier": "heads.head",
    },
    "vit transformers": {
        "patch": "vit.embeddings.patch_embeddings.projection",
        "cls": "vit.embeddings.cls_token",
        "pos": "vit.embeddings.position_embeddings",
        "block": "vit.encoder.layer.{l}",
        "qkv": tuple(f"attention.attention.{x}" for x in QKV),
        "norm": "vit.layernorm",
        "classifier": "classifier",
    }
    | HUGGING_FACE,
    "clip transformers": {
        "flat": True,
        "patch": "vision_model.embeddings.patch_embedding",
        "cls": "vision_model.embeddings.class_embedding",
        "pos": "vision_model.embeddings.position_embedding.weight",
        "pre": "vision_model.pre_layrnorm",
        "block": "vision_model.encoder.layers.{l}",
        "ln1": "layer_norm1",
        "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "out": "self_attn.out_proj",
        "ln2": "layer_norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
        "norm": "vision_model.post_layernorm",
        "classifier": "visual_projection",
    },
    "clip openai": {
        "flat": True,
        "patch": "visual.conv1",
        "cls": "visual.class_embedding",
        "pos": "visual.positional_embedding",
        "pre": "visual.ln_pre",
        "block": "visual.transformer.resblocks.{l}",
        "ln1": "ln_1",
        "qkv": "attn.in_proj_{f}",
        "out": "attn.out_proj",
        "ln2": "ln_2",
        "fc1": "mlp.c_fc",
        "fc2": "mlp.c_proj",
        "norm": "visual.ln_post",
        "classifier": "visual.proj.{f}",
    },
    "swin microsoft": {
        "patch": "patch_embed.proj",
        "pre": "patch_embed.norm",
        "block": "layers.{s}.blocks.{l}",
        "table": f"attn.{TABLE}",
        "merge": "layers.{before}.downsample",
        "reduce": "reduction",
        "norm": "norm",
        "classifier": "head",
    }
    | MICROSOFT,
    "swin torchvision": {
        "patch": "features.0.0",
        "pre": "features.0.2",
        "block": "features.{odd}.{l}",
        "table": f"attn.{TABLE}",
        "merge": "features.{even}",
        "reduce": "reduction",
        "norm": "norm",
        "classifier": "head",
    }
    | TORCHVISION_SWIN,
    "swin transformers": {
        "patch": "swin.embeddings.patch_embeddings.projection",
        "pre": "swin.embeddings.norm",
        "block": "swin.encoder.layers.{s}.blocks.{l}",
        "qkv": tuple(f"attention.self.{x}" for x in QKV),
        "table": f"attention.self.{TABLE}",
        "merge": "swin.encoder.layers.{before}.downsample",
        "reduce": "reduction",
        "norm": "swin.layernorm",
        "classifier": "classifier",
    }
    | HUGGING_FACE,
    "davit timm": {
        "patch": "stem.conv",
        "pre": "stem.norm",
        "block": "stages.{s}.blocks.{pair}.{kind}",
        "cpe1": "cpe1.proj",
        "cpe2": "cpe2.proj",
        "merge": "stages.{s}.downsample",
        "reduce": "conv",
        "norm": "head.norm",
        "classifier": "head.fc",
    }
    | MICROSOFT,
    "davit original": {
        "patch": "patch_embeds.0.proj",
        "pre": "patch_embeds.0.norm",
        "block": "main_blocks.{s}.{pair}.{kind}",
        "cpe1": "cpe.0.proj",
        "cpe2": "cpe.1.proj",
        "merge": "patch_embeds.{s}",
        "reduce": "proj",
        "norm": "norms",
        "classifier": "head",
    }
    | MICROSOFT,
}
LIBRARIES["swin timm"] = LIBRARIES["swin microsoft"] | {"merge": "layers.{s}.downsample", "classifier": "head.fc"}


def checkpoint(network: Plain, library: str) -> dict[str, Tensor]:
    """The weights of a plain network under the names of a library."""
    names, state = LIBRARIES[library], {}
    for name, value in network.state_dict().items():
        words = name.split(".")
        places = {"f": words[-1]}
        prefix = ""
        if words[0] in ("stages", "merge"):
            s, l = int(words[1]), int(words[2]) if words[0] == "stages" else 0  # noqa: E741
            places |= dict(s=s, l=l, before=s - 1, even=2 * s, odd=2 * s + 1, pair=l // 2, kind=l % 2)
            prefix = names["block" if words[0] == "stages" else "merge"] + "."
            words = words[3:] if words[0] == "stages" else words[2:]
        found = "norm" if words[0] == "norm" and prefix else names[words[0]]
        for template, part in (
            zip(found, value.chunk(3), strict=True) if isinstance(found, tuple) else ((found, value),)
        ):
            whole = prefix + template
            if words[0] not in ("cls", "pos", "table") and "{f}" not in whole:
                whole += ".{f}"
            flat = names.get("flat") and words[0] in ("cls", "pos")
            state[whole.format(**places)] = (part.squeeze() if flat else part).contiguous()
    return state


def saved(network: Plain, library: str, folder: Path) -> Path:
    path = folder / "image.safetensors"
    save_file(checkpoint(network, library), path)
    return path


def architecture(stem: dict[str, Any], stages: list[dict[str, Any]], head: dict[str, Any], **more: Any) -> Any:
    document = {"input": {"frames": FRAMES, "size": 32}, "num_classes": 5, "stem": stem, "stages": stages, "head": head}
    return nas.Architecture.parse(document | more)


def vit_architecture(
    layer: dict[str, Any], stem: dict[str, Any], head: str = "mean", depth: int = 2, **more: Any
) -> Any:
    layers = [{"heads": 3, "mlp_ratio": 2, "norm_eps": 1e-5} | layer] * depth
    stem = {"op": "patch", "size": [1, 8, 8], "norm_eps": 1e-5} | stem
    return architecture(stem, [{"width": WIDTH, "layers": layers}], {"op": head, "norm_eps": 1e-5}, **more)


def pst_architecture(shift: str = "none", window: int = 4, stem: int = 2) -> Any:
    stages = []
    for s, depth in enumerate((2, 2, 1)):
        layer = {"op": "tps", "heads": 3 * 2**s, "window": window, "shift": shift, "mlp_ratio": 2}
        layers = [layer | {"cyclic": i % 2 == 1} for i in range(depth)]
        stages.append({"width": 24 * 2**s, "layers": layers})
        if s:
            stages[s]["downsample"] = {"op": "merge", "stride": [1, 2, 2]}
    stem_config = {"op": "patch", "size": [stem, 4, 4], "position": "none", "norm": True}
    clip = {"frames": FRAMES * stem, "size": 64}
    return architecture(stem_config, stages, {"op": "mean", "norm_eps": 1e-5}, input=clip)


def davit_architecture(scale: str = "head_dim", frames: int = FRAMES) -> Any:
    stages = []
    for s, depth in enumerate((2, 4)):
        window = {"op": "t2d", "window": [frames, 5, 5]}
        channels = {"op": "channel_attention", "scale": scale}
        layers = [(window, channels)[i % 2] | {"heads": 3 * 2**s, "mlp_ratio": 2, "cpe": "3d"} for i in range(depth)]
        stages.append({"width": 24 * 2**s, "layers": layers})
        if s:
            stages[s]["downsample"] = {"op": "conv", "stride": [1, 2, 2]}
    stem = {"op": "conv", "kernel": [1, 7, 7], "stride": [1, 4, 4], "norm": "layer"}
    head = {"op": "mean", "norm": "after", "norm_eps": 1e-5}
    return architecture(stem, stages, head, input={"frames": frames, "size": 64})


def image(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def still(images: Tensor, frames: int = FRAMES) -> Tensor:
    return images[:, :, None].expand(-1, -1, frames, -1, -1)


def features(model: Network, clip: Tensor) -> Tensor:
    """What the classifier reads, in double precision, with temporal branches of T2D switched off."""
    model = model.double().eval()
    model.parts["head"].classifier = nn.Identity()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".alpha"):
                parameter.zero_()
        return model(clip)


def error(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


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


@pytest.mark.parametrize("variant", ["shared", "separate", "fused", "2d", "2d+1d"])
def test_t2d_without_its_temporal_planes_is_the_vit_of_each_frame(variant: str, tmp_path: Path) -> None:
    vit = ViT(token=False)
    model = nas.build(vit_architecture({"op": "t2d", "variant": variant}, {}), init=saved(vit, "vit timm", tmp_path))
    if variant != "2d":
        assert torch.equal(model.parts["stages_0_layers_0"].alpha, torch.full((WIDTH,), 1e-4))
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
    model.parts["stages_1_downsample"].norm.register_forward_hook(lambda *call: seen.append(call[2]))
    features(model, still(image()))
    with torch.no_grad():
        expected = vit.double()(image())[:, 0]
    assert error(seen[0][:, 1, 0, 0], expected) < EXACT


def test_dot_product_attention_takes_every_parameter_of_the_vit(tmp_path: Path) -> None:
    vit = ViT(token=False)
    layer = {"op": "factorized", "variant": "dot_product", "heads": 4}
    model = nas.build(vit_architecture(layer, {"position": "spatial"}))
    filled = pretrained.fill(model, checkpoint(vit, "vit timm"))
    assert filled.new == filled.left == []
    weight = model.parts["stages_0_layers_1"].attention[0].qkv.weight
    assert torch.equal(weight, vit.stages[0][1]["qkv"].weight)


TUBES = [
    {"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [2, 1, 1]},
    {"kernel": [1, 8, 8], "stride": [2, 8, 8]},
]


def test_image_tube_is_the_patches_of_the_vit(tmp_path: Path) -> None:
    vit = ViT(token=False)
    video = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
    model = nas.build(
        nas.Architecture.parse(video | {"stem": {"op": "tube", "tubes": TUBES}}), init=saved(vit, "vit timm", tmp_path)
    )
    vit.double().pos.data = model.parts["stem"].image_embedding.double()[None]
    with torch.no_grad():
        expected = vit(image()).mean(1)
    assert error(features(model, image()[:, :, None]), expected) < EXACT


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
    pretrained.fill(model, checkpoint(davit, "davit timm"))
    with torch.no_grad():
        expected = davit.double().pre(davit.patch(image(64)).permute(0, 2, 3, 1))
        map_ = model.double().parts["stem"](still(image(64), 6).permute(0, 2, 3, 4, 1))
    assert error(map_[:, 1:-1], expected[:, None].expand(-1, 4, -1, -1, -1)) < 1e-5  # a third in single precision


# -------------------------------------------------------------------------------------- conversions


def test_patch_kernel_is_repeated_over_time_and_divided() -> None:
    kernel = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    inflated = pretrained.inflate_patch(kernel, torch.Size((1, 1, 4, 2, 2)))
    assert inflated.flatten().tolist() == [0.25, 0.5, 0.75, 1.0] * 4


def test_patch_kernel_of_another_size_keeps_the_sum_over_a_flat_patch() -> None:
    larger = pretrained.inflate_patch(torch.full((1, 3, 4, 4), 2.0), torch.Size((1, 3, 2, 8, 8)))
    torch.testing.assert_close(larger, torch.full((1, 3, 2, 8, 8), 2.0 * (16 / 64) / 2))


def test_positions_of_the_same_grid_are_exact() -> None:
    position = torch.randn(9, 4)
    placed = pretrained.place_positions(position, torch.Size((1, 2, 3, 3, 4)))
    assert torch.equal(placed[0, 0].flatten(0, 1), position)
    assert torch.equal(placed[0, 1].flatten(0, 1), position)


def test_positions_of_a_larger_grid_are_interpolated_in_space() -> None:
    rows = torch.arange(4.0).view(4, 1).expand(4, 4).reshape(16, 1)
    placed = pretrained.place_positions(rows, torch.Size((1, 1, 8, 6, 1)))[0, 0, :, :, 0]
    # Row 3 lies at 1.25: cubic convolution (a = -3/4) weighs rows 1, 2 and 3 by .87890625,
    # .26171875 and -.03515625.
    torch.testing.assert_close(placed[3:5], torch.tensor([[1.296875], [1.703125]]).expand(2, 6))


def test_bias_table_is_repeated_along_the_distance_in_time() -> None:
    table = torch.arange(18.0).view(9, 2)  # a window of 2x2: distances -1, 0, 1 along both axes, two heads
    ours = pretrained.inflate_bias_table(table, torch.Size((27, 2)), (2, 2))  # two frames: 3 distances in time
    # Row ((dt + 1) 3 + dy + 1) 3 + dx + 1 for dt = 1, dy = -1, dx = 1 is 20; the image's for dy =
    # -1, dx = 1 is 2.
    assert ours[20].tolist() == [4.0, 5.0]
    assert torch.equal(ours.view(3, 9, 2), table.expand(3, 9, 2))


def test_bias_table_of_another_window_is_interpolated(tmp_path: Path) -> None:
    swin = Swin(window=2, depths=(2, 2, 1))
    model = nas.build(pst_architecture(window=4), init=saved(swin, "swin timm", tmp_path))
    table = swin.stages[0][0].table.T.view(1, 3, 3, 3)
    expected = nn.functional.interpolate(table, size=(7, 7), mode="bicubic").flatten(2)[0].T
    torch.testing.assert_close(model.parts["stages_0_layers_0"].bias_table[:49], expected)


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
    filled = pretrained.fill(model, checkpoint(vit, "vit timm"))
    assert filled.left == []
    stem_ = model.parts["stem"]
    assert torch.equal(stem_.token.position.flatten(), vit.pos[0, 0])
    assert torch.equal(stem_.token.value.flatten(), vit.cls.flatten())
    grid = vit.pos[0, 1:].T.view(1, WIDTH, 4, 4)
    expected = nn.functional.interpolate(grid, size=(8, 8), mode="bicubic")[0].permute(1, 2, 0)
    torch.testing.assert_close(stem_.positions[0][0, 0], expected)
    assert not stem_.positions[1].any()


# ---------------------------------------------------------------------------------------- reporting

T2D = {"op": "t2d"}


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
    assert torch.equal(model.parts["head"].classifier.weight, vit.classifier.weight.bfloat16().float())
    assert torch.equal(model.parts["stages_0_layers_1"].qkv.weight, vit.stages[0][1]["qkv"].weight.bfloat16().float())


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
    filled = pretrained.fill(model, beside | checkpoint(vit, library))
    assert filled.left[0] == left[0] and set(filled.left) == set(left) and filled.notes == []
    assert torch.equal(model.parts["stages_0_layers_0"].norm1.weight, vit.stages[0][0]["ln1"].weight)


def test_what_the_stem_has_and_the_checkpoint_lacks_is_said() -> None:
    stem = {"norm": True, "class_tokens": "clip"}
    model = nas.build(vit_architecture({"op": "factorized"}, stem, "class_token"))
    filled = pretrained.fill(model, checkpoint(ViT(token=False), "vit timm"))
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
    filled = pretrained.fill(nas.build(video), state | beside)
    plain = pretrained.fill(nas.build(video), checkpoint(image_network, library))
    assert filled.filled == plain.filled and filled.kind == plain.kind


def test_a_network_of_this_package_comes_back_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nas.build(vit_architecture(T2D, {}))
    torch.save({"model": network.state_dict()}, tmp_path / "mine.pt")
    again = nas.build(vit_architecture(T2D, {}), init=tmp_path / "mine.pt")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items())
    other = nas.build(vit_architecture(T2D, {}), init=tmp_path / "mine.pt", num_classes=7)
    assert torch.equal(other.parts["stem"].proj.weight, network.parts["stem"].proj.weight)
    assert "  new: 2 (parts.head.classifier.weight, parts.head.classifier.bias)" in capsys.readouterr().err


def test_positions_of_this_package_are_interpolated() -> None:
    """Linearly along time, at (t + 1/2) / 2 - 1/2 for twice the frames; bicubically in space."""
    network = nas.build(vit_architecture(T2D, {}))
    longer = nas.build(vit_architecture(T2D, {}), frames=2 * FRAMES, size=64)
    filled = pretrained.fill(longer, network.state_dict())
    place, frame = (position.detach()[0] for position in network.parts["stem"].positions)
    assert torch.equal(longer.parts["stem"].positions[1].detach()[0, 0], frame[0])
    expected = 0.75 * frame[0] + 0.25 * frame[1]
    torch.testing.assert_close(longer.parts["stem"].positions[1].detach()[0, 1], expected)
    expected = nn.functional.interpolate(place.permute(0, 3, 1, 2), size=(8, 8), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(longer.parts["stem"].positions[0].detach()[0], expected)
    assert filled.notes == [
        "interpolated to the frames and size of the network: parts.stem.positions.0, parts.stem.positions.1"
    ]


def test_bias_tables_of_this_package_are_interpolated_along_time() -> None:
    """Distances -1, 0, 1 of 2 frames become the -3 to 3 of 4; distance 0 stays, 1 lies at (4.5 3 /
    7) - 1/2 = 1.43.
    """
    network, longer = nas.build(pst_architecture("patch")), nas.build(pst_architecture("patch"), frames=4 * FRAMES)
    filled = pretrained.fill(longer, network.state_dict())
    name = "stages_1_layers_1"
    old = network.parts[name].bias_table.detach().view(2 * FRAMES - 1, 49, 6)
    new = longer.parts[name].bias_table.detach().view(4 * FRAMES - 1, 49, 6)
    torch.testing.assert_close(new[3], old[1])
    torch.testing.assert_close(new[4], old[1] + (4.5 * 3 / 7 - 1.5) * (old[2] - old[1]))
    assert filled.new == [] and "stages_0_layers_0.bias_table" in filled.notes[0]


def test_swapped_atoms_of_this_package_are_filled() -> None:
    layers = [{"op": "joint_filter"}]
    video = architecture({"op": "conv"}, [{"width": 8, "layers": layers}], {"op": "mean"})
    network, fresh = nas.build(video).eval(), nas.build(video).eval()
    swap_temporal_atoms(network, dilation=2)
    pretrained.fill(fresh, network.state_dict())
    clip = torch.randn(1, 3, FRAMES, 32, 32)
    assert torch.equal(fresh(clip), network(clip))
    message = refused(fresh, network.state_dict() | {"parts.stages_0_layers_0.conv1.temporal_atoms": torch.ones(2, 3)})
    assert "conv1.temporal_atoms' of [2, 3], but the network's is [3, 5]" in message


def test_position_encoding_that_the_family_lacks_is_zero() -> None:
    model = nas.build(vit_architecture(T2D | {"cpe": "3d"}, {}))
    pretrained.fill(model, checkpoint(ViT(token=False), "vit timm"))
    assert not any(p.any() for name, p in model.named_parameters() if "cpe" in name)


def test_layers_without_a_counterpart_stay_new() -> None:
    document = vit_architecture(T2D, {}).document()
    document["stages"][0]["layers"] = [document["stages"][0]["layers"][0], {"op": "d2plus1d"}]
    filled = pretrained.fill(nas.build(nas.Architecture.parse(document)), checkpoint(ViT(), "vit timm"))
    assert len([name for name in filled.filled if "layers_0" in name]) == 12
    assert not [name for name in filled.filled if "layers_1" in name]
    assert len([name for name in filled.left if name.startswith("blocks.1.")]) == 12


def test_tubes_of_a_small_network_enter_a_large_image_network() -> None:
    def tube_network(width: int, factor: int) -> Network:
        document = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
        tubes = [{"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [factor, 1, 1]}, TUBES[1]]
        document["stages"][0]["width"] = width
        return nas.build(nas.Architecture.parse(document | {"stem": {"op": "tube", "tubes": tubes}}))

    large, small = tube_network(48, 2), tube_network(24, 1)
    image_filled = pretrained.fill(large, checkpoint(ViT(), "vit timm"))
    assert "parts.stem.tubes.0.conv.weight" in image_filled.new
    assert image_filled.left == ["cls_token", "pos_embed"]
    before = large.parts["stages_0_layers_0"].mlp[0].weight.clone()
    state = {f"module.{name}": value for name, value in small.state_dict().items()}
    assert "allowed: a checkpoint of the same architecture, or fill(model, state, partial=True)" in refused(
        large, state
    )
    filled = pretrained.fill(large, state, partial=True)
    assert filled.filled == [f"parts.{name}" for name in ("stem.tubes.0.conv.weight", "stem.tubes.0.conv.bias")] + [
        "parts.head.classifier.bias"
    ]
    assert torch.equal(large.parts["stem"].tubes[0].conv.weight, small.parts["stem"].tubes[0].conv.weight)
    assert torch.equal(large.parts["stages_0_layers_0"].mlp[0].weight, before)


def test_scaling_up_leaves_the_image_network_as_it_is() -> None:
    """Image weights, then the tubes of a smaller network, then gates, all closed, behind the frozen
    layers.
    """

    def tube_network(width: int, factor: int, **layer: Any) -> Network:
        document = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
        tubes = [{"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [factor, 1, 1]}, TUBES[1]]
        document["stages"][0]["width"] = width
        document["stages"][0]["layers"][-1] |= layer
        return nas.build(nas.Architecture.parse(document | {"stem": {"op": "tube", "tubes": tubes}})).eval()

    small, plain, gated = tube_network(24, 1), tube_network(48, 2), tube_network(48, 2, stem_gate=True)
    state = checkpoint(ViT(), "vit timm")
    pretrained.fill(plain, state)
    pretrained.fill(gated, state)
    gated.load_state_dict({k: v for k, v in plain.state_dict().items() if "head" in k}, strict=False)
    pretrained.fill(gated, {k: v for k, v in small.state_dict().items() if ".tubes." in k}, partial=True)
    size = plain.architecture.input.size
    image = torch.randn(2, 3, 1, *size)
    assert torch.equal(gated(image), plain(image))
    clip = image.expand(-1, -1, plain.architecture.input.frames, -1, -1)
    assert not torch.equal(gated(clip), plain(clip))


# ----------------------------------------------------------------------------------------- refusals


def refused(model: Network, state: dict[str, Tensor]) -> str:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(nas.NasError) as caught:
        pretrained.fill(model, state, "weights.pt")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return str(caught.value)


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


def test_a_network_of_this_package_that_shares_nothing_is_refused() -> None:
    model = nas.build(vit_architecture(T2D, {}))
    with pytest.raises(nas.NasError, match=r"no tensor agrees .* \(first 'parts.stem.conv.weight'\)"):
        pretrained.fill(model, {"parts.stem.conv.weight": torch.ones(3)}, partial=True)


def test_another_network_of_this_package_is_refused() -> None:
    """42 names: 4 of the stem, 17 in each of 2 blocks, 2 of the norm, 2 of the classifier."""
    model, state = nas.build(vit_architecture(T2D, {})), nas.build(vit_architecture(T2D, {})).state_dict()
    assert len(state) == 4 + 2 * 17 + 2 + 2
    message = refused(model, {name: value for name, value in state.items() if "layers_1" not in name})
    assert message == (
        "weights.pt, a network of this package, lacks 17 of 42 names of the network (first "
        "'parts.stages_0_layers_1.alpha'); allowed: a checkpoint of the same architecture, or fill(model, state, "
        "partial=True)"
    )
    message = refused(model, state | {"parts.stages_0_layers_2.alpha": torch.ones(WIDTH)})
    assert "has 1 names that the network lacks (first 'parts.stages_0_layers_2.alpha'); allowed" in message
    message = refused(model, state | {"parts.stages_0_layers_1.alpha": torch.ones(36)})
    assert "has a 'parts.stages_0_layers_1.alpha' of [36], but the network's is [48]; allowed" in message
    empty = torch.ones(1, 0, 1, 1, WIDTH)
    assert "positions.1' of [1, 0, 1, 1, 48], but" in refused(model, state | {"parts.stem.positions.1": empty})
    message = refused(model, state | {"parts.stem.positions.1": torch.ones(1, 4, 1, 1, 36)})
    assert "has a 'parts.stem.positions.1' of [1, 4, 1, 1, 36], but the network's is [1, 2, 1, 1, 48]" in message


def test_bias_tables_of_another_window_of_this_package_are_refused() -> None:
    state = nas.build(pst_architecture(window=2)).state_dict()
    assert "has a 'parts.stages_0_layers_0.bias_table' of [27, 3]" in refused(nas.build(pst_architecture()), state)


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

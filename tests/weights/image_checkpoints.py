"""Checkpoints of plain image networks in the names of several libraries, small architectures that
take them, and what the tests compare.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_networks import Plain
from safetensors.torch import save_file
from torch import Tensor, nn

import nas
from nas.models.network import Network
from nas.weights.fill import fill

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
        places: dict[str, Any] = {"f": words[-1]}
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


def parts(model: Network) -> Any:
    """The modules of a network by name; what they hold is known to the tests alone."""
    return model.parts


def image(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def still(images: Tensor, frames: int = FRAMES) -> Tensor:
    return images[:, :, None].expand(-1, -1, frames, -1, -1)


def features(model: Network, clip: Tensor) -> Tensor:
    """What the classifier reads, in double precision, with T2D's temporal branches switched off."""
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


T2D = {"op": "t2d"}
TUBES = [
    {"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [2, 1, 1]},
    {"kernel": [1, 8, 8], "stride": [2, 8, 8]},
]


def refused(model: Network, state: dict[str, Tensor]) -> str:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(nas.NasError) as caught:
        fill(model, state, "weights.pt")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return str(caught.value)

"""How libraries name the parameters of image networks: one `Naming` for a family and a library.

The names here, that all of them are brought to:

    stem.{weight, bias}  stem.norm.*  position (N, C)  class_token (C)  class_position (C)
    stages.S.downsample.{norm.*, weight, bias}
    stages.S.layers.L.{cpe1.*, norm1.*, qkv.*, proj.*, bias_table, cpe2.*, norm2.*}
    stages.S.layers.L.{mlp.0.*, mlp.2.*}
    norm.*  head.*

The attention of DaViT's channel blocks is `channel_qkv` and `channel_proj`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = re.compile(r"^(?:(?:module|model|backbone|teacher|trunk|_orig_mod|vit|vivit|deit|swin|vision_model)\.)+")
# Buffers that follow from the shapes of the network.
DERIVED = re.compile(r".*(?:relative_position_index\w*|attn_mask|position_ids|num_batches_tracked)")


@dataclass(frozen=True)
class Naming:
    """How one library names the parameters of a family of image networks.

    Attributes:
        family: ViT (CLIP's included), Swin or DaViT.
        library: Whose names they are.
        block: Start of a block's names, with groups `layer` and, where there are some, `stage` and
            `kind` (DaViT: 0 space, 1 channels).
        inside: Modules or parameters of a block, and their names here.
        outside: Those before and after the blocks.
        downsample: Start of a downsampling's names, with a group `stage`.
        halved: Stages and downsamplings are counted together.
    """

    family: str
    library: str
    block: str
    inside: Mapping[str, str]
    outside: Mapping[str, str]
    downsample: str = "$"
    halved: bool = False

    def rename(self, name: str) -> str | None:
        """The name here of one parameter, or None."""
        if match := re.match(rf"{self.block}\.", name):
            groups = match.groupdict()
            stage, layer, kind = (int(groups.get(key) or 0) for key in ("stage", "layer", "kind"))
            inner = _lookup(self.inside, name[match.end() :])
            if inner is None:
                return None
            if "kind" in groups:
                layer = 2 * layer + kind
                inner = re.sub(r"^(?=qkv|proj)", "channel_" if kind else "", inner)
            return f"stages.{stage // 2 if self.halved else stage}.layers.{layer}.{inner}"
        if match := re.match(rf"{self.downsample}\.", name):
            stage = int(match["stage"])
            inner = _lookup(_DOWNSAMPLE, name[match.end() :])
            return inner and f"stages.{stage // 2 if self.halved else stage}.downsample.{inner}"
        return _lookup(self.outside, name)

    def in_block(self, name: str) -> bool:
        return re.match(rf"{self.block}\.", name) is not None


def _lookup(table: Mapping[str, str], name: str) -> str | None:
    """The table's name of a parameter, or of its module with `.weight` or `.bias` behind it."""
    if name in table:
        return table[name]
    module, _, field = name.rpartition(".")
    return f"{table[module]}.{field}" if module in table and field in ("weight", "bias") else None


_DOWNSAMPLE = {"norm": "norm", "reduction.weight": "weight"} | {
    f"{module}.{field}": field for module in ("conv", "proj") for field in ("weight", "bias")
}
_MICROSOFT = {"norm1": "norm1", "attn.qkv": "qkv", "attn.proj": "proj", "norm2": "norm2"}
_FC = {"mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}
_TORCHVISION_MLP = {"mlp.0": "mlp.0", "mlp.3": "mlp.2", "mlp.linear_1": "mlp.0", "mlp.linear_2": "mlp.2"}
_TABLE = "relative_position_bias_table"
# Files on the hub have the older names, networks in memory those of transformers 5.
_HUGGING_FACE = (
    {"layernorm_before": "norm1", "layernorm_after": "norm2", "intermediate.dense": "mlp.0", "output.dense": "mlp.2"}
    | _FC
    | {f"attention.{x}_proj": x for x in "qkv"}
    | {"attention.o_proj": "proj", "attention.output.dense": "proj"}
)
_QKV_WORDS = {"query": "q", "key": "k", "value": "v"}

NAMINGS = (
    Naming(
        "ViT",
        "timm",
        r"blocks\.(?P<layer>\d+)",
        _MICROSOFT | _FC,
        {
            "patch_embed.proj": "stem",
            "cls_token": "class_token",
            "pos_embed": "position",
            "norm_pre": "stem.norm",
            "norm": "norm",
            "fc_norm": "norm",
            "head": "head",
        },
    ),
    Naming(
        "ViT",
        "torchvision",
        r"encoder\.layers\.encoder_layer_(?P<layer>\d+)",
        {
            "ln_1": "norm1",
            "self_attention.in_proj_weight": "qkv.weight",
            "self_attention.in_proj_bias": "qkv.bias",
            "self_attention.out_proj": "proj",
            "ln_2": "norm2",
        }
        | _TORCHVISION_MLP,
        {
            "conv_proj": "stem",
            "class_token": "class_token",
            "encoder.pos_embedding": "position",
            "encoder.ln": "norm",
            "heads.head": "head",
        },
    ),
    Naming(
        "ViT",
        "transformers",
        r"(?:encoder\.layer|layers)\.(?P<layer>\d+)",
        _HUGGING_FACE | {f"attention.attention.{word}": x for word, x in _QKV_WORDS.items()},
        {
            "embeddings.patch_embeddings.projection": "stem",
            "embeddings.cls_token": "class_token",
            "embeddings.position_embeddings": "position",
            "layernorm": "norm",
            "classifier": "head",
        },
    ),
    Naming(
        "ViT",
        "transformers' CLIP",
        r"encoder\.layers\.(?P<layer>\d+)",
        {"layer_norm1": "norm1", "self_attn.out_proj": "proj", "layer_norm2": "norm2"}
        | {f"self_attn.{x}_proj": x for x in "qkv"}
        | _FC,
        {
            "embeddings.patch_embedding": "stem",
            "embeddings.class_embedding": "class_token",
            "embeddings.position_embedding.weight": "position",
            "pre_layrnorm": "stem.norm",
            "post_layernorm": "norm",
        },
    ),
    Naming(
        "ViT",
        "OpenAI's CLIP",
        r"transformer\.resblocks\.(?P<layer>\d+)",
        {
            "ln_1": "norm1",
            "attn.in_proj_weight": "qkv.weight",
            "attn.in_proj_bias": "qkv.bias",
            "attn.out_proj": "proj",
            "ln_2": "norm2",
            "mlp.c_fc": "mlp.0",
            "mlp.c_proj": "mlp.2",
        },
        {
            "conv1": "stem",
            "class_embedding": "class_token",
            "positional_embedding": "position",
            "ln_pre": "stem.norm",
            "ln_post": "norm",
        },
    ),
    Naming(
        "Swin",
        "timm or Microsoft",
        r"layers\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)",
        _MICROSOFT | _FC | {f"attn.{_TABLE}": "bias_table"},
        {
            "patch_embed.proj": "stem",
            "patch_embed.norm": "stem.norm",
            "norm": "norm",
            "head": "head",
            "head.fc": "head",
            "cls_head.fc_cls": "head",  # of the video networks that were built on Swin, TPS's among them
        },
        r"layers\.(?P<stage>\d+)\.downsample",
    ),
    Naming(
        "Swin",
        "torchvision",
        r"features\.(?P<stage>[13579])\.(?P<layer>\d+)",
        _MICROSOFT | _TORCHVISION_MLP | {f"attn.{_TABLE}": "bias_table"},
        {"features.0.0": "stem", "features.0.2": "stem.norm", "norm": "norm", "head": "head"},
        r"features\.(?P<stage>[2468])",
        halved=True,
    ),
    Naming(
        "Swin",
        "transformers",
        r"encoder\.layers\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)",
        _HUGGING_FACE
        | {f"attention.self.{word}": x for word, x in _QKV_WORDS.items()}
        | {f"attention.self.{_TABLE}": "bias_table", f"attention.relative_position_bias.{_TABLE}": "bias_table"},
        {
            "embeddings.patch_embeddings.projection": "stem",
            "embeddings.norm": "stem.norm",
            "layernorm": "norm",
            "classifier": "head",
        },
        r"encoder\.layers\.(?P<stage>\d+)\.downsample",
    ),
    Naming(
        "DaViT",
        "timm",
        r"stages\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)\.(?P<kind>[01])",
        _MICROSOFT | _FC | {"cpe1.proj": "cpe1", "cpe2.proj": "cpe2"},
        {
            "stem.conv": "stem",
            "stem.norm": "stem.norm",
            "norm_pre": "norm",
            "head.norm": "norm",
            "head.fc": "head",
        },
        r"stages\.(?P<stage>\d+)\.downsample",
    ),
    Naming(
        "DaViT",
        "the paper's code",
        r"main_blocks\.(?P<stage>\d+)\.(?P<layer>\d+)\.(?P<kind>[01])",
        _MICROSOFT | _FC | {"cpe.0.proj": "cpe1", "cpe.1.proj": "cpe2"},
        {
            "patch_embeds.0.proj": "stem",
            "patch_embeds.0.norm": "stem.norm",
            "norms": "norm",
            "head": "head",
        },
        r"patch_embeds\.(?P<stage>[1-9]\d*)",
    ),
)

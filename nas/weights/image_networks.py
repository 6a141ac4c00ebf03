"""Image networks under one set of names, whichever library wrote the checkpoint: ViT, CLIP's ViT,
Swin and DaViT.

    stem.{weight, bias}  stem.norm.*  position (N, C)  class_token (C)  class_position (C)
    stages.S.downsample.{norm.*, weight, bias}
    stages.S.layers.L.{cpe1.*, norm1.*, qkv.*, proj.*, bias_table, cpe2.*, norm2.*, mlp.0.*, mlp.2.*}
    norm.*  head.*

The attention of DaViT's channel blocks is `channel_qkv` and `channel_proj`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.errors import NasError, brief

PREFIX = re.compile(r"^(?:(?:module|model|backbone|teacher|trunk|_orig_mod|vit|deit|swin|vision_model)\.)+")
ENCODER = "encoder."  # before the names of a network that was trained with a decoder (SimMIM)
# The text half of a CLIP in transformers.
TEXT = re.compile(r"text_model\.|text_projection")
# Buffers that follow from the shapes of the network.
DERIVED = re.compile(r".*(?:relative_position_index|attn_mask|position_ids|num_batches_tracked)")


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


@dataclass(frozen=True)
class ImageNetwork:
    """A checkpoint under the names of this module.

    Attributes:
        family: ViT, Swin or DaViT.
        library: Whose names the checkpoint has.
        tensors: By the names of this module.
        origins: Names in the checkpoint of each of them.
        beside: Names in the checkpoint that are of no image network: those of the text half of a
            CLIP, single numbers, and buffers that follow from shapes.
    """

    family: str
    library: str
    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]
    beside: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    @property
    def depths(self) -> list[int]:
        """Number of layers of each stage."""
        found = {tuple(map(int, m.groups())) for m in map(_LAYER.match, self.tensors) if m}
        return [1 + max(layer for s, layer in found if s == stage) for stage in sorted({s for s, _ in found})]


_LAYER = re.compile(r"stages\.(\d+)\.layers\.(\d+)\.")


def read_image_network(state: Mapping[str, Tensor], source: str = "checkpoint") -> ImageNetwork:
    """Returns the image network that a checkpoint holds, whichever library's names it has.

    Raises:
        NasError: The names are of no known image network, or its blocks are of another kind.
    """
    # Single numbers, such as CLIP's temperature, are in no image network.
    named = {name for name, value in state.items() if value.ndim and not DERIVED.fullmatch(name)}
    names = {name: PREFIX.sub("", name, count=1) for name in state if name in named}
    names = {name: short for name, short in names.items() if not TEXT.match(short)}
    if any(short.startswith("visual.") for short in names.values()):  # all else is the text half of a CLIP
        towers = {name: short.removeprefix("visual.") for name, short in names.items() if short.startswith("visual.")}
        names = {name: PREFIX.sub("", short, count=1) for name, short in towers.items()}
    readings = [
        (naming, shorts, {name: to for name, short in shorts.items() if (to := naming.rename(short))})
        for shorts in (names, {name: short.removeprefix(ENCODER) for name, short in names.items()})
        for naming in NAMINGS
    ]
    naming, names, table = max(readings, key=lambda reading: len(reading[2]))
    if not any(_LAYER.match(to) for to in table.values()):
        allowed = ", ".join(f"{n.family} of {n.library}" for n in NAMINGS)
        raise NasError(
            f"{source} has the names of no known image network (first {next(iter(state))!r}); allowed: {allowed}, "
            "or a network of this package"
        )
    empty = next((name for name in table if not state[name].numel()), None)
    if empty:
        raise NasError(
            f"{source} has {brief(empty)} of {list(state[empty].shape)}, which holds nothing; "
            "allowed: a checkpoint with all of its numbers"
        )
    foreign = [name for name, short in names.items() if name not in table and naming.in_block(short)]
    if foreign:
        raise NasError(
            f"{source} looks like a {naming.family} with the names of {naming.library}, but its blocks have "
            f"parameters of another kind (first {foreign[0]!r}); allowed: plain {naming.family} blocks"
        )
    tensors = {to: state[name] for name, to in table.items()}
    origins = {to: [name] for name, to in table.items()}
    _place_downsamples(tensors, origins)
    _join_qkv(tensors, origins)
    _split_positions(tensors, origins, source)
    if "stem.weight" in tensors and "stem.bias" not in tensors:  # CLIP
        tensors["stem.bias"], origins["stem.bias"] = torch.zeros(len(tensors["stem.weight"])), []
    return ImageNetwork(naming.family, naming.library, tensors, origins, frozenset(state.keys() - names.keys()))


def _place_downsamples(tensors: dict[str, Tensor], origins: dict[str, list[str]]) -> None:
    """Puts every downsampling at the start of its stage; many Swins have it at the end of the stage
    before.

    The channels that it makes tell which: they are the width of its stage.
    """
    numbers = sorted({int(m[1]) for m in (re.match(r"stages\.(\d+)\.downsample\.weight", n) for n in tensors) if m})
    late = [s for s in numbers if len(tensors[f"stages.{s}.downsample.weight"]) != _width(tensors, s)]
    if late != numbers:
        return
    for stage in reversed(numbers):
        for field in ("norm.weight", "norm.bias", "weight", "bias"):
            old, new = (f"stages.{s}.downsample.{field}" for s in (stage, stage + 1))
            if old in tensors:
                tensors[new], origins[new] = tensors.pop(old), origins.pop(old)


def _width(tensors: Mapping[str, Tensor], stage: int) -> int:
    norm = tensors.get(f"stages.{stage}.layers.0.norm1.weight")
    return -1 if norm is None else len(norm)


def _join_qkv(tensors: dict[str, Tensor], origins: dict[str, list[str]]) -> None:
    for name in [name for name in tensors if re.search(r"\.q\.(weight|bias)$", name)]:
        path, _, field = name.rsplit(".", 2)
        parts = [f"{path}.{x}.{field}" for x in "qkv"]
        if all(part in tensors for part in parts):
            tensors[f"{path}.qkv.{field}"] = torch.cat([tensors.pop(part) for part in parts])
            origins[f"{path}.qkv.{field}"] = [origin for part in parts for origin in origins.pop(part)]


def _split_positions(tensors: dict[str, Tensor], origins: dict[str, list[str]], source: str) -> None:
    """Takes the class token's position, which stands first, out of those of the patches, a square
    of them.
    """
    if "class_token" in tensors:
        tensors["class_token"] = tensors["class_token"].flatten()
    if "position" not in tensors:
        return
    position = tensors["position"].reshape(-1, tensors["position"].shape[-1])
    count = len(position)
    class_positions = next((n for n in (0, 1) if count > n and math.isqrt(count - n) ** 2 == count - n), None)
    if class_positions is None:
        raise NasError(
            f"{source} has {count} position embeddings; allowed: those of a square of patches, with or without one for "
            "a class token"
        )
    tensors["position"] = position[class_positions:]
    if class_positions:
        tensors["class_position"], origins["class_position"] = position[0], origins["position"]
    elif "class_token" in tensors:
        tensors["class_position"], origins["class_position"] = torch.zeros_like(position[0]), []

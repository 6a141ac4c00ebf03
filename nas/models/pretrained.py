"""Weights of image networks for video networks: ViT, CLIP's ViT, Swin and DaViT.

A checkpoint in any of the usual namings is renamed to one image network (`ImageNetwork`); every part of a video
network then says which of its parameters an image network has (`_slots`). A clip that shows one image in every frame
gives the image network's features, as long as the temporal branches add nothing. Names of an image network:

    stem.{weight, bias}  stem.norm.*  position (N, C)  class_token (C)  class_position (C)
    stages.S.downsample.{norm.*, weight, bias}
    stages.S.layers.L.{cpe1.*, norm1.*, qkv.*, proj.*, bias_table, cpe2.*, norm2.*, mlp.0.*, mlp.2.*}
    norm.*  head.*

The attention of DaViT's channel blocks is `channel_qkv` and `channel_proj`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import (
    T2D,
    TPS,
    Architecture,
    AttentionHead,
    ChannelAttention,
    ClassTokenHead,
    ConvDownsample,
    ConvStem,
    Factorized,
    FramePool,
    LayerConfig,
    MeanHead,
    MergeDownsample,
    Part,
    PatchStem,
    Shape,
    TubeStem,
)
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.models.network import Network

FORMATS = (".safetensors", ".pt", ".pth", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>.+))?")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "module", "params")
PREFIX = re.compile(r"(?:(?:module|model|backbone|_orig_mod|vit|deit|swin|vision_model)\.)+")
# Buffers that follow from the shapes of the network.
DERIVED = re.compile(r".*(?:relative_position_index|attn_mask|position_ids|num_batches_tracked)")
SHOWN = 3


@dataclass(frozen=True)
class Filled:
    """What a checkpoint did to a network.

    Attributes:
        source: Where the checkpoint came from, for messages.
        kind: Family and naming of the checkpoint.
        filled: Names of the network's state that took values from the checkpoint.
        new: Names of the network's parameters that did not.
        left: Names of the checkpoint that found no place.
    """

    source: str
    kind: str
    filled: list[str]
    new: list[str]
    left: list[str]

    def describe(self) -> str:
        """Four lines: the checkpoint, and how many names were filled, are new or were left, the first few spelled."""
        lines = [f"{self.source}: {self.kind}"]
        for what, names in (("filled", self.filled), ("new", self.new), ("left of the checkpoint", self.left)):
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"  {what}: {len(names)}" + (f" ({', '.join(names[:SHOWN])}{more})" if names else ""))
        return "\n".join(lines)


def fill_from(model: Network, source: str | Path) -> Filled:
    """Fills a network from a file or a name on the Hugging Face hub; see `load_state` and `fill`."""
    return fill(model, load_state(source), str(source))


# ------------------------------------------------------------------------------------------- checkpoints


def load_state(source: str | Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name; nothing in it is executed.

    Args:
        source: A .safetensors file, a .pt, .pth or .bin file of `torch.save`, or a name on the Hugging Face hub,
            `organisation/name` or `organisation/name:file`, which is downloaded.

    Raises:
        NasError: No such file or name, a format that cannot be read, or nothing but other objects in it.
    """
    path = Path(source)
    if not path.is_file():
        hub = HUB_NAME.fullmatch(str(source))
        if not hub or (path.suffix in FORMATS and not hub["file"]):
            raise NasError(
                f"checkpoint {str(source)!r} is no file; allowed: a {', '.join(FORMATS)} file, "
                "or organisation/name[:file] on the Hugging Face hub"
            )
        path = download(hub["repo"], hub["file"])
    if path.suffix not in FORMATS:
        raise NasError(f"checkpoint {str(source)!r} has the format {path.suffix!r}; allowed: {', '.join(FORMATS)}")
    try:
        data = _read(path)
    except Exception as error:  # the readers raise many types on a broken file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NasError(
            f"checkpoint {str(source)!r} cannot be read as plain tensors ({reason}); "
            "allowed: whole files that hold tensors by name and no other objects"
        ) from None
    while isinstance(data, Mapping):
        inner = next((data[key] for key in WRAPPERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            break
        data = inner
    state = {str(k): v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    if not state:
        raise NasError(f"checkpoint {str(source)!r} holds no tensors; allowed: tensors by name")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def download(repo: str, file: str | None) -> Path:
    """Returns the local copy of a file on the Hugging Face hub: the one asked for, or the usual one for weights.

    Raises:
        NasError: huggingface_hub is not installed, or the hub has no such file.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise NasError(
            f"checkpoint {repo!r} is no file, and names on the Hugging Face hub need huggingface_hub; "
            "allowed: a file, or the same after pip install video-nas[hub]"
        ) from None
    names = (file,) if file else HUB_FILES
    for name in names:
        try:
            return Path(hf_hub_download(repo, name))
        except Exception as error:  # no network, no such repository, no permission: all are told in one sentence
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise NasError(
                f"checkpoint {repo!r} cannot be downloaded ({reason}); allowed: a file, or a public name on the hub"
            ) from None
    raise NasError(f"checkpoint {repo!r} has none of {', '.join(names)}; allowed: organisation/name:file")


# ------------------------------------------------------------------------------------------------ namings


@dataclass(frozen=True)
class Naming:
    """How one library names the parameters of a family of image networks.

    Attributes:
        family: ViT (CLIP's included), Swin or DaViT.
        library: Whose names they are.
        block: Start of a block's names, with groups `layer` and, where there are some, `stage` and `kind` (DaViT: 0
            space, 1 channels).
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
    """

    family: str
    library: str
    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    @property
    def depths(self) -> list[int]:
        """Number of layers of each stage."""
        found = {tuple(map(int, m.groups())) for m in map(_LAYER.match, self.tensors) if m}
        stages = 1 + max(stage for stage, _ in found)
        return [1 + max((layer for s, layer in found if s == stage), default=-1) for stage in range(stages)]


_LAYER = re.compile(r"stages\.(\d+)\.layers\.(\d+)\.")


def read_image_network(state: Mapping[str, Tensor], source: str = "checkpoint") -> ImageNetwork:
    """Returns the image network that a checkpoint holds, whichever library's names it has.

    Raises:
        NasError: The names are of no known image network, or its blocks are of another kind.
    """
    # Single numbers, such as CLIP's temperature, are in no image network.
    named = {name for name, value in state.items() if value.ndim and not DERIVED.fullmatch(name)}
    names = {name: PREFIX.sub("", name, count=1) for name in state if name in named}
    if any(short.startswith("visual.") for short in names.values()):  # all else is the text half of a CLIP
        towers = {name: short.partition("visual.") for name, short in names.items()}
        names = {name: "" if before else short for name, (before, _, short) in towers.items()}
    renamed = [{n: to for n, short in names.items() if (to := naming.rename(short))} for naming in NAMINGS]
    best = max(range(len(NAMINGS)), key=lambda i: len(renamed[i]))
    naming, table = NAMINGS[best], renamed[best]
    if not any(_LAYER.match(to) for to in table.values()):
        allowed = ", ".join(f"{n.family} of {n.library}" for n in NAMINGS)
        raise NasError(
            f"{source} has the names of no known image network (first {next(iter(state))!r}); allowed: {allowed}, "
            "or a network of this package"
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
    return ImageNetwork(naming.family, naming.library, tensors, origins)


def _place_downsamples(tensors: dict[str, Tensor], origins: dict[str, list[str]]) -> None:
    """Puts every downsampling at the start of its stage; many Swins have it at the end of the stage before.

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
    """Takes the class token's position, which stands first, out of those of the patches, a square of them."""
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


# -------------------------------------------------------------------------------------------- conversions

Convert = Callable[[Tensor, torch.Size], Tensor]  # from the image network's tensor and our shape


def _reshaped(x: Tensor, shape: torch.Size) -> Tensor:
    """Our shape where that is a matter of axes of length one."""
    return x.reshape(shape) if x.squeeze().shape == torch.Size(n for n in shape if n != 1) else x


def _resized(x_CHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic interpolation of maps, exact where the size is the same."""
    if tuple(x_CHW.shape[1:]) == tuple(size):
        return x_CHW
    return F.interpolate(x_CHW[None], size=tuple(size), mode="bicubic", align_corners=False)[0]


def inflate(kernel: Tensor, shape: torch.Size) -> Tensor:
    """(O, I, H, W) to (O, I, T, H, W): the same in every frame over T, so a still clip gives what the image gives."""
    if kernel.ndim != 4 or len(shape) != 5:
        return kernel
    frames = shape[2]
    return kernel.unsqueeze(2).expand(-1, -1, frames, -1, -1) / frames


def inflate_patch(kernel: Tensor, shape: torch.Size) -> Tensor:
    """As `inflate`; patches of another size get the kernel resized, in proportion to keep the sum over a flat patch."""
    if kernel.ndim != 4:
        return kernel
    area = kernel.shape[2] * kernel.shape[3]
    resized = _resized(kernel.flatten(0, 1), shape[3:]).view(*kernel.shape[:2], *shape[3:])
    return inflate(resized * (area / (shape[3] * shape[4])), shape)


def place_positions(position_NC: Tensor, shape: torch.Size) -> Tensor:
    """(side * side, C) to (1, T, H, W, C): interpolated in space, the same in every frame."""
    side = math.isqrt(len(position_NC))
    grid = position_NC.T.reshape(-1, side, side)
    return _resized(grid, shape[2:4]).permute(1, 2, 0).expand(1, shape[1], -1, -1, -1)


def inflate_bias_table(table: Tensor, shape: torch.Size, window: tuple[int, int]) -> Tensor:
    """((2h-1)(2w-1), heads) to ((2T-1)(2wh-1)(2ww-1), heads): the same at every distance in time."""
    wh, ww = (2 * n - 1 for n in window)
    side = math.isqrt(len(table))
    size = (wh, ww) if len(table) == wh * ww else (side, side)
    if math.prod(size) != len(table):
        return table
    plane = _resized(table.T.reshape(-1, *size), (wh, ww)).flatten(1).T
    return plane.repeat(shape[0] // (wh * ww), 1)


def _side_by_side(x: Tensor, shape: torch.Size) -> Tensor:
    """Merging weights over the frames of a stride, whose cells stand side by side, frames outermost."""
    frames = shape[-1] // x.shape[-1] if shape[-1] % x.shape[-1] == 0 else 1
    return x.repeat(1, frames) / frames if x.ndim == 2 else x.repeat(frames)


def _channel_qkv(x: Tensor, shape: torch.Size, config: ChannelAttention, output: Shape) -> Tensor:
    """Queries, keys and values of channel attention for T times as many tokens, all frames alike.

    The products are sums over tokens, so one factor is divided by T. The video network's formula (`scale: tokens`)
    is the image network's with other names, softmax(k v) q in place of softmax(q k) v, at another scale.
    """
    if len(x) % 3:
        return x
    q, k, v = x.chunk(3)
    if config.scale == "head_dim":
        return torch.cat((q, k / output.frames, v))
    scale = math.sqrt(output.tokens * config.heads / output.channels) / output.frames
    return torch.cat((k * scale, v, q))


# ------------------------------------------------------------------------------------- parts of the network


@dataclass(frozen=True)
class Slot:
    """A parameter of the network with its counterpart in image networks; without one it becomes zero.

    Parameters that a family of image networks does not have are in no slot and stay as they were initialised.
    """

    target: str
    source: str | None
    convert: Convert = _reshaped


_FIELDS = ("weight", "bias")


def _module(target: str, source: str | None, convert: Convert = _reshaped) -> Iterator[Slot]:
    for field in _FIELDS:
        yield Slot(f"{target}.{field}", source and f"{source}.{field}", convert)


def _conv(target: str, source: str, convert: Convert = inflate) -> Iterator[Slot]:
    yield Slot(f"{target}.weight", f"{source}.weight", convert)
    yield Slot(f"{target}.bias", f"{source}.bias")


def _stem(part: Part, image: ImageNetwork) -> Iterator[Slot]:
    config = part.config
    if isinstance(config, TubeStem):
        if not config.interpolated:
            for tube in config.image_tubes():
                # With space_to_depth the convolution makes a fraction of the image network's channels.
                if math.prod(tube.space_to_depth) == 1:
                    yield from _conv(f"tubes.{config.tubes.index(tube)}.conv", "stem", inflate_patch)
        return
    if isinstance(config, ConvStem):
        yield from _conv("conv", "stem")
        if config.norm == "layer":
            yield from _module("norm", "stem.norm")
        return
    assert isinstance(config, PatchStem)
    yield from _conv("proj", "stem", inflate_patch)
    if config.position != "none":
        yield Slot("positions.0", "position", place_positions)
    if config.position == "factorized":
        yield Slot("positions.1", None)
    if config.class_tokens != "none" and "class_token" in image:
        yield Slot("token.value", "class_token")
        if config.position != "none":
            yield Slot("token.position", "class_position")
    if config.norm and (image.family != "ViT" or "stem.norm.weight" in image):
        yield from _module("norm", "stem.norm")


def _downsample(part: Part, at: str) -> Iterator[Slot]:
    if isinstance(part.config, ConvDownsample):
        yield from _module("norm", f"{at}.norm")
        yield from _conv("conv", at)
    elif isinstance(part.config, MergeDownsample):
        yield from _module("norm", f"{at}.norm", _side_by_side)
        yield Slot("reduction.weight", f"{at}.weight", _side_by_side)


def _layer(part: Part, at: str, image: ImageNetwork) -> Iterator[Slot]:
    config = part.config
    norm1, attention, norm2 = "norm1", "", "norm2"
    if isinstance(config, Factorized):
        space = 1 if config.variant == "divided" else 0
        norm1, attention, norm2 = f"attention.{space}.norm", f"attention.{space}.", "norm"
        if config.variant == "self_attention":
            yield from _module("attention.1.proj", None)
    elif not isinstance(config, T2D | TPS | ChannelAttention):
        return
    yield from _module(norm1, f"{at}.norm1")
    if isinstance(config, ChannelAttention):
        yield from _module("qkv", f"{at}.channel_qkv", partial(_channel_qkv, config=config, output=part.output))
        yield from _module("proj", f"{at}.channel_proj")
    else:
        yield from _module(f"{attention}qkv", f"{at}.qkv")
        yield from _module(f"{attention}proj", f"{at}.proj")
    yield from _module(norm2, f"{at}.norm2")
    yield from _module("mlp.0", f"{at}.mlp.0")
    yield from _module("mlp.2", f"{at}.mlp.2")
    if isinstance(config, TPS):
        yield Slot("bias_table", f"{at}.bias_table", partial(inflate_bias_table, window=config.window))
    if isinstance(config, T2D | ChannelAttention) and config.cpe != "none":
        for cpe in ("cpe1", "cpe2"):
            if image.family == "DaViT":
                yield from _conv(f"{cpe}.planes.0", f"{at}.{cpe}")
            else:
                yield from _module(f"{cpe}.planes.0", None)
            if config.cpe == "3d":
                yield from _module(f"{cpe}.planes.1", None)
                yield from _module(f"{cpe}.planes.2", None)


def _head(part: Part, image: ImageNetwork, pooled: bool) -> Iterator[Slot]:
    """The norm, if it is the first behind the layers, and a classifier of the same classes."""
    config = part.config
    if not isinstance(config, MeanHead | AttentionHead | ClassTokenHead):
        return
    has_norm = not isinstance(config, MeanHead) or config.norm != "none"
    if has_norm and not pooled and "norm.weight" in image:
        yield from _module("norm", "norm")
    classifier = image.tensors.get("head.weight")
    if classifier is not None and tuple(classifier.shape) == (part.output.channels, part.input.channels):
        yield from _module("classifier", "head")


def _layout(architecture: Architecture) -> list[tuple[Part, str, bool]]:
    """Parts with their place in an image network, and whether they come after frames were pooled to tokens.

    A stage of an image network begins with a downsampling; our stages may be finer.
    """
    places, stage, layer, pooled = [], 0, 0, False
    for part in architecture.parts():
        at = ""
        if isinstance(part.config, ConvDownsample | MergeDownsample) or part.stride != (1, 1, 1):
            stage, layer = stage + 1, 0
            at = f"stages.{stage}.downsample"
        pooled = pooled or isinstance(part.config, FramePool)
        if isinstance(part.config, LayerConfig) and not pooled:
            at = f"stages.{stage}.layers.{layer}"
            layer += 1
        places.append((part, at, pooled))
    return places


def _slots(architecture: Architecture, image: ImageNetwork) -> Iterator[Slot]:
    """All parameters of a network that an image network of the family has, under their full names."""
    for part, at, pooled in _layout(architecture):
        slots: Iterator[Slot]
        if part.path == "stem":
            slots = _stem(part, image)
        elif part.path == "head":
            slots = _head(part, image, pooled)
        elif isinstance(part.config, FramePool):
            slots = _module("norm", "norm") if "norm.weight" in image else iter(())
        elif isinstance(part.config, LayerConfig):
            slots = iter(()) if pooled else _layer(part, at, image)
        else:
            slots = _downsample(part, at)
        for slot in slots:
            yield Slot(f"parts.{part.path.replace('.', '_')}.{slot.target}", slot.source, slot.convert)


# --------------------------------------------------------------------------------------------------- fill


def fill(model: Network, state: Mapping[str, Tensor], source: str = "checkpoint") -> Filled:
    """Copies the weights of an image network, or those of a network of this package, into a network.

    Of an image network everything that the network shares with it must be there. What it does not have stays as it was
    initialised, or becomes zero where the image network's function would change otherwise: temporal positions, the
    output of ViViT's temporal attention, position encoding in planes with time. A state of this package (`parts.…`)
    is copied name by name where shapes agree, so several can be filled in one after the other.

    Args:
        model: The network; it is unchanged where this raises.
        state: Tensors by name, of any floating type.
        source: Name of the checkpoint for messages.

    Raises:
        NasError: Another depth or width, something is missing, or names of no known network.
    """
    own = {name: short for name in state if (short := PREFIX.sub("", name, count=1)).startswith("parts.")}
    if own:
        return _fill_own(model, {short: state[name] for name, short in own.items()}, source)
    image = read_image_network(state, source)
    kind = f"{image.family} with the names of {image.library}"
    _check_depths(model, image, source)
    slots = list(_slots(model.architecture, image))
    named = [slot for slot in slots if slot.source]
    missing = [slot.source for slot in named if slot.source and slot.source not in image]
    if missing:
        raise NasError(
            f"{source}, a {kind}, has no {missing[0]!r}, so that only {len(named) - len(missing)} of "
            f"{len(named)} image parameters of the network can be filled; allowed: a checkpoint with all of them"
        )
    targets = dict(model.named_parameters())
    values = {}
    for slot in slots:
        target = targets[slot.target]
        if slot.source is None:
            values[slot.target] = torch.zeros_like(target)
            continue
        tensor = image.tensors[slot.source]
        value = slot.convert(_precise(tensor), target.shape)
        if value.shape != target.shape:
            raise NasError(
                f"{source}, a {kind}, has a {slot.source!r} of {list(tensor.shape)}, but {slot.target!r} is "
                f"{list(target.shape)}; allowed: a checkpoint of the same widths"
            )
        values[slot.target] = value
    _copy(targets, values, source)
    filled = {slot.target: slot.source for slot in named}
    taken = {origin for name in filled.values() for origin in image.origins[str(name)]}
    left = [name for name in state if name not in taken and not DERIVED.fullmatch(name)]
    return Filled(source, kind, list(filled), [name for name in targets if name not in filled], left)


def _fill_own(model: Network, state: Mapping[str, Tensor], source: str) -> Filled:
    targets = model.state_dict(keep_vars=True)
    values = {k: v for k, v in state.items() if k in targets and targets[k].shape == v.shape}
    if not values:
        raise NasError(
            f"{source} is a network of this package, but no tensor agrees in name and shape with one of the network "
            f"(first {next(iter(state))!r}); allowed: a checkpoint that shares parts with it"
        )
    _copy(targets, values, source)
    parameters = [name for name, _ in model.named_parameters()]
    return Filled(
        source,
        "a network of this package",
        list(values),
        [name for name in parameters if name not in values],
        [name for name in state if name not in values],
    )


def _precise(x: Tensor) -> Tensor:
    """At least single precision, which interpolation needs."""
    return x if x.dtype == torch.float64 else x.float()


@torch.no_grad()
def _copy(targets: Mapping[str, Tensor], values: Mapping[str, Tensor], source: str) -> None:
    if any(targets[name].is_meta for name in values):
        raise NasError(f"{source} cannot fill a network on the 'meta' device; allowed: 'cpu' or an accelerator")
    for name, value in values.items():
        targets[name].copy_(value)


def _check_depths(model: Network, image: ImageNetwork, source: str) -> None:
    layers: dict[str, int] = {}
    fillable = False
    for part, at, pooled in _layout(model.architecture):
        if isinstance(part.config, LayerConfig) and not pooled:
            stage = at.split(".")[1]
            layers[stage] = layers.get(stage, 0) + 1
            fillable = fillable or isinstance(part.config, T2D | TPS | ChannelAttention | Factorized)
    if not fillable:
        raise NasError(
            f"{source} is a {image.family}, but no layer of the network has weights of one; "
            "allowed: networks with layers of t2d, tps, channel_attention or factorized"
        )
    depths = list(layers.values())
    if depths != image.depths:
        raise NasError(
            f"{source}, a {image.family} with the names of {image.library}, has {image.depths} layers per stage, but "
            f"the network has {depths}; allowed: a checkpoint of the same depths"
        )


__all__ = ["Filled", "fill", "fill_from", "load_state"]

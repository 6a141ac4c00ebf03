"""A network as one Python file that needs torch alone and holds just the layers that it uses."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields

from nas.architecture import Architecture, LayerConfig, Part
from nas.architecture.fields import Config
from nas.architecture.shape import Shape
from nas.data.preprocessing import Preprocessing
from nas.deployment.shipped import FromFrames, load_weights
from nas.deployment.sources import Assembly
from nas.models.chain import Chain
from nas.models.network import adds_stem_tokens, named_parts
from nas.models.registry import module_class
from nas.trained.folder import package_versions

WIDTH = 120  # characters of a line


def standalone(
    architecture: Architecture,
    *,
    classes: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The text of a Python file that builds a network without this package.

    It defines `build()`, `load_weights(network, path)` for a safetensors file of weights and, where
    the preprocessing is known, `build_from_frames()`, a network that takes uint8 frames.

    Args:
        architecture: Of the network.
        classes: Names, in the order of its outputs.
        preprocessing: How a video becomes its input.
        notes: Lines of comment near its head; what does not print becomes a question mark.

    Raises:
        NasError: A layer is from outside of this package.
    """
    parts = named_parts(architecture)
    used = [module_class(type(part.config)) for part in parts.values()]
    configs = [kind for part in parts.values() for kind in _types(part.config)]
    frames = [FromFrames] if preprocessing else []
    assembly = Assembly([Shape, *configs, *used, Chain, load_weights, *frames])
    entry = architecture.input
    comments = "".join(f"# {''.join(c if c.isprintable() else '?' for c in note)}\n" for note in notes)
    constants = [f"INPUT = {(entry.channels, *entry.shape.extent)}  # channels, frames, height, width"]
    if classes:
        constants.append(f"CLASSES = {_strings(classes)}")
    if preprocessing:
        sampling = (
            f"{preprocessing.frames} equal parts of the video, a frame of each"
            if preprocessing.stride is None
            else f"frames so far apart in the video: {preprocessing.stride}"
        )
        constants.append(f"STRIDE = {preprocessing.stride}  # {sampling}")
    blocks = [
        _head(package_versions()["video-nas"], comments, bool(preprocessing)),
        f"from __future__ import annotations\n\n{assembly.imports()}",
        "\n".join(constants),
        assembly.text(),
        _build(parts),
    ]
    if preprocessing:
        blocks.append(_build_from_frames(preprocessing))
    return "\n\n".join(blocks[:3]) + "\n\n\n" + "\n\n\n".join(blocks[3:]) + "\n"


def _head(version: str, comments: str, frames: bool) -> str:
    takes = (
        "`build_from_frames()` takes uint8 frames, (B, T, H, W, 3), of any height and width, and holds the\n"
        "network as its `network`.\n\n"
    )
    # Comments come last: in the first two lines one could name the encoding of the file.
    return (
        '"""A video network, (B, 3, T, H, W) to class logits, that needs torch alone.\n\n'
        "    network = build().eval()\n"
        '    load_weights(network, "model.safetensors")\n\n'
        f"{takes if frames else ''}"
        f'Its layers are those of video-nas {version} (Apache-2.0).\n"""\n{comments}'
    )


def _types(config: Config) -> list[type[Config]]:
    """The types of a part's options, and of options in them."""
    inner = [item for _, value in config for item in (value if isinstance(value, tuple) else (value,))]
    return [type(config), *(kind for item in inner if isinstance(item, Config) for kind in _types(item))]


def _build(parts: dict[str, Part]) -> str:
    lines = ["def build() -> Chain:", '    """The network, its weights drawn at random, in training mode."""']
    lines += ["    return Chain(", "        {"]
    for name, part in parts.items():
        arguments = [_value(part.config), _value(part.input), _value(part.output)]
        if isinstance(part.config, LayerConfig):
            arguments.append(_value(part.stride))
        call = f"{module_class(type(part.config)).__name__}({', '.join(arguments)})"
        lines += _wrapped(f'"{name}": {call},', 12)
    gated = tuple(name for name, part in parts.items() if adds_stem_tokens(part))
    lines += ["        },", f"        gated={_value(gated)},", "    )"]
    return "\n".join(lines)


def _wrapped(code: str, indent: int) -> list[str]:
    """A line of code that ends with a bracket, broken behind commas where it is too long."""
    return textwrap.wrap(
        code,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _build_from_frames(preprocessing: Preprocessing) -> str:
    values = (preprocessing.size, preprocessing.resized, preprocessing.mean, preprocessing.std)
    arguments = ", ".join(
        f"{name}={value}" for name, value in zip(("size", "resized", "mean", "std"), values, strict=True)
    )
    return (
        "def build_from_frames() -> FromFrames:\n"
        '    """The network behind what makes its input of uint8 frames (B, T, H, W, 3)."""\n'
        f"    return FromFrames(build(), {arguments})"
    )


def _value(value: object) -> str:
    """A value as Python writes it, options with all their fields."""
    if isinstance(value, Config):
        return (
            f"{type(value).__name__}({', '.join(f'{name}={_value(field)}' for name, field in value if name != 'op')})"
        )
    if isinstance(value, Shape):
        given = [getattr(value, each.name) for each in fields(value)]
        kept = len(given)
        while kept and given[kept - 1] == fields(value)[kept - 1].default:
            kept -= 1
        return f"Shape({', '.join(map(_value, given[:kept]))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))}{',' * (len(value) == 1)})"
    return repr(value)


def _strings(texts: Sequence[str]) -> str:
    """A tuple of texts, of which none can end the literal that it stands in."""
    return "(" + "".join(f"{text!a}, " for text in texts).rstrip() + ")"

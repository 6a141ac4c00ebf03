"""Options that several commands share, and readers of their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError, brief
from nas.runs.settings import DataSettings

# Of every command that reads data.
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help=DataSettings.model_fields["allow_outside"].description)
]
Cache = Annotated[Path | None, typer.Option(help=DataSettings.model_fields["cache"].description)]
CacheGb = Annotated[float, typer.Option(help=DataSettings.model_fields["cache_gb"].description, min=1e-9)]
# How a network is measured.
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")]
Dtype = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]
Batches = Annotated[list[str] | None, typer.Option(help="Clips per forward; 1,2,4 or several options measure each.")]
Threads = Annotated[int | None, typer.Option(help="Threads on the CPU; all of its cores by default.")]
MaxSeconds = Annotated[float, typer.Option(help="Time to measure each network and batch.")]
Patience = Annotated[
    float, typer.Option(help="Further seconds in which a disturbed measurement is taken again.", min=0)
]
Autocast = Annotated[bool, typer.Option("--autocast", help="Autocast to the dtype; weights stay fp32.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Weights and clips with their channels last.")]
Compiled = Annotated[bool, typer.Option("--compile", help="Measure the module through torch.compile.")]
Train = Annotated[str | None, typer.Option(help="Measure a training step with AdamW, Adam, SGD or RMSprop.")]
Runtime = Annotated[str, typer.Option(help="torch, or onnx for ONNX Runtime.")]
CudaGraph = Annotated[bool, typer.Option("--cuda-graph", help="Capture the run once and time its replay.")]


def batch_sizes(texts: Sequence[str] | None) -> list[int]:
    """Reads the values of `--batch`, such as `1,2,4`.

    Raises:
        NasError: One is no whole number above zero.
    """
    numbers = [number.strip() for text in texts or () for number in text.split(",")]
    for number in numbers:
        if not re.fullmatch("0*[1-9][0-9]{0,6}", number):
            raise NasError(f"batch {brief(number)} is not allowed; allowed: whole numbers from 1, separated by commas")
    return [int(number) for number in numbers]


def clip_shape(text: str, what: str = "proxy") -> tuple[int, int]:
    """Reads frames and size of a clip such as `8x32`, which messages call `what`.

    Raises:
        NasError: Not two whole numbers above zero.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if not match:
        raise NasError(f"{what} {brief(text)} is no clip shape; allowed: frames x size, such as 8x32")
    return int(match[1]), int(match[2])


def views(text: str) -> tuple[int, int]:
    """Reads clips in time and crops in space, such as `3x3`.

    Raises:
        NasError: Not two whole numbers above zero.
    """
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text.lower())
    if not match:
        raise NasError(f"views {text!r} are none; allowed: clips x crops, such as 3x3")
    return int(match[1]), int(match[2])


def option_name(name: str) -> str:
    """A setting as the command line spells it: `--train-clips`, or `SPACE` for the argument."""
    return name.upper() if name == "space" else f"--{name.replace('_', '-')}"


def refuse_two_regions(space: str | None, around: str | None, edits: int | None) -> None:
    """Refuses a space beside a network whose neighbourhood is searched, and edits without one.

    Args:
        space, around, edits: As they were given on the command line; None where they were not.

    Raises:
        NasError: Both are named, or edits without what they are edits of.
    """
    if around is not None and space is not None:
        raise NasError(f"space {space!r} stands beside --around {around}; allowed: one of them")
    if edits is not None and around is None:
        raise NasError(f"edits {edits} are of no network; allowed: --edits beside --around")

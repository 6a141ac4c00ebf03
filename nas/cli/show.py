"""`nas show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.completion import MODEL, folders
from nas.cli.options import Device
from nas.errors import NasError, brief
from nas.trained.files import check_model


def show_command(
    model: Annotated[Path, typer.Argument(help="Folder of a trained network.", autocompletion=folders(MODEL))],
    video: Annotated[
        list[Path] | None, typer.Option(help="Video of which to show what moved its prediction; may repeat.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", help="Class that was moved; the one predicted by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write into; MODEL/show by default.")] = None,
    device: Device = "auto",
) -> None:
    """Draw what a network learnt: its kernels, and which frames and places moved a prediction.

    Example: `nas show runs/best --video clip.mp4`
    """
    check_model(model)
    from nas.trained.attribution import explain
    from nas.trained.folder import load_model
    from nas.trained.show import draw_attribution, draw_kernels

    trained = load_model(model, device)
    if label is not None and (label not in trained.classes or not video):
        raise NasError(f"class {label!r} is not one to show; allowed: beside --video, {brief(trained.classes, 200)}")
    folder = out or model / "show"
    explained = [explain(trained, each, label) for each in video or ()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = draw_kernels(trained.network, folder)
        files += [draw_attribution(each, folder) for each in explained]
    except OSError as error:
        raise NasError(f"out {str(folder)!r} cannot be written ({error.strerror}); allowed: a folder") from None
    if not files:
        raise NasError(f"model {trained.name!r} has no kernels to draw; allowed: --video for what moved a prediction")
    for file in files:
        typer.echo(file)

"""`nas predict`."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from nas.cli.completion import MODEL, folders
from nas.cli.options import Device
from nas.cli.options import views as read_views
from nas.cli.progress import progress_bar
from nas.errors import NasError, brief
from nas.resources import csv_cell, replacing
from nas.trained.files import check_model
from nas.units import seconds

if TYPE_CHECKING:
    from nas.trained.folder import TrainedModel
    from nas.trained.prediction import Prediction


def predict_command(
    model: Annotated[Path, typer.Argument(help="Folder of a trained network.", autocompletion=folders(MODEL))],
    inputs: Annotated[
        list[str], typer.Argument(help="Clips, folders of them, or - for a Matroska or MPEG-TS stream on stdin.")
    ],
    views: Annotated[str, typer.Option(help="Clips x crops of a whole video to average.")] = "1x1",
    window: Annotated[
        str | None, typer.Option(help="Slide a window of this length, such as 2s; without it a video is one clip.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="From window to window; half a window by default.")] = None,
    top: Annotated[int, typer.Option(help="Classes to print.", min=1)] = 3,
    csv_file: Annotated[
        str | None, typer.Option("--csv", help="File of a row per video or window with all probabilities; - prints it.")
    ] = None,
    timeline: Annotated[Path | None, typer.Option(help="PNG of the windows of one video.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Copy of one video with its classes in it, .mp4.")] = None,
    device: Device = "auto",
) -> None:
    """Say what videos show: whole clips, or windows that slide over a long video.

    `--timeline`, `--overlay` and standard input slide a window as long as the network's training
    clips where `--window` gives no other.

    Example: `nas predict runs/best video.mp4 --overlay out.mp4 --csv out.csv`
    """
    looks = read_views(views)
    check_model(model)
    length, distance = (None if text is None else seconds(text) for text in (window, step))
    sliding = bool(window or step or timeline or overlay or "-" in inputs)
    if sliding and looks != (1, 1):
        raise NasError(f"views {views} are of whole videos; allowed: --views 1x1 beside a window that slides")
    for name, file in (("timeline", timeline), ("overlay", overlay)):
        if file is not None and (len(inputs) != 1 or inputs == ["-"] or Path(inputs[0]).is_dir()):
            raise NasError(f"{name} {str(file)!r} is of one video, not of {brief(inputs)}; allowed: one file")
    table = None if csv_file in (None, "-") else Path(str(csv_file))
    for name, file in (("timeline", timeline), ("overlay", overlay), ("csv", table)):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise NasError(f"{name} {str(file)!r} cannot be written; allowed: a file in an existing folder")
    from nas.trained.folder import load_model

    trained = load_model(model, device)
    console = Console(stderr=csv_file == "-")
    live = csv.writer(sys.stdout) if csv_file == "-" else None
    done: list[Prediction] = []
    failures: list[NasError] = []
    if live:
        live.writerow(map(csv_cell, _head(trained.classes)))
    try:
        for video in _videos(inputs):
            try:
                for prediction in _predictions(trained, video, looks, sliding, length, distance):
                    done.append(prediction)
                    if live:
                        live.writerow(map(csv_cell, _row(prediction)))
                        sys.stdout.flush()  # or a program that reads them waits until many are there
                    console.print(_line(prediction, top), highlight=False, markup=False, soft_wrap=True)
            except NasError as error:
                if inputs == [video]:
                    raise
                failures.append(error)
    finally:  # an interrupted command keeps what it has
        if done and table is not None:
            _write_csv(table, trained.classes, done)
    if timeline:
        from nas.trained.pictures import timeline as draw

        with replacing(timeline) as draft:
            draw(done, draft)
    if overlay:
        from nas.trained.overlay import write_overlay

        with progress_bar(console, "writing the overlay, frames") as progress:
            write_overlay(inputs[0], done, overlay, progress)
    for name, file in (("csv", table if done else None), ("timeline", timeline), ("overlay", overlay)):
        if file is not None:
            console.print(f"{name:<8} {file}", highlight=False, markup=False, soft_wrap=True)
    if failures:
        reasons = "; ".join(map(str, failures[:5]))
        raise NasError(f"{len(failures)} videos cannot be read ({reasons}); allowed: files that FFmpeg decodes")


def _videos(inputs: Iterable[str]) -> Iterator[str]:
    """The clips that the inputs mean: of a folder that is none, all in it, however deep."""
    from nas.data.kinds import CLIP_SUFFIXES, holds_frames

    for text in inputs:
        if text == "-" or not os.path.isdir(text) or holds_frames(os.listdir(text)):
            yield text
            continue
        found = list(_clips_in(Path(text)))
        if not found:
            raise NasError(f"folder {text!r} holds no videos; allowed: files of {', '.join(sorted(CLIP_SUFFIXES))}")
        yield from map(str, found)


def _clips_in(folder: Path) -> Iterator[Path]:
    """The clips of a folder, those of its folders in their place; hidden ones are not looked at."""
    from nas.data.kinds import ARRAY_SUFFIXES, VIDEO_SUFFIXES, has_suffix, holds_frames, in_natural_order

    for path in sorted(folder.iterdir(), key=lambda path: in_natural_order(path.name)):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not holds_frames(path.iterdir()):
            yield from _clips_in(path)
        elif path.is_dir() or has_suffix(path, VIDEO_SUFFIXES | ARRAY_SUFFIXES):
            yield path


def _predictions(
    model: TrainedModel,
    video: str,
    views: tuple[int, int],
    sliding: bool,
    length: float | None,
    step: float | None,
) -> Iterator[Prediction]:
    from nas.trained.prediction import predict, predict_windows

    if sliding:
        yield from predict_windows(model, sys.stdin.buffer if video == "-" else video, length, step)
    else:
        yield predict(model, video, views)


def _line(prediction: Prediction, top: int) -> str:
    span = prediction.span
    when = f" {span[0]:.1f} to {span[1]:.1f} s" if span else ""
    guesses = ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in prediction.top(top))
    return f"{prediction.video}{when}: {guesses}"


def _head(classes: tuple[str, ...]) -> list[str]:
    return ["video", "start_s", "end_s", "class", "probability", *(f"p({name})" for name in classes)]


def _row(prediction: Prediction) -> list[object]:
    span = prediction.span or ("", "")
    (best,) = prediction.top(1)
    return [prediction.video, *span, best.name, best.probability, *prediction.probabilities.tolist()]


def _write_csv(path: Path, classes: tuple[str, ...], predictions: list[Prediction]) -> None:
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(csv_cell, _head(classes)))
        writer.writerows(map(csv_cell, _row(prediction)) for prediction in predictions)

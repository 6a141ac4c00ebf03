"""`nas evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.cli.completion import MODEL, folders
from nas.cli.options import AllowOutside, Cache, CacheGb, Device, MaxSeconds
from nas.cli.options import views as read_views
from nas.cli.progress import progress_bar
from nas.data.kinds import CACHE_GB
from nas.runs.progress.news import busy
from nas.trained.files import check_model
from nas.units import MISSING, number, plural

if TYPE_CHECKING:
    from nas.trained.evaluation import Evaluation

LOWEST = 10  # classes that are printed; all are in classes.csv


def evaluate_command(
    model: Annotated[Path, typer.Argument(help="Folder of a trained network.", autocompletion=folders(MODEL))],
    data: Annotated[str, typer.Option(help="Labelled videos, in any form that nas search takes.")],
    views: Annotated[str, typer.Option(help="Clips x crops to average, beside the single view.")] = "1x1",
    split: Annotated[str, typer.Option(help="Which clips: val or test.")] = "val",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; MODEL/evaluation/DATA-SPLIT by default.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Vectors by class name in a safetensors file, for classes that a similarity head never saw."),
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure latency as well.")] = True,
    device: Device = "auto",
    decoders: Annotated[int | None, typer.Option(help="Threads that decode; one per core by default.", min=1)] = None,
    max_seconds: MaxSeconds = 5.0,
    allow_outside: AllowOutside = False,
    cache: Cache = None,
    cache_gb: CacheGb = CACHE_GB,
) -> None:
    """Test a trained network on labelled videos: accuracy, confusion, calibration, the worst clips.

    Example: `nas evaluate runs/best --data clips/ --views 3x3`
    """
    looks = read_views(views)
    check_model(model)
    from nas.data.datasets import check_source

    check_source(data)
    console = Console()
    with busy(console, "loading"):
        from nas.data.cache import cached
        from nas.data.datasets import open_data
        from nas.profiler.measured.device import available_cores
        from nas.profiler.measured.measure import measure as measure_network
        from nas.trained.evaluation import evaluate
        from nas.trained.folder import load_model

    trained = load_model(model, device)
    labelled = open_data(data, seed=trained.record.provenance.seed or 0, allow_outside=allow_outside)
    labelled = cached(labelled, cache, cache_gb)
    if classes is not None:
        from nas.trained.zero_shot import read_class_vectors, with_classes

        trained = with_classes(trained, read_class_vectors(classes).of(labelled.classes))
    with progress_bar(console, "evaluating") as progress:
        done = evaluate(
            trained, labelled, split=split, views=looks, workers=decoders or available_cores(), progress=progress
        )
    if measure:
        with busy(console, "measuring latency"):
            latency = measure_network(trained.network.architecture, device, max_seconds=max_seconds)
        done = done.with_latency(latency)
    folder = out or model / "evaluation" / f"{labelled.name}-{split}"
    done.write(folder)
    for each in done.unreadable:
        console.print(f"left out: {each.reason}", highlight=False, markup=False, soft_wrap=True)
    for table in _tables(done):
        console.print(table)
    if done.latency:
        latency = done.latency
        flags = f"; disturbed: {'; '.join(latency.flags)}" if latency.flags else ""
        text = f"latency {number(latency.latency_ms.median)} ms of one view on {latency.device}{flags}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(f"written to {folder}", highlight=False, markup=False, soft_wrap=True)


def _tables(done: Evaluation) -> list[Table]:
    """The figures of each way to look at the clips, and the classes of lowest accuracy in the last
    one.
    """
    count = plural(len(done.clips), "clip")
    whole = Table("views", "top-1", "top-5", "mean of classes", "calibration error", title=f"{count} of {done.split}")
    for result in done.results:
        scores = result.scores
        whole.add_row(
            result.name,
            str(scores.top1),
            str(scores.top5 or MISSING),
            f"{100 * scores.class_mean:.1f} %",
            f"{100 * scores.calibration_error:.1f} %",
        )
    classes = Table("class", "clips", "accuracy", "mistaken for")
    seen = [(each.accuracy, each) for each in done.results[-1].scores.per_class if each.accuracy]
    for accuracy, each in sorted(seen, key=lambda pair: pair[0].value)[:LOWEST]:
        other = escape(each.mistaken_for) if each.mistaken_for else MISSING
        classes.add_row(escape(each.name), str(accuracy.clips), str(accuracy), other)
    return [whole, classes]

"""`nas export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nas.cli.completion import MODEL, RECORD, folders
from nas.cli.options import AllowOutside, Device, MaxSeconds
from nas.deployment.kinds import check_files
from nas.errors import NasError
from nas.limits.metrics import DEFAULT_PICK
from nas.units import quantity

BEST = Path("best.yaml")


def export_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL",
            help="A run folder, or that of a trained network.",
            autocompletion=folders(RECORD, MODEL),
        ),
    ],
    pick: Annotated[
        str | None,
        typer.Option(help="Of a run: accuracy (the most accurate), knee, latency, memory, or a trial's number."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File to write, best.yaml by default; its suffix says what it is. May repeat."),
    ] = None,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Let .onnx and .pt2 take uint8 frames of any size.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="Videos that each file is run on; random clips by default.")] = None,
    split: Annotated[str, typer.Option(help="Which of them: val or test.")] = "val",
    measure: Annotated[bool, typer.Option(help="Measure the latency that a model card states.")] = True,
    device: Device = "auto",
    max_seconds: MaxSeconds = 5.0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    allow_outside: AllowOutside = False,
) -> None:
    """Write a network as a file of its own, and run the file beside PyTorch.

    Of a trained network: `.yaml` (architecture), `.safetensors` (weights), `.pt2` (torch.export),
    `.onnx`, `.py` (one file that needs torch alone; its weights are the `.safetensors`) and `.md`
    (model card). Of a run, whose networks keep no weights: `.yaml`, with where it comes from, and
    `.py`.

    Example: `nas export runs/best --out best.onnx --with-preprocessing --data clips/`
    """
    files = out or [BEST]
    trained = os.path.isfile(source / "model.json")
    if not trained and not os.path.isfile(source / "run.json"):
        found = "is neither" if os.path.isdir(source) else "does not exist, neither as"
        raise NasError(
            f"{str(source)!r} {found} a run nor a trained network; allowed: a folder of nas search or nas train"
        )
    check_files(files, trained=trained, force=force, with_preprocessing=with_preprocessing)
    if data is not None:
        from nas.data.datasets import check_source

        check_source(data)
        if not trained:
            raise NasError(
                f"data {data!r} is for the files of a trained network, and what is written of a run holds no weights; "
                "allowed: no --data, or a folder that nas train wrote"
            )
    if not trained:
        _export_pick(source, DEFAULT_PICK if pick is None else pick, files)
        return
    if pick is not None:
        raise NasError(f"pick {pick!r} is of a run and {source} is one trained network; allowed: no --pick")
    from nas.data.datasets import open_data
    from nas.deployment.clips import Clips
    from nas.deployment.files import Options, export
    from nas.profiler.measured.measure import measure as measure_network
    from nas.runs.progress.news import busy
    from nas.trained.folder import load_model

    console = Console()
    model = load_model(source, "cpu")
    how = model.record.preprocessing
    if data is None:
        clips = Clips.random(how)
    else:
        labelled = open_data(data, seed=model.record.provenance.seed or 0, allow_outside=allow_outside)
        clips = Clips.of_data(labelled, how, split)
    latency = None
    if measure and any(file.suffix == ".md" for file in files):
        with busy(console, "measuring latency"):
            latency = measure_network(model.network.architecture, device, max_seconds=max_seconds)
    for file in files:
        with busy(console, f"writing {file}"):
            done = export(model, file, clips, Options(with_preprocessing, latency))
        line = f"{file}: {quantity(done.size, 'B')}"
        if done.difference is not None:
            share = f"{done.difference:.1e}" if done.difference else "0"
            line += f", largest difference from PyTorch {share} of the largest logit, on {clips.what}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _export_pick(source: Path, pick: str, files: list[Path]) -> None:
    """Writes what of a pick needs no weights."""
    from nas.runs.folder.export import provenance, save_pick
    from nas.runs.folder.run import Run

    run = Run(source)
    trial = run.pick_trial(pick)
    for file in files:
        if file.suffix == ".py":
            from nas.deployment.standalone import standalone
            from nas.resources import replacing

            text = standalone(run.pick(trial), classes=run.record.classes, notes=provenance(run, trial))
            with replacing(file) as draft:
                draft.write_text(text, encoding="utf-8")
        else:
            save_pick(run, pick, file)
        typer.echo(f"trial {trial} of {source} is in {file}")

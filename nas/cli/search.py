"""`nas search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from nas.cli.options import clip_shape, searched, seconds
from nas.cli.space import SAMPLES, survey_table


def search_command(
    space: Annotated[str | None, typer.Argument(help="A search space's name or file; hybrid by default.")] = None,
    around: Annotated[
        str | None, typer.Option(help="Search the neighbourhood of this network, by name or file.")
    ] = None,
    edits: Annotated[int | None, typer.Option(help="How many edits away it ends; 6 by default.")] = None,
    budget: Annotated[
        str, typer.Option(help="Hard limits at the space's input: 100gflops, 80..100gflops, 30ms, 4gb, 30mparams.")
    ] = "100gflops",
    data: Annotated[
        str, typer.Option(help="motion (embedded), a folder per class, a CSV, or a list of `path label`.")
    ] = "motion",
    trials: Annotated[int | None, typer.Option(help="Networks to train.")] = None,
    time: Annotated[str | None, typer.Option(help="Time to train, such as 30m; 6.5m if no trials are given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write; runs/SPACE-DATA-N by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Run folder to go on with.")] = None,
    seed: Annotated[int, typer.Option(help="Of proposals, data and training.")] = 0,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2 or random.")] = "tpe",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Trials in parallel; one per core or GPU by default.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Share of a GPU per trial, such as 0.25.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a proxy; by default set by computing.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Frames x size of a proxy's clips, such as 8x32.")] = None,
    train_clips: Annotated[int, typer.Option(help="Training clips per proxy at most.")] = 512,
    val_clips: Annotated[int, typer.Option(help="Clips to select on, and to test on, at most.")] = 256,
    measure_seconds: Annotated[
        float | None, typer.Option(help="Time to measure each network of the front; 5 by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.")] = False,
) -> None:
    """Search a space for the networks that are worth having under a budget.

    Example: `nas search hybrid --budget 100gflops --data videos.csv --time 30m --out runs/mine`,
    or `nas search --around vov3d_l --edits 6 --budget 8gflops`
    """
    from nas.report import front_summary, write
    from nas.search.plan import Plan, Settings
    from nas.search.run import resume as resume_search
    from nas.search.run import search

    console = Console()
    limit = seconds(time) if time else None
    if resume is not None:
        run = resume_search(resume, trials=trials, time=limit, measure_seconds=measure_seconds, quiet=quiet)
    else:
        frames, size = clip_shape(proxy) if proxy else (None, None)
        options: dict[str, Any] = {
            **searched(space, around, edits),
            "budget": budget,
            "data": data,
            "trials": trials,
            "time": limit,
            "seed": seed,
            "sampler": sampler,
            "device": device,
            "workers": workers,
            "gpus_per_trial": gpus_per_trial,
            "epochs": epochs,
            "proxy_frames": frames,
            "proxy_size": size,
            "train_clips": train_clips,
            "val_clips": val_clips,
            "measure_seconds": 5.0 if measure_seconds is None else measure_seconds,
        }
        if dry_run:
            plan = Plan.of(Settings(**options).checked(), console)
            console.print(f"{plan.describe()}. Nothing was trained.", highlight=False)
            console.print(survey_table(plan.space, plan.budget, SAMPLES, console))
            return
        run = search(**options, out=out, quiet=quiet)
    page = write(run)[0]
    console.print(front_summary(run))
    console.print(f"report  {page}\nbest    {run.path / 'best.yaml'}", highlight=False, soft_wrap=True)

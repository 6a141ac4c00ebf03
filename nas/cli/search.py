"""`nas search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from nas.cli.options import clip_shape, searched, seconds
from nas.cli.space import SAMPLES, survey_table
from nas.errors import NasError

# Options that go with --resume: all others are as the run was started.
_RESUMED = ("trials", "time", "measure_seconds", "confirm_seeds", "address", "storage", "quiet")


def search_command(
    context: typer.Context,
    space: Annotated[str | None, typer.Argument(help="A search space's name or file; hybrid by default.")] = None,
    around: Annotated[
        str | None, typer.Option(help="Search the neighbourhood of this network, by name or file.")
    ] = None,
    edits: Annotated[int | None, typer.Option(help="How many edits away it ends; 6 by default.")] = None,
    budget: Annotated[
        str, typer.Option(help="Hard limits at the space's input: 100gflops, 80..100gflops, 30ms, 4gb, 30mparams.")
    ] = "100gflops",
    data: Annotated[
        str,
        typer.Option(
            help="motion or motion:DIFFICULTY (embedded task; 0 to 1, 0.2 by default), a folder per class, a CSV, or "
            "a list of `path label`."
        ),
    ] = "motion",
    trials: Annotated[
        int | None, typer.Option(help="Networks to train; with --time too, the search ends at whichever comes first.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Time to train, such as 30m; without --trials and --time 6.5m, with --trials alone no limit."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write; runs/SPACE-DATA-N by default.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to go on with, as it was started but for --trials (its networks count too), --time, "
            "--confirm-seeds, --measure-seconds, --address and --storage."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of proposals, data and training.")] = 0,
    sampler: Annotated[str, typer.Option(help="pareto, which knows cost, or tpe, nsga2, gp, random.")] = "pareto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Networks trained in parallel; one per core or GPU by default.")
    ] = None,
    gpus_per_trial: Annotated[
        str | None, typer.Option(help="Share of a GPU per trial, such as 0.25, or auto: by predicted memory.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of a proxy; by default 3 to 30, the fewer the costlier the space.")
    ] = None,
    rungs: Annotated[
        str, typer.Option(help="When a proxy is judged: epochs, or the training time to the first time, such as 20s.")
    ] = "epochs",
    proxy: Annotated[
        str | None, typer.Option(help="Frames x size of the clips trained on, such as 8x32; small by default.")
    ] = None,
    train_clips: Annotated[int, typer.Option(help="Training clips per proxy at most.")] = 512,
    val_clips: Annotated[int, typer.Option(help="Clips to select on, and to test on, at most.")] = 256,
    measure_seconds: Annotated[
        float | None, typer.Option(help="Time to measure each network of the front; 5 by default.")
    ] = None,
    confirm_seeds: Annotated[
        int | None,
        typer.Option(
            help="Train the front again with so many further seeds; 2 by default. A quarter of --time is kept."
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="random or random:SHARE: so much of the budget goes to random search, to compare; 0.25."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Train on a running Ray cluster: auto, or its HOST:PORT; this machine is in it.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder or URI that all its nodes reach, for what Ray stores; the run folder by default."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="The same seed trains the same networks; workers wait at times.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.")] = False,
) -> None:
    """Search a space for the networks that are worth having under a budget.

    Example: `nas search hybrid --budget 100gflops --data videos.csv --time 30m --out runs/mine`,
    or `nas search --around vov3d_l --edits 6 --budget 8gflops`
    """
    from nas.report import front_summary, write
    from nas.runs.control import comparison
    from nas.runs.plan import Plan
    from nas.runs.search import resume as resume_search
    from nas.runs.search import search
    from nas.runs.settings import Settings

    console = Console()
    limit = seconds(time) if time else None
    if resume is not None:
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
        refused = [name for name in given if name not in ("resume", *_RESUMED)]
        if refused:
            allowed = ", ".join(_option(name) for name in _RESUMED)
            raise NasError(f"{_option(refused[0])} does not go with --resume; allowed: {allowed}")
        run = resume_search(
            resume,
            trials=trials,
            time=limit,
            measure_seconds=measure_seconds,
            confirm_seeds=confirm_seeds,
            address=address,
            storage=storage,
            quiet=quiet,
        )
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
            "gpus_per_trial": _share(gpus_per_trial),
            "epochs": epochs,
            "rung_seconds": None if rungs == "epochs" else seconds(rungs),
            "proxy_frames": frames,
            "proxy_size": size,
            "train_clips": train_clips,
            "val_clips": val_clips,
            "measure_seconds": 5.0 if measure_seconds is None else measure_seconds,
            "confirm_seeds": 2 if confirm_seeds is None else confirm_seeds,
            "control": control,
            "address": address,
            "storage": storage,
            "reproducible": reproducible,
        }
        if dry_run:
            plan = Plan.of(Settings.of(**options), console)
            console.print(f"{plan.describe()}. Nothing was trained.", highlight=False, soft_wrap=True)
            console.print(survey_table(plan.space, plan.budget, SAMPLES, console))
            return
        run = search(**options, out=out, quiet=quiet)
    page = write(run)[0]
    console.print(front_summary(run))
    if len(run.control):
        console.print(comparison(run.control), highlight=False, soft_wrap=True)
    console.print(f"report  {page}\nbest    {run.path / 'best.yaml'}", highlight=False, soft_wrap=True)


def _option(name: str) -> str:
    return name.upper() if name == "space" else f"--{name.replace('_', '-')}"


def _share(text: str | None) -> float | str | None:
    """A share as the settings take it; what is neither a number nor `auto` is left for them to
    refuse.
    """
    try:
        return None if text is None else float(text)
    except ValueError:
        return text

"""`nas space`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nas.cli.completion import networks, spaces
from nas.cli.options import refuse_two_regions
from nas.runs.settings import DEFAULT_EDITS
from nas.units import magnitude

if TYPE_CHECKING:
    from nas.limits.budget import Budget
    from nas.space import SearchSpace
    from nas.weights.narrowing import Narrowed

SAMPLES = 100


def space_command(
    space: Annotated[str | None, typer.Argument(help="A search space's name or file.", autocompletion=spaces)] = None,
    around: Annotated[
        str | None,
        typer.Option(help="Show the neighbourhood of this network, by name or file.", autocompletion=networks),
    ] = None,
    edits: Annotated[int | None, typer.Option(help="How many edits away it ends; 6 by default.")] = None,
    budget: Annotated[str, typer.Option(help="Limits whose share of the space is printed.")] = "100gflops",
    init: Annotated[
        str | None, typer.Option(help="Image weights: show what of the space they can fill, and what not and why.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Random candidates to price.", min=1)] = SAMPLES,
    seed: Annotated[int, typer.Option(help="Of the sample.", min=0)] = 0,
) -> None:
    """Show what a search space holds and what its networks cost; nothing is trained.

    Example: `nas space hybrid --budget 20gflops --samples 500`, or `nas space --around vov3d_l`
    """
    from nas.architecture import load
    from nas.limits.budget import Budget
    from nas.space import SearchSpace

    limits = Budget.parse(budget)
    refuse_two_regions(space, around, edits)
    if around is not None:
        shown = SearchSpace.around(load(around), DEFAULT_EDITS if edits is None else edits)
    else:
        shown = SearchSpace.load(space or "hybrid")
    console = Console()
    if init is not None:
        from nas.weights.image_start import ImageStart
        from nas.weights.narrowing import narrowed

        left = narrowed(shown, ImageStart.read(init))
        console.print(left_out_table(left))
        shown = left.space
    size = f"{shown.size:,}" if shown.size < 10**12 else magnitude(shown.size)
    console.print(f"[bold]{shown.name}[/]: at most {size} networks, {len(shown.holes)} choices", highlight=False)
    console.print(survey_table(shown, limits, samples, console, seed))


def left_out_table(left: Narrowed) -> Table:
    """What image weights cannot fill and why, layers that differ in nothing together."""
    values_of: dict[tuple[str, str], list[str]] = {}
    for name, values in left.left_out.items():
        for value, reason in values.items():
            hole = re.sub(r"layers\.\d+\.", "layers.*.", name)
            why = re.sub(r"layers([._])\d+", r"layers\1*", reason.partition("; allowed")[0])
            there = values_of.setdefault((hole, why), [])
            if str(value) not in there:
                there.append(str(value))
    table = Table("choice", "left out", "because", title="What these weights cannot fill")
    for (hole, why), there in values_of.items():
        table.add_row(hole, ", ".join(there), why)
    return table


def survey_table(space: SearchSpace, budget: Budget, samples: int, console: Console, seed: int = 0) -> Table:
    """Prices a sample of a space and lays out its cost and the share inside a budget."""
    from nas.limits.metrics import metrics
    from nas.limits.survey import survey

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("pricing", total=samples)
        figures = survey(space, samples, seed, lambda done, total: progress.update(task, completed=done))
    target = space.sample(seed).input
    inside = sum(budget.violation({str(k): v for k, v in row.items()}) == 0 for row in figures.to_dict("records"))
    unknown = [metric for metric in metrics() if metric.name in budget.metrics() and not metric.compute]
    said = f"{100 * inside / samples:.0f} % of them inside {budget}"
    if unknown:
        what = " and ".join(metric.title for metric in unknown)
        computed = len(unknown) < len(budget.metrics())
        said = f"{said} but for the limit of {what}" if computed else f"Which of them keep {budget} is not known"
        said += ", as nothing is measured here"
    shape = f"{target.frames}x{target.size[0]}x{target.size[1]}"
    table = Table(
        "cost",
        *("min", "median", "max"),
        title=f"{samples} random candidates at {shape}, one clip",
        caption=f"{said}. FLOPs are multiply-adds of "
        "convolutions, linear layers and attention products; training memory is a step with AdamW.",
    )
    for metric in metrics("computed"):
        values = figures[metric.name]
        figures_of = (values.min(), values.median(), values.max())
        table.add_row(metric.title, *(metric.figure(value) for value in figures_of))
    return table

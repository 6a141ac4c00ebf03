"""`nas space`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nas.architecture import load
from nas.architecture.edits import DEFAULT_EDITS
from nas.cli.options import refuse_two_regions
from nas.limits.budget import Budget
from nas.limits.metrics import metrics
from nas.space import SearchSpace
from nas.units import magnitude, number

SAMPLES = 100


def space_command(
    space: Annotated[str | None, typer.Argument(help="A search space's name or file.")] = None,
    around: Annotated[str | None, typer.Option(help="Show the neighbourhood of this network, by name or file.")] = None,
    edits: Annotated[int | None, typer.Option(help="How many edits away it ends; 6 by default.")] = None,
    budget: Annotated[str, typer.Option(help="Limits whose share of the space is printed.")] = "100gflops",
    samples: Annotated[int, typer.Option(help="Random candidates to price.", min=1)] = SAMPLES,
    seed: Annotated[int, typer.Option(help="Of the sample.", min=0)] = 0,
) -> None:
    """Show what a search space holds and what its networks cost; nothing is trained.

    Example: `nas space hybrid --budget 20gflops --samples 500`, or `nas space --around vov3d_l`
    """
    limits = Budget.parse(budget)
    refuse_two_regions(space, around, edits)
    if around is not None:
        shown = SearchSpace.around(load(around), DEFAULT_EDITS if edits is None else edits)
    else:
        shown = SearchSpace.load(space or "hybrid")
    console = Console()
    size = f"{shown.size:,}" if shown.size < 10**12 else magnitude(shown.size)
    console.print(f"[bold]{shown.name}[/]: at most {size} networks, {len(shown.holes)} choices", highlight=False)
    console.print(survey_table(shown, limits, samples, console, seed))


def survey_table(space: SearchSpace, budget: Budget, samples: int, console: Console, seed: int = 0) -> Table:
    """Prices a sample of a space and lays out its cost and the share inside a budget."""
    from nas.limits.survey import survey

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("pricing", total=samples)
        figures = survey(space, samples, seed, lambda done, total: progress.update(task, completed=done))
    target = space.sample(seed).input
    inside = sum(budget.violation({str(k): v for k, v in row.items()}) == 0 for row in figures.to_dict("records"))
    unknown = [metric for metric in metrics() if metric.name in budget.metrics() and not metric.compute]
    beside = "".join(f"; {metric.title} is {metric.source}, so no limit of it counts here" for metric in unknown)
    shape = f"{target.frames}x{target.size[0]}x{target.size[1]}"
    table = Table(
        "cost",
        *("min", "median", "max"),
        title=f"{samples} random candidates at {shape}, one clip",
        caption=f"{100 * inside / samples:.0f} % of them inside {budget}{beside}. FLOPs are multiply-adds of "
        "convolutions, linear layers and attention products; training memory is a step with AdamW.",
    )
    for metric in metrics("computed"):
        values = figures[metric.name]
        figures_of = (values.min(), values.median(), values.max())
        table.add_row(metric.title, *(f"{number(value / metric.scale)} {metric.unit}" for value in figures_of))
    return table

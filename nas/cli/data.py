"""`nas data`: what a data set holds and what is wrong with it, and one to try the commands on."""

from __future__ import annotations

import json as json_text
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nas.cli.options import AllowOutside, clip_shape

if TYPE_CHECKING:
    from nas.data.check import Check

SHOWN = 20  # rows of a list in the terminal; --json has them all

data = typer.Typer(help="Look at a data set, or make a small one.")


@data.command("check")
def check_command(
    path: Annotated[str, typer.Argument(help="What --data takes: a folder, a list, an .npz file or motion.")],
    clip: Annotated[str, typer.Option(help="Frames x size of the clip that is read of each video.")] = "16x112",
    sheet: Annotated[Path | None, typer.Option(help="Draw frames of every class to this PNG file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 where there are warnings.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    decoders: Annotated[int | None, typer.Option(help="Threads that read; all cores by default.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of a random split.")] = 0,
    allow_outside: AllowOutside = False,
) -> None:
    """Read every clip of a data set and say what it holds, what is broken and what is there twice.

    Example: `nas data check clips/ --sheet clips.png`
    """
    from nas.data.check import check_data, strips
    from nas.data.contact_sheet import draw_contact_sheet
    from nas.data.datasets import Sampling, open_data
    from nas.profiler.measured.device import available_cores

    frames, size = clip_shape(clip, "clip")
    found = open_data(path, seed=seed, allow_outside=allow_outside)
    with _progress("reading clips") as show:
        check = check_data(found, Sampling(frames, (size, size)), decoders or available_cores(), show)
    if sheet is not None:
        draw_contact_sheet(list(strips(found)), sheet)
    if json:
        typer.echo(json_text.dumps(check.figures(), indent=1))
    else:
        _print(check)
    if strict and check.warnings():
        raise typer.Exit(2)


@data.command("sample")
def sample_command(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    per_class: Annotated[int, typer.Option(help="Clips of each of four classes.")] = 30,
) -> None:
    """Write a small data set of labelled mp4 clips, drawn on the spot, and a list with subjects.

    Example: `nas data sample clips`, then `nas search tiny --data clips/clips.csv`
    """
    from nas.data.sample import write_sample

    with _progress("writing clips") as show:
        path = write_sample(folder, per_class, show)
    typer.echo(f"list  {path}")


@contextmanager
def _progress(words: str) -> Iterator[Callable[[int, int], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


def _print(check: Check) -> None:
    console = Console(highlight=False)
    console.print(check.summary, markup=False, soft_wrap=True)
    counts = Table("class", *(f"{split} clips" for split in check.counts))
    for name in check.classes:
        counts.add_row(name, *(str(of[name]) for of in check.counts.values()))
    console.print(counts)
    infos, figures = check.infos(), check.figures()
    for name in ("frames", "seconds"):
        if figures[name]:
            low, middle, high = (f"{figures[name][key]:.4g}" for key in ("min", "median", "max"))
            typer.echo(f"{name:<12} {low} to {high}, median {middle}")
    _list("sizes", Counter(f"{info.width}x{info.height}" for info in infos))
    _list("codecs", Counter(info.codec for info in infos))
    _list("frame rates", Counter(f"{info.fps:.4g}" for info in infos if info.fps))
    size = "x".join(map(str, check.sampling.size))
    threads = f"{check.workers} threads" if check.workers > 1 else "1 thread"
    typer.echo(f"{'reading':<12} {check.clips_per_second:.4g} clips/s of {check.sampling.frames}x{size}, {threads}")
    _rows("cannot be read", [f"{each.split} {each.clip}: {each.reason}" for each in check.unreadable])
    same = [" = ".join(f"{split} {name}" for split, _, name in each.clips) for each in check.same]
    _rows("of equal content", same)
    warnings = check.warnings()
    _rows("warnings" if warnings else "no warnings", warnings)


def _list(name: str, counts: Counter[str]) -> None:
    if counts:
        shown = ", ".join(f"{value} ({count})" for value, count in counts.most_common(6))
        typer.echo(f"{name:<12} {shown}" + (f" and {len(counts) - 6} more" if len(counts) > 6 else ""))


def _rows(name: str, rows: Sequence[str]) -> None:
    if rows or name == "no warnings":
        typer.echo(name)
    for row in rows[:SHOWN]:
        typer.echo(f"  {row}")
    if len(rows) > SHOWN:
        typer.echo(f"  and {len(rows) - SHOWN} more, which --json lists")

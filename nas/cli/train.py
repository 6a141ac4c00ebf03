"""`nas train`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nas.cli.completion import networks_and_runs, recipes
from nas.cli.options import AllowOutside, Cache, CacheGb, option_name
from nas.data.kinds import CACHE_GB
from nas.errors import NasError, brief
from nas.runs.progress.news import Display, Heartbeat, announce, busy
from nas.units import duration, seconds, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nas.architecture import Architecture
    from nas.trained.folder import Figure
    from nas.trained.moment import Moment
    from nas.trained.train import Run

# What a resumed training may be given anew: how it is shown, and the cluster. No folder names one:
# code of a cluster runs in who joins it.
_WITH_RESUME = ("resume", "quiet", "address")
NO_INIT = "none"
SCRATCH = f"--init {NO_INIT} is from scratch"


def train_command(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            help="An architecture file, a published network, or the folder of a search.",
            autocompletion=networks_and_runs,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="As in nas search: motion, a folder, a CSV or a list.")] = None,
    pick: Annotated[
        str | None,
        typer.Option(help="Of a search's folder: accuracy (the default), knee, latency, memory, a trial's number."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/trained-NAME-N by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a training to go on with, as it was begun.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe's name or file; by default chosen by the data and the start.", autocompletion=recipes
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Weights to begin with: of an image network, or a trained network's folder; of a search's pick those "
            "of the search by default; none is from scratch."
        ),
    ] = None,
    tubes: Annotated[
        str | None,
        typer.Option(
            help="Folder of a small trained network whose tubes a large one takes beside --init (TubeViT's scaling-up)."
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Labelled pictures, in any form that --data takes, for a second head: every second batch."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training clips.", min=1)] = None,
    time: Annotated[
        str | None, typer.Option(help="Time to train, such as 2h; the learning rate is planned to end with it.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Clips per step, or auto: the recipe's, in micro-batches that fit, checked by a real step."),
    ] = None,
    clip: Annotated[str | None, typer.Option(help="Frames x size of the input, such as 16x112.")] = None,
    resize: Annotated[
        str | None, typer.Option(help="Size that frames are resized to before they are cropped; 8/7 of the input.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Distance of a clip's frames; by default spread over the video.", min=1)
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Whether clips may be mirrored; by the data by default.")
    ] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="balanced counts every class the same; none every clip.")
    ] = None,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better accuracy; 0 never.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of weights, order, augmentation and a random split.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads on the CPU; all of its cores by default.", min=1)] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that train, each on its share of every batch; one GPU each.", min=1)
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster that has the workers: auto, or HOST:PORT.")
    ] = None,
    decoders: Annotated[int | None, typer.Option(help="Threads that decode; all cores by default.", min=1)] = None,
    classes: Annotated[
        str | None, typer.Option(help="Vectors by class name in a safetensors file, for a head `similarity`.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Train through torch.compile.")] = False,
    lean: Annotated[
        bool,
        typer.Option(
            "--lean", help="Run layers again in the backward pass: less memory than predicted, about a third more time."
        ),
    ] = False,
    allow_outside: AllowOutside = False,
    cache: Cache = None,
    cache_gb: CacheGb = CACHE_GB,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.")] = False,
) -> None:
    """Train a network to the end, from an architecture or a search's pick.

    Example: `nas train best.yaml --data clips/ --out runs/best --time 2h`, or
    `nas train runs/hybrid-motion-1 --pick knee --data clips/`
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if resume is not None:
        refused = [name for name in given if name not in _WITH_RESUME]
        if refused:
            raise NasError(f"{_spelled(refused[0])} does not go with --resume; allowed: --quiet, --address")
    elif target is None or data is None:
        missing = "TARGET" if target is None else "--data"
        raise NasError(f"{missing} is not given; allowed: an architecture and its data, or --resume FOLDER")
    if epochs is not None and time is not None:
        raise NasError(f"epochs {epochs} and time {time!r} both say how long; allowed: one of them")
    chosen = {"epochs": epochs, "time": seconds(time) if time else None}
    checks_memory = batch == "auto"
    clips_per_step = None if batch is None or checks_memory else _number("batch", batch, "a whole number, or auto")
    # What is misspelt is refused before torch is loaded.
    chosen_target = None
    if target is not None and data is not None:
        from nas.data.datasets import check_source

        check_source(data)
        if images is not None:
            check_source(images)
        chosen_target = _target(target, pick, clip)
    console = Console()
    with busy(Console(quiet=True) if quiet else console, "loading"):
        from nas.profiler.measured.device import available_cores
        from nas.trained.folder import load_model
        from nas.trained.outcome import IMAGES, TEST, VALIDATION
        from nas.trained.plan import Plan, TrainSettings
        from nas.trained.real_step import check_memory
        from nas.trained.scores import Share
        from nas.trained.train import planned, run_here, train
        from nas.trained.train import resume as resume_training

    def say(text: str) -> None:
        if not quiet:
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    def said(figures: Mapping[str, Figure]) -> str:
        shares = {name: Share.of_value(figure.value, figure.clips) for name, figure in figures.items()}
        return ", ".join(f"{name} {shares[name]}" for name in (VALIDATION, TEST) if name in shares)

    if resume is not None:
        plan = planned(resume)
        folder = resume
    else:
        assert chosen_target is not None and data is not None
        architecture, source, of_search = chosen_target
        folder = out or _free_folder(source[0] or source[1] or "network")
        settings = TrainSettings(
            data=data,
            out=str(folder),
            recipe=recipe,
            **chosen,  # type: ignore[arg-type]
            batch=clips_per_step,
            check_memory=checks_memory,
            init=None if init == NO_INIT else init or of_search,
            tubes=tubes,
            images=images,
            class_weights=_weights(class_weights),  # type: ignore[arg-type]
            resize=None if resize is None else _size(resize),
            stride=stride,
            flip=flip,
            seed=seed,
            device=device,
            threads=threads,
            workers=workers,
            decoders=decoders or available_cores(),
            patience=patience,
            classes=classes,
            compiled=compiled,
            lean=lean,
            allow_outside=allow_outside,
            cache=None if cache is None else str(cache),
            cache_gb=cache_gb,
            source=source,
        )
        if init is None and of_search is not None:
            say(f"init {of_search}, as the search; {SCRATCH}")
        plan = Plan.of(settings, architecture)
        say(plan.describe())
        if checks_memory:
            plan = check_memory(plan, say)
    run: Run = run_here
    if plan.settings.workers > 1 or address is not None:
        from nas.trials.workers import Room, run_on_workers

        run = partial(run_on_workers, Room.of(plan, address))
    if dry_run:
        say("Nothing was trained.")
        return
    with _Shown(console, quiet) as shown:
        if resume is not None:
            model = resume_training(folder, shown.show, say, run)
        else:
            model = train(plan, shown.show, say, run)
    lines = [said(model.record.figures)]
    if plan.images is not None:
        lines.append(f"images: {said(load_model(folder / IMAGES, 'cpu').record.figures)}")
    console.print("\n".join([*lines, f"model   {folder}"]), highlight=False, markup=False, soft_wrap=True)


class _Shown(Display):
    """A line for each epoch, beside a bar on a terminal and a line now and then elsewhere; nothing
    when quiet.
    """

    def __init__(self, console: Console, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), console=console
        )
        self._task = self._bar.add_task("training", total=1.0)
        self._note = "reading clips and timing steps"
        heartbeat = None if quiet else Heartbeat(self._beat)
        super().__init__(self._bar, console.is_terminal and not quiet, heartbeat)

    def _beat(self, seconds: float) -> None:
        announce(self._console, f"{self._note}, {duration(seconds)} passed")

    def show(self, moment: Moment) -> None:
        if self._quiet:
            return
        row, best = moment.row, moment.best
        left = f"{duration(moment.seconds_left)} left"
        if row is not None and best is not None:
            images = "" if row.image_accuracy is None else f", images {100 * row.image_accuracy:.1f} %"
            best_images = "" if best.image_accuracy is None else f" and {100 * best.image_accuracy:.1f} %"
            self._console.print(
                f"epoch {row.epoch}: loss {row.loss:.3f}, validation {100 * row.accuracy:.1f} %{images} (best "
                f"{100 * best.accuracy:.1f} %{best_images} in epoch {best.epoch}), {row.clips_per_second:.3g} clips/s, "
                f"{left}",
                highlight=False,
                soft_wrap=True,
            )
            self._told()
        self._note = f"epoch {moment.epoch}, loss {moment.loss:.3f}, {moment.clips_per_second:.3g} clips/s, {left}"
        if self._animated:
            self._bar.update(self._task, completed=moment.share, description=self._note)


def _target(
    target: str, pick: str | None, clip: str | None
) -> tuple[Architecture, tuple[str | None, str | None, int | None], str | None]:
    """The architecture, the names of file, search and trial that it came from, and the weights that
    the search began its candidates with.
    """
    from nas.architecture import load

    init: str | None = None
    source: tuple[str | None, str | None, int | None]
    if Path(target).is_dir():
        from nas.limits.metrics import DEFAULT_PICK
        from nas.runs.folder.run import Run

        run = Run(target)
        name = pick or DEFAULT_PICK
        architecture, source = run.pick(name), (None, run.path.resolve().name, run.pick_trial(name))
        init = run.record.settings.init if run.record.settings else None
    elif pick is not None:
        raise NasError(
            f"pick {pick!r} is of no search: {target!r} is no folder; allowed: --pick beside a search's folder"
        )
    else:
        architecture, source = load(target), (Path(target).stem, None, None)
    if clip is not None:
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", clip.lower())
        if not match:
            raise NasError(f"clip {clip!r} is no clip shape; allowed: frames x size, such as 16x112")
        architecture = architecture.resized(int(match[1]), int(match[2]))
    return architecture, source, init


def _free_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"trained-{name}-{number}").exists():
        number += 1
    return folder


def _weights(text: str | None) -> str | None:
    if text not in (None, "none", "balanced"):
        raise NasError(f"class-weights {text!r} is not allowed; allowed: balanced, none")
    return text


def _number(what: str, text: str, allowed: str) -> int:
    number = whole(text)
    if number is None or number < 1:
        raise NasError(f"{what} {brief(text)} is not allowed; allowed: {allowed}")
    return number


def _size(text: str) -> tuple[int, int]:
    """One number for both, or HEIGHTxWIDTH."""
    sides = [_number("resize", side, "pixels, or height x width, such as 128 or 128x171") for side in text.split("x")]
    if len(sides) > 2:
        raise NasError(f"resize {text!r} is not allowed; allowed: pixels, or height x width, such as 128 or 128x171")
    return sides[0], sides[-1]


def _spelled(name: str) -> str:
    return "TARGET" if name == "target" else {"compiled": "--compile"}.get(name, option_name(name))

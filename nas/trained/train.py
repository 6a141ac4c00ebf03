"""A training from its plan to the folder of a trained network, resumed wherever it was stopped.

The folder of a trained network holds its best weights; beside them `last/` is such a folder of the
last ones, `curves.csv` has a row per epoch, `tensorboard/` the same as event files, and `training/`
what a resume needs: settings, architecture and state.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nas.architecture import load
from nas.data.clips import Clips
from nas.documents import of_schema, read_json
from nas.errors import Interrupted, NasError, out_of_memory
from nas.locks import locked
from nas.models.convolution import placed
from nas.models.network import Network, build
from nas.models.two_heads import PREFIX, TwoHeads
from nas.resources import replacing
from nas.trained.curves import CurveRow, Events, write_curve
from nas.trained.decoded import Decoded
from nas.trained.folder import TrainedModel, load_model
from nas.trained.moment import Moment, Say, Show
from nas.trained.outcome import add_test_figures, save_networks
from nas.trained.pace import Pace, timed
from nas.trained.plan import Plan, TrainSettings, checkpoint, steps_in
from nas.trained.stopping import stop_signals
from nas.trained.zero_shot import read_class_vectors, set_classes
from nas.training.initial import draw_anew
from nas.training.loop import Training, accuracy
from nas.training.recipe import Stage
from nas.training.state import Progress, progress_of, read_state, restore, tensors_of, write_state
from nas.training.stills import Stills
from nas.training.workers import ALONE, Workers
from nas.units import number, plural
from nas.weights.fill import fill_from
from nas.weights.filled import listed
from nas.weights.scaling_up import scale_up

INSIDE, LAST, CURVES, EVENTS = "training", "last", "curves.csv", "tensorboard"
SCHEMA = 2  # of the form of what a resume needs; in the first, `workers` were the threads that decode
SETTINGS, ARCHITECTURE, STATE = "settings.json", "architecture.yaml", "state.safetensors"
SAVE_SECONDS = 60.0  # between two states of one epoch
SHOW_SECONDS = 0.5  # between two moments of one epoch that are shown: to see a loss waits for the device


@dataclass(frozen=True)
class SessionState:
    """What the state of a training holds beside tensors.

    Attributes:
        training: Where the loop is.
        curve: A row per epoch.
        seconds: Of all sessions together.
        ended: Why training ended; None while it goes on.
    """

    training: Progress
    curve: tuple[CurveRow, ...] = ()
    seconds: float = 0.0
    ended: str | None = None


Run = Callable[[Plan, Path, Show, Say], None]


def run_here(plan: Plan, folder: Path, show: Show, say: Say) -> None:
    """Trains to the end in this process, from where the folder says that the training stands."""
    with stop_signals() as stopped:
        Session(plan, folder, say).run(show, stopped)


def train(plan: Plan, show: Show = lambda moment: None, say: Say = print, run: Run = run_here) -> TrainedModel:
    """Trains a network and writes its folder.

    Args:
        plan: What to train and how; its settings name the folder.
        show: Called at the end of each epoch, and at times within one.
        say: Takes sentences about what goes on.
        run: Where the steps are taken.

    Returns:
        The network with its best weights.

    Raises:
        NasError: The folder has a training already, or something of the plan cannot be done.
        Interrupted: Ctrl-C or SIGTERM; the state is kept.
    """
    folder = Path(plan.settings.out)
    inside = folder / INSIDE
    if (inside / SETTINGS).exists():
        raise NasError(f"out {str(folder)!r} has a training already; allowed: --resume, or another folder")
    try:
        inside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(f"out {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder to write") from None
    with locked(folder):
        plan.architecture.save(inside / ARCHITECTURE)
        settings = replace(plan.settings, micro_batch=plan.micro_batch)
        with replacing(inside / SETTINGS) as draft:
            draft.write_text(json.dumps({"schema": SCHEMA, **asdict(settings)}, indent=2) + "\n", encoding="utf-8")
        try:
            run(plan, folder, show, say)
        except NasError:
            if not (inside / STATE).exists():  # nothing was begun that could be gone on with
                (inside / SETTINGS).unlink()
            raise
        return load_model(folder, str(plan.device))


def planned(folder: str | Path) -> Plan:
    """The plan of a training that was begun in a folder.

    Raises:
        NasError: There is none, or its data has changed.
    """
    inside = Path(folder) / INSIDE
    if (inside / SETTINGS).is_file():
        written = read_json("settings", inside / SETTINGS)
        document = of_schema(written, SCHEMA, f"training {str(folder)!r}")
        if isinstance(document, dict) and written.get("schema", 1) == 1:
            document["decoders"] = document.pop("workers", 1)
    else:
        document = None
    try:
        settings = TypeAdapter(TrainSettings).validate_json(json.dumps(document))
    except ValidationError:
        raise NasError(f"folder {str(folder)!r} has no training; allowed: one that `nas train` wrote") from None
    return Plan.of(settings, load(inside / ARCHITECTURE))


def resume(folder: str | Path, show: Show = lambda moment: None, say: Say = print, run: Run = run_here) -> TrainedModel:
    """Goes on with a training as if it had not been stopped; one that has ended is returned.

    Raises:
        NasError: There is no training in the folder, or its data has changed.
        Interrupted: As `train`.
    """
    plan = planned(folder)
    with locked(Path(folder)):
        run(plan, Path(folder), show, say)
        return load_model(folder, str(plan.device))


class Session:
    """From the plan to the end, once in a process, which may be one of several workers."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        say: Say,
        workers: Workers = ALONE,
        decoded: Decoded | None = None,
        spent: float = 0.0,
    ) -> None:
        """Builds the network and goes to where the folder says that the training stands.

        Args:
            plan: What to train; that of a worker names its own device.
            folder: Seen by all workers, of which the first writes it.
            say: Takes sentences about what goes on.
            workers: This process among them.
            decoded: The clips, read unless given.
            spent: Seconds that have passed of what this session counts as its time.

        Raises:
            NasError: Something of the plan cannot be done.
        """
        self.began = time.monotonic() - spent
        self.plan, self.folder, self.say, self.workers = plan, folder, say, workers
        self.state = folder / INSIDE / STATE
        settings = plan.settings
        torch.set_num_threads(plan.threads)
        torch.manual_seed(settings.seed)
        self.model = build(plan.architecture)
        self.new: list[str] = []  # parameters that a checkpoint did not fill
        if settings.init is None and plan.recipe.initial_gain:
            draw_anew(self.model, plan.recipe.initial_gain)
        if settings.init is not None:
            filled = fill_from(self.model, checkpoint(settings.init))
            say(filled.describe())
            self.new = filled.new
        if settings.tubes is not None:
            taken = scale_up(self.model, checkpoint(settings.tubes)).filled
            say(f"tubes of {settings.tubes}: {plural(len(taken), 'tensor')} taken ({listed(taken)})")
            self.new = [name for name in self.new if name not in taken]
        if settings.classes is not None:
            set_classes(self.model, read_class_vectors(settings.classes).of(plan.data.classes))
        if plan.images is not None:
            self.model = TwoHeads(self.model, len(plan.images.classes))
            if settings.init is not None:
                self.new += [name for name, _ in self.model.named_parameters() if name.startswith(PREFIX)]
        placed(self.model, plan.device)
        self.decoded = decoded or Decoded.read(plan, folder)
        self.train_clips, self.val_clips = self.decoded.train, self.decoded.val
        if workers.rank:  # as for the first one, what is dropped of its clips follows from the seed
            torch.manual_seed(settings.seed + workers.rank)
        self.training = self._training(self.model, new=self.new, compiled=settings.compiled, lean=settings.lean)
        self.curve: list[CurveRow] = []
        self.seconds_before, self.ended = 0.0, None
        self.pace = Pace(plan.recipe, {})  # of this session
        self.evaluation_seconds = 0.0
        where, found = f"training {str(folder)!r}", None
        if self.state.exists():
            tensors, found = read_state(self.state, SessionState)
            restore(self.training, tensors, found.training, where)
            self.curve, self.seconds_before, self.ended = list(found.curve), found.seconds, found.ended
        workers.check_same_state(None if found is None else self.training.steps_done, where)
        if found is not None:
            say(f"goes on after {self.training.steps_done} steps")
        elif settings.time is not None:
            self._lay_out()

    def _training(
        self, model: Network, *, new: Sequence[str] = (), compiled: bool = False, lean: bool = False
    ) -> Training:
        plan, images = self.plan, self.decoded.images
        flip = plan.images is not None and plan.images.flip
        stills = None if images is None else Stills(images, flip, plan.recipe.batch_size, plan.device)
        return Training(
            model,
            self.train_clips,
            plan.preprocessing.size,
            plan.recipe,
            plan.data.flip,
            plan.device,
            plan.micro_batch,
            new=new,
            compiled=compiled,
            lean=lean,
            workers=self.workers,
            stills=stills,
        )

    @property
    def seconds(self) -> float:
        """Of all sessions, reading the clips included."""
        return self.seconds_before + time.monotonic() - self.began

    @property
    def best(self) -> CurveRow | None:
        """The first of the most accurate epochs."""
        return max(self.curve, key=lambda row: row.score, default=None)

    # ------------------------------------------------------------------------------------- the time

    def _lay_out(self) -> None:
        """Plans the schedule's steps from timed ones, which leave no trace."""
        stages, evaluation = self._timed()
        self.pace = Pace(self.plan.recipe, stages)
        step, steps, turn = self.pace.step, self.training.steps, self.plan.recipe.turn_epochs
        self.training.total_steps = steps_in(self._seconds_left(), step, evaluation, steps)
        if self.training.total_steps <= steps * (turn - 1):
            raise NasError(
                f"time {self.plan.settings.time:g} s ends before every stage of the recipe has had its "
                f"turn; allowed: about {math.ceil(self.seconds + turn * (steps * step + evaluation))} s and more"
            )
        epochs = number(self.training.total_steps / self.training.steps)
        self.say(
            f"{plural(self.training.total_steps, 'step')}, {epochs} epochs: a step takes {number(1000 * step)} ms "
            f"and an evaluation {number(evaluation)} s, as timed here"
        )

    def _timed(self) -> tuple[dict[Stage, float], float]:
        """Seconds of a step in each stage, and of an evaluation, by its first batch."""
        plan = self.plan
        devices = [plan.device] if plan.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            trial = self._training(deepcopy(self.model))
            longest = min(20.0, (plan.settings.time or math.inf) / 10)
            stages = timed(trial, longest / max(1, len(plan.recipe.stages)), self.workers.agreed)
            batch = plan.evaluation_batch
            part = Clips(self.val_clips.pixels[:batch], self.val_clips.labels[:batch])
            started = time.monotonic()
            accuracy(trial.model, part, plan.preprocessing.size, plan.device, batch)
            images = 0 if self.decoded.val_images is None else len(self.decoded.val_images.labels)
            share = len(part.labels) / (len(self.val_clips.labels) + images) * self.workers.count
        return stages, self.workers.agreed((time.monotonic() - started) / share)

    def _stretch(self) -> None:
        """Lets the schedule end with the time, as the last steps went."""
        if self.plan.settings.time is None or not self.pace.steps or self.training.ended:
            return
        left = self._seconds_left()
        if left <= 0 and self.training.step_in_epoch == 0:
            self.ended = "the time's end"
            return
        if left <= 0:  # within an epoch, which ends with the next step: no network is kept unevaluated
            self.training.stretch(1)
            return
        step = self.workers.agreed(self.pace.step)
        evaluation = self.workers.agreed(self.evaluation_seconds)
        self.training.stretch(steps_in(left, step, evaluation, self.training.steps))

    def _seconds_left(self) -> float:
        """Of the time that was given, by the clock of the first worker."""
        return self.workers.agreed((self.plan.settings.time or 0.0) - self.seconds)

    # ------------------------------------------------------------------------------------ the steps

    def run(self, show: Show, stopped: threading.Event) -> None:
        """Trains to the end.

        Args:
            show: Called at the end of each epoch, and at times within one.
            stopped: Set where the training is to stop between two steps; the first worker's counts.

        Raises:
            NasError: A step cannot be taken.
            Interrupted: It was stopped; the state is kept.
        """
        agreed = self.workers.agreed
        with nullcontext() if self.workers.rank else Events(self.folder / EVENTS, self.training.steps_done) as events:
            saved = shown = time.monotonic()
            while self.ended is None:
                if self.training.ended:
                    self.ended = "the schedule's end"
                    break
                if agreed(stopped.is_set()):
                    self._save()
                    self._save_model(self.folder / LAST)
                    raise Interrupted(
                        f"stopped after {self.training.steps_done} steps, which are kept; go on with "
                        f"nas train --resume {self.folder}"
                    )
                rate, stage = self.training.rate, self.training.stage
                started = time.monotonic()
                loss = self._step()
                now = time.monotonic()
                self.pace.add(stage, now - started)
                row = None if loss is None else self._end_epoch(loss, rate)
                if row is not None and events is not None:
                    events.add(row)
                if row is not None or agreed(time.monotonic() - saved > SAVE_SECONDS):
                    self._stretch()
                    self._save()
                    saved = time.monotonic()
                if row is not None or now - shown >= SHOW_SECONDS:
                    show(self._moment(row))
                    shown = now
            self._save()
        if self.workers.rank == 0:
            self._finish()

    def _step(self) -> float | None:
        """A step of the loop; what a user can mend of its failures is told."""
        try:
            loss = self.training.step()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise NasError(
                f"a step of {self.plan.micro_batch} clips does not fit into the memory of {self.plan.device}; allowed: "
                "--batch auto, which tries one first, a smaller --batch or --clip"
            ) from None
        if loss is not None and not math.isfinite(loss):
            raise NasError(
                f"loss {loss} of epoch {self.training.epochs_done} is no finite number; allowed: a recipe with a lower "
                "learning rate"
            )
        return loss

    def _end_epoch(self, loss: float, rate: float) -> CurveRow:
        plan, training = self.plan, self.training
        started = time.monotonic()
        score, of_images = self._accuracy(self.val_clips), None
        if self.decoded.val_images is not None:
            of_images = self._accuracy(self.decoded.val_images, image=True)
        self.evaluation_seconds = time.monotonic() - started
        row = CurveRow(
            training.epochs_done,
            training.steps_done,
            loss,
            rate,
            score,
            self._clips_per_second(),
            self.seconds,
            None if training.stills is None else training.stills.mean_loss,
            of_images,
        )
        better = self.best is None or row.score > self.best.score
        self.curve.append(row)
        if better:
            self._save_model(self.folder)
        best = self.best
        turned = row.epoch % plan.recipe.turn_epochs == 0  # all stages have had as many epochs
        if plan.settings.patience and best and row.epoch - best.epoch >= plan.settings.patience and turned:
            self.ended = f"no better accuracy for {plan.settings.patience} epochs"
        if self.workers.rank == 0:
            write_curve(self.folder / CURVES, self.curve)
        return row

    def _accuracy(self, clips: Clips, image: bool = False) -> float:
        plan, model = self.plan, self.training.evaluated
        size, batch = plan.preprocessing.size, plan.evaluation_batch
        return accuracy(model, clips, size, plan.device, batch, workers=self.workers, image=image)

    def _clips_per_second(self) -> float:
        return self.training.clips_read / max(1e-9, self.pace.seconds)

    def _moment(self, row: CurveRow | None) -> Moment:
        training = self.training
        steps_left = (training.total_steps - training.position) / training.pace
        step = self.pace.step + self.evaluation_seconds / training.steps
        done = max(1, training.step_in_epoch - training.still_steps)
        return Moment(
            epoch=row.epoch if row else training.epochs_done + 1,
            share=min(1.0, training.position / training.total_steps),
            loss=row.loss if row else training.epoch_loss.item() / done,
            clips_per_second=self._clips_per_second(),
            seconds_left=max(0.0, steps_left * step),
            row=row,
            best=self.best,
        )

    # ------------------------------------------------------------------------------------ the files

    def _save(self) -> None:
        document = SessionState(progress_of(self.training), tuple(self.curve), self.seconds, self.ended)
        tensors = tensors_of(self.training)
        if self.workers.rank == 0:
            write_state(self.state, tensors, document)

    def _save_model(self, folder: Path) -> None:
        """Writes the weights as they are now, with their accuracy where an epoch has just ended."""
        model = self.training.settled()
        if self.workers.rank:
            return
        row = self.curve[-1] if self.curve and self.training.step_in_epoch == 0 else None
        save_networks(folder, self.plan, model, self.training.steps_done / self.training.steps, self.decoded, row)

    def _finish(self) -> None:
        self.say(f"ended: {self.ended}")
        self._save_model(self.folder / LAST)
        add_test_figures([self.folder, self.folder / LAST], self.plan)

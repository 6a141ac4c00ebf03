"""What a training decides before it begins: settings in, plan out, each choice with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from nas.architecture import Architecture
from nas.data.cache import cached
from nas.data.clips import Clips, load_split
from nas.data.datasets import open_data
from nas.data.kinds import CACHE_GB
from nas.data.preprocessing import Preprocessing
from nas.data.sampling import Sampling
from nas.data.source import Split, VideoData
from nas.errors import NasError
from nas.limits.memory import USABLE, largest_fitting
from nas.models.two_heads import image_architecture
from nas.profiler.computed.cost import cost
from nas.profiler.measured.device import available_cores, memory_bytes, resolve_device
from nas.resources import find_resource
from nas.trained.presets import Start, preset
from nas.trained.stage_memory import check_stages, share, stage_reasons, step_memory
from nas.training.recipe import Recipe, read_recipe
from nas.units import plural
from nas.weights.checkpoints import load_state
from nas.weights.fill import starts_from_images
from nas.weights.own_images import architecture_beside
from nas.weights.own_state import short_names
from nas.weights.scaling_up import first_gate, read_tubes


@checked(frozen=True, config=ConfigDict(extra="ignore"))
class TrainSettings:
    """What was asked for; kept in the folder, so that a training can be resumed.

    Attributes:
        data: As `open_data` takes it.
        out: Folder to write.
        recipe: Name or file of a recipe; None chooses one by the data and the start.
        epochs: In place of the recipe's.
        time: Seconds to train; the schedule is laid out so that it ends then.
        batch: Clips per step in place of the recipe's.
        check_memory: Measure one step's memory beside the prediction.
        images: Labelled images to train a second head on, as `open_data` takes them.
        init: Image weights or a checkpoint to begin with.
        tubes: Folder of a small network whose tubes the network begins with, beside image weights;
            its layers before the first gate are then fixed.
        class_weights: `balanced` or `none`, in place of the recipe's.
        resize: (height, width) that frames are resized to before the crop; 8/7 of the input unless
            given.
        stride: Distance of a clip's frames; None spreads them over the whole video.
        flip: Whether clips may be mirrored; None leaves it to the data.
        seed: Of weights, order, augmentation and a random split.
        device: As `resolve_device` takes it.
        threads: Of the CPU; all cores unless given.
        decoders: Threads that decode.
        workers: Processes that train, each on its share of every batch.
        patience: Epochs without a better accuracy after which training stops; 0 never does.
        classes: File of a vector for each class, for a head `similarity`.
        compiled: Train through `torch.compile`.
        lean: Run parts again in the backward pass and keep less; memory is predicted without that.
        allow_outside: Whether a list may name videos outside its folder.
        cache, cache_gb: Folder of decoded clips, and the 10^9 bytes that it may hold.
        micro_batch: Clips that passed the network at a time when the training began, which it
            keeps when it is resumed, unless memory is smaller now.
        source: Name of the architecture, of the search's folder and of the trial.
    """

    data: str
    out: str
    recipe: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    time: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    check_memory: bool = False
    images: str | None = None
    init: str | None = None
    tubes: str | None = None
    class_weights: Literal["none", "balanced"] | None = None
    resize: tuple[int, int] | None = None
    stride: int | None = None
    flip: bool | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    decoders: int = 1
    workers: Annotated[int, Field(ge=1)] = 1
    patience: int = 0
    classes: str | None = None
    compiled: bool = False
    lean: bool = False
    allow_outside: bool = False
    cache: str | None = None
    cache_gb: float = CACHE_GB
    micro_batch: int | None = None
    source: tuple[str | None, str | None, int | None] = (None, None, None)


@dataclass(frozen=True)
class Plan:
    """A training whose every argument has been found good.

    Attributes:
        settings: What was asked for.
        architecture: With the classes of the data.
        data: The data set.
        preprocessing: How a video becomes the network's input.
        recipe: How to train.
        device: Where.
        micro_batch: Clips that pass the network at a time.
        step_bytes: Predicted memory of a step, in the stage that takes the most.
        device_bytes: Memory of the device.
        reasons: Why each of these, in sentences without full stop.
        images: Data set of the second head, or None.
    """

    settings: TrainSettings
    architecture: Architecture
    data: VideoData
    preprocessing: Preprocessing
    recipe: Recipe
    device: torch.device
    micro_batch: int
    step_bytes: int
    device_bytes: int
    reasons: tuple[str, ...]
    images: VideoData | None = None

    @classmethod
    def of(cls, settings: TrainSettings, architecture: Architecture) -> Plan:
        """Reads data and recipe, and decides what is left to decide.

        Raises:
            NasError: Something is not allowed, or not one clip fits into memory.
        """
        device = _device(settings)
        data = _opened(settings.data, settings)
        images = None if settings.images is None else _opened(settings.images, settings)
        architecture = architecture.resized(num_classes=len(data.classes))
        entry = architecture.input
        preprocessing = Preprocessing.of_input(entry.frames, entry.size, settings.stride)
        if settings.resize is not None:
            height, width = settings.resize
            preprocessing = replace(preprocessing, resized_height=height, resized_width=width)
        recipe, reasons = _recipe(settings, len(data.train), architecture)
        if recipe.batch_size > len(data.train):
            recipe = recipe.changed(batch_size=len(data.train))
            reasons += (f"batches of {recipe.batch_size}: all training clips",)
        if settings.tubes is not None:
            reasons += (_of_tubes(settings.tubes, settings.init, architecture),)
        _check_room(data, images, preprocessing, settings)
        if images is not None:
            reasons += (_of_images(images, architecture),)
        check_stages(architecture, recipe)
        if images is not None and recipe.stages:
            raise NasError(f"images {settings.images!r} do not go with the stages of a recipe; allowed: one of them")
        memory = memory_bytes(device)
        if device.type == "cpu":  # which workers share
            memory //= settings.workers
        batch, needed = share(recipe, settings.workers), partial(step_memory, architecture, recipe, settings.workers)
        micro_batch = largest_fitting(batch, USABLE * memory, needed)
        if not micro_batch:
            raise NasError(
                f"training on one clip takes {needed(1) / 1e9:.3g} GB of memory, and {device} has {memory / 1e9:.3g} "
                f"GB; allowed: networks that take {100 * USABLE:.0f} % of it"
            )
        micro_batch = min(micro_batch, settings.micro_batch or micro_batch)
        step_bytes, whole = needed(micro_batch), needed(batch)
        if settings.workers > 1:
            reasons += (f"{settings.workers} workers: each takes up to {plural(batch, 'clip')} of every batch",)
        if micro_batch < batch:
            reasons += (
                f"{batch // micro_batch} micro-batches of {micro_batch}: a whole batch would take "
                f"{whole / 1e9:.3g} GB of the device's {memory / 1e9:.3g}",
            )
        reasons += stage_reasons(architecture, recipe, batch, micro_batch)
        plan = cls(
            settings,
            architecture,
            data,
            preprocessing,
            recipe,
            device,
            micro_batch,
            step_bytes,
            memory,
            reasons,
            images,
        )
        plan.check_shares(len(data.train), None if images is None else len(images.train))
        return plan

    def check_shares(self, clips: int, images: int | None = None) -> None:
        """Checks that every worker has clips, and images, of each micro-batch.

        Args:
            clips: That there are to train on.
            images: As many beside them, or None.

        Raises:
            NasError: A batch has fewer than workers, or cannot be shared evenly one at a time.
        """
        workers = self.settings.workers
        counts = {"clip": clips} if images is None else {"clip": clips, "image": images}
        for what, count in counts.items():
            batch = min(self.recipe.batch_size, count)
            if batch < workers:
                raise NasError(
                    f"workers {workers} are more than the {plural(batch, what)} of a batch; allowed: 1 to {batch}"
                )
            if self.micro_batch == 1 and batch % workers:
                raise NasError(
                    f"a batch of {plural(batch, what)} in micro-batches of one does not divide by {workers} workers; "
                    f"allowed: multiples of {workers}"
                )

    @property
    def image_preprocessing(self) -> Preprocessing:
        """How a file becomes an image: one frame as large as those of clips; of a video the middle
        one.
        """
        return replace(self.preprocessing, frames=1, stride=None)

    @property
    def threads(self) -> int:
        """Threads of the CPU, of each worker."""
        return self.settings.threads or max(1, available_cores() // self.settings.workers)

    def clips(self, name: str, split: Split, sampling: Sampling) -> Clips:
        """Decodes a split.

        Raises:
            NasError: Too many of its clips cannot be read.
        """
        return load_split(split, sampling, name=name, workers=self.settings.decoders)

    @property
    def evaluation_batch(self) -> int:
        """Whole clips that are evaluated at a time: twice those of a step, or what takes no more
        memory than a step, whose stage may have smaller clips.
        """
        priced = cost(self.architecture)
        # Beside what an inference takes stand weights, two moments and the moving average.
        room = self.step_bytes - (3 + bool(self.recipe.ema)) * priced.parameter_bytes
        return max(1, min(2 * self.micro_batch, room // priced.inference_bytes))

    def describe(self) -> str:
        """What is going to be trained, a line each."""
        entry, recipe = self.architecture.input, self.recipe
        how_long = f"{self.settings.time:.0f} s" if self.settings.time else plural(recipe.epochs, "epoch")
        lines = [
            f"Training {self.architecture.name or 'a network'} at {entry.frames}x{entry.size[0]}x{entry.size[1]} on "
            f"{self.data.describe()}; {how_long} on {self.device}",
            f"recipe: {recipe.optimizer}, learning rate {recipe.lr:g}, batches of {recipe.batch_size}",
            f"memory: a step of {plural(self.micro_batch, 'clip')} takes {self.step_bytes / 1e9:.3g} GB, computed, of "
            f"the device's {self.device_bytes / 1e9:.3g}",
            *self.reasons,
        ]
        return "\n  ".join(lines)


def _device(settings: TrainSettings) -> torch.device:
    """The device, or the first of those that workers have.

    Raises:
        NasError: There is none such here, or it is one that workers cannot share.
    """
    if settings.workers > 1 and settings.device.startswith("cuda:"):
        raise NasError(
            f"device {settings.device!r} is one GPU, and each worker takes one of its own; allowed: auto, cpu, cuda"
        )
    return resolve_device(settings.device)


def _opened(spec: str, settings: TrainSettings) -> VideoData:
    data = open_data(spec, seed=settings.seed, flip=settings.flip, allow_outside=settings.allow_outside)
    return cached(data, settings.cache, settings.cache_gb)


def _of_images(images: VideoData, architecture: Architecture) -> str:
    """What the second head learns, as a reason.

    Raises:
        NasError: The network takes no second head.
    """
    frames = image_architecture(architecture, len(images.classes)).input.frames
    shown = "as a single frame" if frames == 1 else f"in all {frames} frames of a clip"
    return f"images: every second step, {images.describe().replace(' clips', ' images')}; each enters {shown}"


def _of_tubes(tubes: str, init: str | None, architecture: Architecture) -> str:
    """What the tubes of a small network are for, as a reason.

    Raises:
        NasError: The network has no gates, or begins with no weights, or there are no tubes.
    """
    if init is None:
        raise NasError(f"tubes {tubes!r} enter a network of which layers are fixed; allowed: --tubes beside --init")
    gate = first_gate(architecture)
    read_tubes(checkpoint(tubes))
    return f"tubes as given; layers before {gate} stay as --init fills them"


def _check_room(
    data: VideoData, images: VideoData | None, preprocessing: Preprocessing, settings: TrainSettings
) -> None:
    """Raises NasError where the decoded clips, and images, do not fit into the machine's memory, in
    which they are twice while workers are given them.
    """
    height, width = preprocessing.resized
    clips, stills = (
        (len(of.train) + len(of.val) + len(of.test or ())) * (1 + (settings.workers > 1)) if of else 0
        for of in (data, images)
    )
    frames, there = clips * preprocessing.frames + stills, memory_bytes(torch.device("cpu"))
    needed = frames * height * width * 3
    if needed > USABLE * there:
        beside = f" and {plural(stills, 'image')}" if stills else ""
        raise NasError(
            f"{plural(clips, 'clip')} of {preprocessing.frames}x{height}x{width}{beside} take {needed / 1e9:.3g} GB "
            "decoded, "
            f"and the machine has {there / 1e9:.3g} GB; allowed: up to {100 * USABLE:.0f} % of it, as with a smaller "
            "--clip or --resize"
        )


def _recipe(settings: TrainSettings, clips: int, architecture: Architecture) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with what the settings change of it, and the reasons."""
    start, reasons = start_of(settings.init, architecture), tuple[str, ...]()
    if settings.recipe is None:
        chosen = preset(clips, start, settings.epochs, settings.batch)
        recipe, reasons = chosen.recipe, chosen.reasons
        if settings.time is not None:
            reasons = ("as many epochs as the time has room for: timed before the first step", *reasons[1:])
    else:
        path = find_resource("recipe", settings.recipe, "recipes")
        recipe, reasons = read_recipe(path), (f"recipe {path.stem}: as asked, {start}",)
    changes: dict[str, object] = {"seed": settings.seed}
    if settings.epochs is not None:
        changes["epochs"] = settings.epochs
    if settings.batch is not None and settings.recipe is not None:
        changes["batch_size"] = settings.batch
        changes["lr"] = recipe.lr * settings.batch / recipe.batch_size
        reasons += (
            f"batches of {settings.batch} as asked; learning rate {changes['lr']:.3g}, in proportion to the batch",
        )
    if settings.class_weights is not None:
        changes["class_weights"] = settings.class_weights
    return recipe.changed(**changes), reasons


def start_of(init: str | None, architecture: Architecture) -> Start:
    """What weights a network begins with, by the names in the checkpoint, and by the network that
    it is of where it is of this package.

    Raises:
        NasError: It cannot be read.
    """
    if init is None:
        return Start.SCRATCH
    state = load_state(checkpoint(init))
    if not short_names(state) or starts_from_images(architecture_beside(init), architecture):
        return Start.IMAGES
    return Start.OWN


def checkpoint(init: str) -> str:
    """The file or name that `--init` means: of the folder of a trained network its weights."""
    inside = Path(init) / "model.safetensors"
    return str(inside) if inside.is_file() else init


def steps_in(seconds: float, step_seconds: float, evaluation_seconds: float, steps: int) -> int:
    """Training steps that a time has room for, at least one, where each epoch ends with an
    evaluation.

    Args:
        seconds: The time.
        step_seconds: Of a step.
        evaluation_seconds: Of an evaluation.
        steps: Of an epoch.
    """
    return max(1, math.floor(seconds / (step_seconds + evaluation_seconds / steps)))

"""What a search decides before anything is trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from nas.architecture import Architecture, ArchitectureError, Input, load
from nas.data.cache import cached
from nas.data.datasets import VideoData, open_data
from nas.data.doubts import doubts
from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.memory import CORES_PER_TRIAL, gpu_share, training_step_memory, trial_memory
from nas.limits.objectives import Objectives
from nas.limits.pace import Pace
from nas.limits.spread import Reach
from nas.limits.survey import check_budget, nearest
from nas.profiler.computed.cost import cost
from nas.profiler.measured.device import Conditions, available_cores, memory_bytes, resolve_device
from nas.resources import installed_version
from nas.runs.checks import floor_of, measured_under
from nas.runs.folder.record import ClipShape, ProxyRecord, RunRecord
from nas.runs.planning.effort import CEILING_SHARE, EPOCHS, NETWORKS, Effort, Time, duration, gflops, planned
from nas.runs.planning.shares import Shares
from nas.runs.planning.timing import MOST_SECONDS, PACE_SHARE, measured_memory_factor, measured_pace
from nas.runs.settings import MOST, Settings, split
from nas.space import SearchSpace
from nas.training.recipe import Recipe
from nas.trials.cluster import Node, cpus_per_trial, is_of_type, joined_nodes, resources, slots
from nas.trials.samplers import find_sampler
from nas.trials.scheduler import rungs
from nas.trials.trainable import Proxy
from nas.trials.tuning import Place, checked_storage
from nas.units import magnitude, plural
from nas.weights.image_start import ImageStart
from nas.weights.narrowing import narrowed

BATCH = Recipe(epochs=1).batch_size
SMALLEST = "tiny"  # the space for a machine that is too slow for another
PROXY_SIDES = (28, 32, 48, 64, 112)  # 28 is 224 / 8, so that maps stay whole windows
# Of proxies that begin with image weights: a rate that keeps them, and that of new parameters.
IMAGE_LR, IMAGE_NEW_LR = 5e-4, 4.0
PROXY_CELLS = 4  # fewer cells along a side leave nothing to see motion in


@dataclass(frozen=True)
class Plan:
    """A search whose every argument has been found good, before anything is trained."""

    settings: Settings
    console: Console
    space: SearchSpace
    budget: Budget
    data: VideoData
    target: Input
    device: torch.device
    proxy: Proxy
    workers: int
    gpus_per_trial: float
    gpu_type: str | None
    limited: bool
    doubts: tuple[str, ...]
    effort: Effort
    pace: Pace | None
    reach: Reach
    range: tuple[float, float]
    conditions: Conditions
    start: ImageStart | None = None

    @classmethod
    def of(
        cls, settings: Settings, console: Console, stored: Path | None = None, before: RunRecord | None = None
    ) -> Plan:
        """Reads space, budget and data, and decides what is left to decide.

        Args:
            settings: What was asked for.
            console: Where to tell of it.
            stored: The space of a run that is resumed.
            before: The record of that run.

        Raises:
            NasError: Something is not allowed, or nothing in the space meets the budget.
        """
        find_sampler(settings.sampler)
        if settings.storage is not None:
            checked_storage(settings.storage)
        budget = Budget.parse(settings.budget)
        name = Path(settings.space).stem if settings.around is None else f"around-{Path(settings.around).stem}"
        if stored or settings.around is None:
            space = SearchSpace.load(stored or settings.space)
        else:
            space = SearchSpace.around(load(settings.around), settings.edits)
        device = resolve_device(settings.device)
        if device.type == "cuda" and settings.device == str(device) and torch.cuda.device_count() > 1:
            raise NasError(
                f"device {settings.device!r} is one of several GPUs, and a search trains on all that it sees; allowed: "
                f"cuda, with CUDA_VISIBLE_DEVICES={device.index} in the environment for this one"
            )
        conditions = _conditions(settings, device)
        data = open_data(settings.data, seed=settings.seed, allow_outside=settings.allow_outside)
        found = doubts(data)
        if settings.strict and found:
            raise NasError(
                f"data {data.name!r} is doubtful: {'; '.join(found)}; allowed: data without, or a search without strict"
            )
        data = cached(data, settings.cache, settings.cache_gb)
        space = SearchSpace(space.with_classes(len(data.classes)).document, name)
        start = ImageStart.read(settings.init) if settings.init is not None else None
        if start is not None and not stored:
            space = narrowed(space, start).space
        gate = Gate(space, budget, refusal=start.misfit if start else None)
        check_budget(gate)
        on_gpu = device.type == "cuda"
        drawn = [gate.candidate(params) for params in gate.spread.drawn]
        inside = [priced for priced in drawn if not priced.violation] or [nearest(gate)]
        sample = [priced.architecture for priced in inside]
        frames, size = _proxy_input(sample, settings)
        proxies = [each.resized(frames, size) for each in sample]
        factor = 1.0
        if on_gpu:
            proxies.sort(key=lambda each: training_step_memory(cost(each), BATCH, BATCH))
            few = proxies[-1 :: -(1 + len(proxies) // 4)]
            known = before.memory_factor if before else None  # another would make other micro-batches
            factor = known or measured_memory_factor(few, Recipe(epochs=1), device)
        gpus = _gpus_per_trial(settings, proxies, device, factor)
        nodes = _nodes(settings.address, budget.gpu_type, device)
        place = (gpus if on_gpu else 0.0, budget.gpu_type)
        most = slots(nodes, 1, *place)
        workers = settings.workers or most
        if workers > most and not (on_gpu or settings.address or stored):
            raise NasError(f"workers {workers} are more than the {plural(most, 'core')} here; allowed: 1 to {most}")
        workers = min(workers, most)
        threads = cpus_per_trial(nodes, workers, *place)
        per_device = max(1, int(1 / gpus)) if on_gpu else 1
        if on_gpu:
            memory = trial_memory(memory_bytes(device), per_device)
        else:
            memory = min(
                trial_memory(node.memory_bytes, node.slots(threads, 0) if settings.address else workers)
                for node in nodes
                if node.cpus >= threads
            )
        if not stored and settings.train_clips < len(data.classes):
            raise NasError(
                f"train_clips {settings.train_clips} are fewer than the {len(data.classes)} classes; allowed: from "
                f"{len(data.classes)}"
            )
        efforts = _efforts(settings, data, sample[0].input, frames, size, before)
        time = _time(settings, workers)
        recipe = _recipe(efforts[0], settings, before)
        pace = Pace.nominal(threads, on_gpu)
        if before is not None:
            pace = before.pace or pace
        elif time is not None and not settings.reproducible:
            some = [(efforts[0].share * each.cost.macs, each.architecture.resized(frames, size)) for each in inside]
            seconds = min(MOST_SECONDS, PACE_SHARE * time.seconds)
            some = some[:: 1 + len(some) // 5]
            measured = measured_pace(some, recipe, device, threads, seconds, most_bytes=memory / factor)
            pace = measured.shared(per_device) if measured else pace
        low, high = gate.spread.macs
        effort = planned(efforts, pace, time, low, high)
        reach = _reach(settings, time.ceiling(effort, pace, low) if time else math.inf, before)
        proxy = Proxy(
            frames=effort.frames,
            size=effort.size,
            rungs=effort.rungs,
            rung_seconds=settings.rung_seconds,
            train_clips=settings.train_clips,
            val_clips=settings.val_clips,
            recipe=_recipe(effort, settings, before),
            threads=threads,
            device=device.type,
            memory_bytes=memory,
            trials_per_device=per_device,
            memory_factor=factor,
        )
        limited = settings.address is not None and slots(nodes, threads, *place) > workers
        return cls(
            *(settings, console, space, budget, data, sample[0].input, device, proxy, workers, *place, limited, found),
            *(effort, None if before and before.pace is None else pace, reach, (low, high), conditions, start),
        )

    def describe(self) -> str:
        """What is going to be searched, a line for each matter."""
        proxy, height, width = self.proxy, *self.proxy.size
        clips = min(proxy.train_clips, len(self.data.train))
        return (
            f"Searching space {self.space.name} (at most {magnitude(self.space.size)} networks"
            f"{f' that {self.start.source} can fill' if self.start else ''}) under "
            f"{self.budget} for {self.objectives} at {self.target.frames}x{self.target.size[0]}x{self.target.size[1]} "
            f"on {self.data.describe()}\n  proxies of "
            f"{proxy.frames}x{height}x{width}, {plural(proxy.recipe.epochs, 'epoch')} of {plural(clips, 'clip')}, "
            f"{self.workers} at a time"
            f"{self._kept()}{self._expected()}"
        )

    def _kept(self) -> str:
        """What of a limited time is not for the search."""
        shares = self.shares()
        uses = (
            (shares.control, "for random search"),
            (shares.confirmation, "to confirm the front"),
            (shares.baselines, "for published networks"),
        )
        parts = [f"{seconds / 60:.1f} min {use}" for seconds, use in uses if seconds]
        return f"\n  of {(self.settings.time or 0) / 60:.1f} min {' and '.join(parts)}" if parts else ""

    def _expected(self) -> str:
        """How many networks a limited time trains, up to which size, and what would change that;
        nothing where no pace is known.
        """
        time, (low, high) = _time(self.settings, self.workers), self.range
        if time is None or self.pace is None:
            return ""
        ceiling = self.reach.ceiling
        expected = min(time.networks(self.effort, self.pace, low, min(high, ceiling)), self.settings.trials or MOST)
        count = f"about {plural(expected, 'network')}" if expected else "none"
        text = f"\n  expected to be trained: {count}"
        if ceiling < high:
            needed = self.effort.seconds(self.pace, high) / CEILING_SHARE
            gpu = "" if self.device.type == "cuda" else " or a GPU"
            text += (
                f"\n  networks over {gflops(ceiling)} would take more than a twentieth of the time each here; "
                f"`--time {duration(needed)}`{gpu} reaches {gflops(high)}"
            )
        if expected < time.wanted:
            smaller = "" if self.space.name == SMALLEST else f"`nas search {SMALLEST}` or "
            more = duration(time.whole * time.wanted / max(1, expected))
            text += f"\n  {smaller}`--time {more}` trains {time.wanted} and more"
        return text

    def shares(self) -> Shares:
        """How a limited time is divided."""
        return Shares.of(self.settings)

    def trainings(self) -> tuple[int | None, int | None]:
        """How many networks the search trains, and its control; None where it is not limited."""
        if self.settings.trials is None:
            return None, None
        return split(self.settings.trials, self.settings.control_share)

    def place(self, folder: Path) -> Place:
        """Where its trials run."""
        settings = self.settings
        asked = resources(self.proxy.threads, self.gpus_per_trial, self.gpu_type)
        gpus = torch.cuda.device_count() if self.device.type == "cuda" else 0
        return Place(settings.address, self.workers, asked, settings.storage, folder, self.limited, gpus, self.gpu_type)

    def record(self, before: RunRecord) -> RunRecord:
        """What `run.json` says of it, beside what had come out before."""
        settings, proxy = self.settings, self.proxy
        recipe = asdict(proxy.recipe)
        return replace(
            before,
            space=self.space.name,
            budget=str(self.budget),
            data=settings.without_folders()["data"],
            data_description=self.data.describe(),
            doubts=self.doubts,
            classes=tuple(self.data.classes),
            chance=self.data.chance,
            proxy=ProxyRecord(proxy.frames, proxy.size, proxy.recipe.epochs, proxy.rungs, recipe),
            target=ClipShape(self.target.frames, self.target.size),
            workers=self.workers,
            device=self.device_name,
            pace=self.pace,
            memory_factor=proxy.memory_factor if self.device.type == "cuda" else before.memory_factor,
            ceiling=None if math.isinf(self.reach.ceiling) else self.reach.ceiling,
            objectives=self.objectives.names,
            versions={name: installed_version(name) for name in ("video-nas", "torch", "ray", "optuna")},
            settings=settings,
        )

    @property
    def objectives(self) -> Objectives:
        """What networks are compared by."""
        return Objectives.asked(self.settings.objectives, self.budget)

    @property
    def device_name(self) -> str:
        """The machine that networks are measured on, by the name that measurements keep."""
        return self.conditions.name

    @property
    def lag(self) -> int | None:
        """How many candidates may be under way when one is proposed; None for any number, as it is
        fastest.

        A spare one per worker keeps workers busy while the oldest ends.
        """
        if self.workers == 1:
            return 1
        return 2 * self.workers if self.settings.reproducible else None


def _proxy_input(sample: list[Architecture], settings: Settings) -> tuple[int, tuple[int, int]]:
    """Frames and size of the proxies: as asked, else the smallest that every sampled stem takes
    with a useful map.
    """
    target = sample[0].input
    frames = settings.proxy_frames or min(8, target.frames)
    asked = settings.proxy_size
    error: NasError | None = None
    for side in (asked,) if asked else (PROXY_SIDES + target.size):
        size = (min(side, target.size[0]), min(side, target.size[1]))
        try:
            stems = [architecture.resized(frames, size).parts()[0].output for architecture in sample]
        except ArchitectureError as refused:
            error = refused
            continue
        if asked or all(min(stem.height, stem.width) >= PROXY_CELLS for stem in stems if stem.grid):
            return frames, size
    if error:
        raise error
    return frames, target.size


def _nodes(address: str | None, gpu_type: str | None, device: torch.device) -> list[Node]:
    """The machines that have something to train on.

    Raises:
        NasError: A budget's type of GPU is not what this machine measures on, or there is no
            machine to train on.
    """
    product = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    if gpu_type and not is_of_type(product, gpu_type):
        raise NasError(
            f"budget of GPU type {gpu_type!r} cannot be kept where {product} is measured on; allowed: a search that is "
            f"started on a machine with {gpu_type}, or a limit without @"
        )
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    here = Node(available_cores(), gpus, memory_bytes(torch.device("cpu")), gpu_type)
    nodes = joined_nodes(address) if address else [here]
    usable = [node for node in nodes if node.slots(1, 1 if gpus else 0, gpu_type)]
    if not usable:
        wanted = gpu_type or ("a GPU" if gpus else "a CPU")
        known = sorted({node.gpu_type for node in nodes if node.gpu_type}) or ["none"]
        raise NasError(
            f"address {address!r} is of a cluster without {wanted} for trials; allowed: one with it; its GPU types: "
            f"{', '.join(known)}"
        )
    return usable


def _gpus_per_trial(settings: Settings, proxies: list[Architecture], device: torch.device, factor: float) -> float:
    """The share of a GPU that a trial takes; that of a CPU is not asked for."""
    if isinstance(settings.gpus_per_trial, float):
        return settings.gpus_per_trial
    if device.type == "cpu":
        return 1.0
    gpus, cores = torch.cuda.device_count(), available_cores()
    if settings.workers is not None:
        cores = min(cores, settings.workers * CORES_PER_TRIAL)
    needed = [factor * training_step_memory(cost(proxy), BATCH, BATCH) for proxy in proxies]
    return gpu_share(needed, memory_bytes(device), math.ceil(cores / gpus))


def _conditions(settings: Settings, device: torch.device) -> Conditions:
    """What networks are measured under.

    Raises:
        NasError: There is no graph here.
    """
    dtype, graph = measured_under(settings)
    return Conditions.here(str(device), dtype, cuda_graph=graph)


def _time(settings: Settings, workers: int) -> Time | None:
    """The time of the search, where it is limited."""
    seconds = Shares.of(settings).search
    if seconds is None:
        return None
    trials = NETWORKS if settings.trials is None else split(settings.trials, settings.control_share)[0]
    return Time(settings.time or seconds, seconds, workers, min(NETWORKS, trials))


def _efforts(
    settings: Settings,
    data: VideoData,
    target: Input,
    frames: int,
    size: tuple[int, int],
    before: RunRecord | None,
) -> list[Effort]:
    """What proxies may be, the least first: more epochs of the smallest input, then larger inputs;
    what was asked for stays, and a run that is resumed keeps its rungs, which its results are of.
    """
    kept = {} if before is None or before.proxy is None else {before.proxy.epochs: before.proxy.rungs}
    clips = min(settings.train_clips, len(data.train))
    evaluated = min(settings.val_clips, len(data.val)) + min(settings.val_clips, len(data.test) if data.test else 0)
    pixels = target.frames * target.size[0] * target.size[1]
    epochs = [settings.epochs] if settings.epochs else range(EPOCHS[0], EPOCHS[1] + 1)
    asked = settings.proxy_size is not None
    sizes = [size, *((n, n) for n in PROXY_SIDES if max(size) < n <= min(target.size) and not asked)]
    return [
        Effort(
            frames, each, kept.get(count, rungs(count)), clips, BATCH, evaluated, frames * each[0] * each[1] / pixels
        )
        for each in sizes
        for count in (epochs if each == size else epochs[-1:])
    ]


def _recipe(effort: Effort, settings: Settings, before: RunRecord | None) -> Recipe:
    """How proxies are trained: those of a run that is resumed as before, or its accuracies would
    not be of one kind.

    Raises:
        NasError: The run's recipe has a value that is not allowed.
    """
    recipe = Recipe(epochs=effort.rungs[-1], batch_size=effort.batch, seed=settings.seed)
    if settings.init is not None:
        recipe = recipe.changed(lr_channels=0, lr=IMAGE_LR, new_lr=IMAGE_NEW_LR, head_lr=IMAGE_NEW_LR)
    if before is None or before.proxy is None:
        return recipe
    known = {name: value for name, value in before.proxy.recipe.items() if name in Recipe.__dataclass_fields__}
    return recipe.changed(**{"lr_channels": 0, **known})  # runs from before there were rates by channels had one


def _reach(settings: Settings, ceiling: float, before: RunRecord | None) -> Reach:
    """Which part of the space is searched; with more time it only grows."""
    if before is not None and before.pace is None:  # a run from before there was one
        return Reach()
    if before is not None:
        ceiling = max(ceiling, math.inf if before.ceiling is None else before.ceiling)
    return Reach(floor_of(settings), ceiling)

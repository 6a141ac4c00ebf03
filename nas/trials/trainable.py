"""A trial: one candidate trained as a proxy, a rung at a time, by an actor that stays warm for the
next candidate.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from nas.architecture import Architecture
from nas.data.datasets import Clips, Split, VideoData, load_split
from nas.data.preprocessing import Preprocessing
from nas.data.unreadable import Unreadable
from nas.errors import context_lost, message_of, one_line, out_of_memory
from nas.limits.memory import PROCESS_BYTES, fitting_micro_batch, training_step_memory, trial_memory
from nas.models.attention import without_plans
from nas.models.convolution import placed
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.profiler.measured.device import memory_bytes
from nas.training.loop import Training, logits
from nas.training.recipe import Recipe
from nas.trials.results import Assignment, Failure, Report
from nas.trials.scheduler import SPACING
from nas.weights.image_start import ImageStart

MESSAGE_CHARACTERS = 500  # of what went wrong, as it is kept


@dataclass(frozen=True)
class ProxyData:
    """The decoded clips that all trials share."""

    train: Clips
    val: Clips
    test: Clips | None
    flip: bool

    @classmethod
    def read(cls, data: VideoData, proxy: Proxy, seed: int, workers: int) -> ProxyData:
        """Decodes the clips of the proxies once, a little larger than their input."""
        sampling = Preprocessing.of_input(proxy.frames, proxy.size).training

        def clips(name: str, split: Split, limit: int) -> Clips:
            return load_split(split, sampling, name=name, limit=limit, seed=seed, workers=workers)

        return cls(
            train=clips("train", data.train, proxy.train_clips),
            val=clips("val", data.val, proxy.val_clips),
            test=clips("test", data.test, proxy.val_clips) if data.test else None,
            flip=data.flip,
        )

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The clips that were left out."""
        return tuple(each for clips in (self.train, self.val, self.test) if clips for each in clips.unreadable)

    def sizes(self) -> dict[str, int]:
        """How many clips of each part there are."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: len(clips.labels) if clips else 0 for name, clips in parts.items()}

    def labels(self) -> dict[str, list[int]]:
        """The class of each clip that networks are judged on, by split."""
        parts = {"val": self.val, "test": self.test}
        return {name: clips.labels.tolist() for name, clips in parts.items() if clips}


@dataclass(frozen=True)
class Proxy:
    """How a candidate is trained as a proxy: the same architecture at a smaller input, on fewer
    clips.

    Attributes:
        frames, size: Input of the proxy; windows and tubes are clipped to its smaller maps.
        rungs: Epochs after which it is evaluated and may be stopped; the last one ends it.
        rung_seconds: If given, all rungs but the last are in seconds of training: the first after
            so many, each further one after `SPACING` times as many. The last rung stays the last
            epoch: what is worth it is trained to its end, however slow, and the learning rate,
            which follows the epochs, gets there.
        train_clips, val_clips: At most so many clips.
        recipe: How it is trained.
        threads: CPU threads of a trial.
        device: cpu or cuda.
        memory_bytes: What a trial may take to train its network.
        trials_per_device: So many share a GPU.
        memory_factor: Memory of a training there, over what is computed for it.
    """

    frames: int
    size: tuple[int, int]
    rungs: tuple[int, ...]
    train_clips: int
    val_clips: int
    recipe: Recipe
    threads: int
    device: str
    memory_bytes: float = math.inf
    rung_seconds: float | None = None
    trials_per_device: int = 1
    memory_factor: float = 1.0

    def thresholds(self) -> tuple[float, ...]:
        """The epochs or seconds to every rung; in seconds the last is inf, as training ends by
        epochs.
        """
        if self.rung_seconds is None:
            return self.rungs
        return (*(self.rung_seconds * SPACING**rung for rung in range(len(self.rungs) - 1)), math.inf)


def own_memory(device: torch.device, proxy: Proxy) -> float:
    """Bytes that a trial may take on the device that it runs on, which in a cluster may be smaller
    than that of the driver; and holds this process to its share of it.

    Torch holds its allocator alone to a share, so what the process takes beside it is taken off.
    """
    if device.type != "cuda":
        return proxy.memory_bytes
    total, trials = memory_bytes(device), proxy.trials_per_device
    torch.cuda.set_per_process_memory_fraction(max(0.0, 1 / trials - PROCESS_BYTES / total), device)
    return min(proxy.memory_bytes, trial_memory(total, trials))


def _share_right(called: tuple[int, ...], clips: Clips) -> float:
    return float((clips.labels == np.array(called)).mean())


class ProxyTrial(tune.Trainable):
    """Trains a candidate from rung to rung; `reset_config` takes the next candidate without a new
    process.
    """

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], proxy: Proxy, data: ProxyData, start: ImageStart | None = None
    ) -> None:
        """Takes the first `Assignment`; Ray calls this once in each process.

        Args:
            config: The assignment, as Ray passes it.
            proxy: How to train.
            data: The clips that all trials share.
            start: Image weights that every candidate begins with.
        """
        torch.set_num_threads(proxy.threads)
        self.proxy, self.data, self.image_start = proxy, data, start
        # Ray shows a process its own GPU alone, and torch takes a device only by its number where
        # shares of memory are set.
        self.torch_device = torch.device(proxy.device, 0) if proxy.device == "cuda" else torch.device(proxy.device)
        self.node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else None
        without_plans()
        self.memory_bytes = own_memory(self.torch_device, proxy)
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next assignment in the same process."""
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        """Nothing is built before the first step, from which on Ray watches over the trial."""
        self._forget()
        self.begun, self.assignment = False, Assignment.of(config)

    def _begin(self) -> Report | None:
        """Builds the network; returns why it cannot be trained, if it cannot."""
        proxy, assignment = self.proxy, self.assignment
        architecture = Architecture.parse(assignment.architecture).resized(proxy.frames, proxy.size)
        seed = proxy.recipe.seed + assignment.index if assignment.seed is None else assignment.seed
        self.seconds = 0.0
        self.curve: list[float] = []
        self.reached: list[int] = []
        self.losses: list[float] = []
        priced, batch, memory = cost(architecture), proxy.recipe.batch_size, self.memory_bytes
        micro_batch = fitting_micro_batch(priced, batch, memory / proxy.memory_factor)
        if not micro_batch:
            needed = proxy.memory_factor * training_step_memory(priced, batch, 1)
            error = f"training on one clip takes {needed / 1e9:.3g} GB, and {memory / 1e9:.3g} GB are there for a trial"
            return Report(error=error, failure="memory", violation=needed / memory - 1)
        self.architecture, self.recipe = architecture, replace(proxy.recipe, seed=seed)
        self._build(micro_batch)
        self.begun = True
        return None

    def _build(self, micro_batch: int) -> None:
        if self.torch_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.torch_device)
        torch.manual_seed(self.recipe.seed)
        self.model = build(self.architecture)
        new = self.image_start.fill(self.model).new if self.image_start else ()
        placed(self.model, self.torch_device)
        self.training = Training(
            self.model,
            self.data.train,
            self.proxy.size,
            self.recipe,
            self.data.flip,
            self.torch_device,
            micro_batch,
            new=new,
        )

    def step(self) -> dict[str, Any]:
        """Trains to the next rung and evaluates there; what goes wrong is a result too, so that its
        reason is kept: operators are anybody's and raise anything.

        Raises:
            RuntimeError: The device failed and not the candidate: Ray ends this process, in which
                nothing would run any more, and trains the candidate once more in another.
        """
        while True:
            try:
                failure = None if self.begun else self._begin()
                return (failure or self._train_to_rung()).to_ray()
            except Exception as error:
                if context_lost(error):
                    raise
                memory = out_of_memory(error)
                message = message_of(error) if memory else one_line(error)
            # Not while the error is handled, which holds all that the step that failed had made.
            if not memory or not self.begun or not self._halve():
                kind: Failure = "memory" if memory else "error"
                return Report(error=message[:MESSAGE_CHARACTERS], failure=kind).to_ray()

    def _forget(self) -> None:
        """Gives back what a network holds, to the other trials of a GPU as well."""
        for name in ("model", "training"):
            vars(self).pop(name, None)
        gc.collect()
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()

    def _halve(self) -> bool:
        """Begins the training again in smaller micro-batches, from the same seed; returns whether
        there are smaller ones.

        What a step takes is computed from the kernels of a CPU; those of a GPU may take more.
        """
        batch, last = self.recipe.batch_size, self.training.micro_batch
        smaller = next((n for n in range(last - 1, 0, -1) if batch % n == 0), 0)
        if not smaller:
            return False
        self._forget()
        self.curve, self.reached, self.losses, self.seconds = [], [], [], 0.0
        try:
            self._build(smaller)
        except (RuntimeError, MemoryError) as error:
            if context_lost(error) or not out_of_memory(error):
                raise
            return False
        return True

    def _train_to_rung(self) -> Report:
        """Trains to the first end of an epoch at or past the next rung; one long epoch may pass
        several rungs.
        """
        proxy, training = self.proxy, self.training
        thresholds = proxy.thresholds()
        last = False
        spent = 0.0
        while not last and spent < thresholds[len(self.curve)]:
            started = time.perf_counter()
            loss = training.epoch()
            self.seconds += time.perf_counter() - started
            self.losses.append(loss)
            if not math.isfinite(loss):
                error = f"the training diverged: the mean loss of epoch {training.epochs_done} is {loss}"
                return Report(error=error, failure="diverged")
            last = training.epochs_done >= proxy.rungs[-1]
            spent = training.epochs_done if proxy.rung_seconds is None else self.seconds
        val_called = self._called(self.data.val)
        score = _share_right(val_called, self.data.val)
        # A training that ends stands for every rung that it did not need.
        passed = len(thresholds) if last else sum(threshold <= spent for threshold in thresholds)
        self.curve += [score] * (passed - len(self.curve))
        self.reached += [training.epochs_done] * (passed - len(self.reached))
        # Nothing is decided by the test clips, so they are only looked at where a trial may end.
        test = self.data.test
        test_called = () if test is None else self._called(test)
        return Report(
            curve=tuple(self.curve),
            reached=tuple(self.reached),
            losses=tuple(self.losses),
            last=last,
            epochs=training.epochs_done,
            seconds=self.seconds,
            test_accuracy=None if test is None else _share_right(test_called, test),
            node=self.node,
            peak_bytes=torch.cuda.max_memory_allocated(self.torch_device) if self.torch_device.type == "cuda" else None,
            val_called=val_called if last else (),
            test_called=test_called if last else (),
        )

    def _called(self, clips: Clips) -> tuple[int, ...]:
        """The number of the class that each clip is called."""
        batch = 2 * self.training.micro_batch  # where nothing is kept for a backward pass, more fits
        found = logits(self.model, clips, self.proxy.size, self.torch_device, batch).argmax(dim=1)
        return tuple(found.tolist())

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Proxies keep no weights."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Proxies keep no weights."""

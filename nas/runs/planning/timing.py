"""How fast this device trains candidates, and in what memory: some seconds of real steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.limits.memory import USABLE, fitting_micro_batch, memory_factor, training_step_memory
from nas.limits.pace import Pace
from nas.models.attention import without_plans
from nas.models.convolution import placed
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.profiler.measured.device import memory_bytes
from nas.training.loop import Training
from nas.training.recipe import Recipe

STEPS = 3  # of each candidate that are timed behind the first, which is slower
MOST_SECONDS = 6.0  # of all
PACE_SHARE = 1 / 50  # of the time that is given, at most


def measured_pace(
    proxies: Sequence[tuple[float, Architecture]],
    recipe: Recipe,
    device: torch.device,
    threads: int,
    seconds: float = MOST_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
    most_bytes: float = math.inf,
) -> Pace | None:
    """Times training steps of some candidates, the cheapest first, for as long as there is time:
    one at least. Those that cannot be trained are left out, as the search will find out why: None
    where none can.

    Args:
        proxies: Multiply-adds of a clip and the network as it is trained, of several sizes.
        recipe: How they are trained.
        device: Where.
        threads: CPU threads of a trial.
        seconds: How long it may take.
        clock: In seconds.
        most_bytes: That a trial has.
    """
    before, started = torch.get_num_threads(), clock()
    torch.set_num_threads(threads)
    macs: list[float] = []
    taken: list[float] = []
    try:
        for clip_macs, proxy in sorted(proxies, key=lambda each: each[0]):
            of_a_step = 3 * clip_macs * recipe.batch_size
            # The next one takes as long as its size says, or there is no time for it.
            if taken and clock() - started + (1 + STEPS) * taken[-1] * of_a_step / macs[-1] > seconds:
                break
            if not (micro_batch := fitting_micro_batch(cost(proxy), recipe.batch_size, most_bytes)):
                continue
            try:
                step = _usual_step(proxy, recipe, device, clock, micro_batch)
            except Exception:  # nosec B112  # operators are anybody's: what a training raises is a result of its trial
                continue
            macs.append(of_a_step)
            taken.append(step)
    finally:
        torch.set_num_threads(before)
        if device.type == "cuda":  # trials share the GPU with this process
            torch.cuda.empty_cache()
    return Pace.fitted(macs, taken) if taken else None


def measured_memory_factor(
    proxies: Sequence[Architecture],
    recipe: Recipe,
    device: torch.device,
    peak: Callable[[torch.device, Callable[[], object]], int] | None = None,
) -> float:
    """Trains some candidates for two steps, in which the optimizer gets its moments, and returns
    `nas.limits.memory.memory_factor` of them. On a CPU, whose kernels are those computed for, it is
    1.

    Args:
        proxies: The networks as they are trained, of several sizes. Those that do not train are
            left out.
        recipe: How they are trained.
        device: Where.
        peak: Runs something and returns the most bytes that its tensors occupied; that of a GPU
            unless given.
    """
    if device.type != "cuda" and peak is None:
        return 1.0
    peak, batch = peak or _gpu_peak, recipe.batch_size
    computed, taken = [], []
    for proxy in proxies:
        priced = cost(proxy)
        if not (micro_batch := fitting_micro_batch(priced, batch, USABLE * memory_bytes(device))):
            continue

        def steps(proxy: Architecture = proxy, micro_batch: int = micro_batch) -> None:
            training = _training(proxy, recipe, device, micro_batch)
            for _ in range(2):
                training.step()

        try:
            taken.append(peak(device, steps))
        except Exception:  # nosec B112  # operators are anybody's: what a training raises is a result of its trial
            continue
        computed.append(training_step_memory(priced, batch, micro_batch))
    if device.type == "cuda":  # trials share the GPU with this process
        torch.cuda.empty_cache()
    return memory_factor(computed, taken)


def _gpu_peak(device: torch.device, run: Callable[[], object]) -> int:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _training(proxy: Architecture, recipe: Recipe, device: torch.device, micro_batch: int) -> Training:
    """A network on noise, as a trial trains it."""
    if device.type == "cuda":
        without_plans()
    rng, (height, width) = np.random.default_rng(0), proxy.input.size
    shape = (recipe.batch_size, proxy.input.frames, height, width, 3)
    labels = np.arange(recipe.batch_size) % proxy.num_classes
    clips = Clips(rng.integers(0, 256, shape, np.uint8), labels.astype(np.int64))
    return Training(placed(build(proxy), device), clips, proxy.input.size, recipe, False, device, micro_batch)


def _usual_step(
    proxy: Architecture, recipe: Recipe, device: torch.device, clock: Callable[[], float], micro_batch: int
) -> float:
    """Seconds of the median step of a network's training loop: what else runs here will run beside
    the search as well.
    """
    training, taken = _training(proxy, recipe, device, micro_batch), []
    for _ in range(1 + STEPS):
        begin = clock()
        training.step()  # an epoch of one step, whose loss is read, so that a GPU is waited for
        taken.append(clock() - begin)
    return max(float(np.median(taken[1:])), 1e-6)

"""How fast this device trains candidates: some seconds of real training steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from nas.architecture import Architecture
from nas.data.clips import Clips
from nas.limits.memory import fitting_micro_batch
from nas.limits.pace import Pace
from nas.models.convolution import lay_out_channels_last
from nas.models.network import build
from nas.profiler.computed.cost import cost
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
    memory_bytes: float = math.inf,
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
        memory_bytes: That a trial has.
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
            if not (micro_batch := fitting_micro_batch(cost(proxy), recipe.batch_size, memory_bytes)):
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


def _usual_step(
    proxy: Architecture, recipe: Recipe, device: torch.device, clock: Callable[[], float], micro_batch: int
) -> float:
    """Seconds of the median step of a network's training loop: what else runs here will run beside
    the search as well.
    """
    rng, (height, width) = np.random.default_rng(0), proxy.input.size
    shape = (recipe.batch_size, proxy.input.frames, height, width, 3)
    labels = np.arange(recipe.batch_size) % proxy.num_classes
    clips = Clips(rng.integers(0, 256, shape, np.uint8), labels.astype(np.int64))
    network = build(proxy).to(device)
    if device.type == "cuda":  # as trials do
        lay_out_channels_last(network)
    training = Training(network, clips, proxy.input.size, recipe, False, device, micro_batch)
    taken = []
    for _ in range(1 + STEPS):
        begin = clock()
        training.step()  # an epoch of one step, whose loss is read, so that a GPU is waited for
        taken.append(clock() - begin)
    return max(float(np.median(taken[1:])), 1e-6)

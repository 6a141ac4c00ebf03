"""Some seconds of real training steps: how fast a device trains candidates, and in what memory.

`nas.runs.planning.timing` asks for them. On a GPU they are taken by a fresh process, this module as
a program: whoever computes there has a context of some hundred megabytes for as long as it lives,
and a GPU in exclusive mode takes in nobody else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
from nas.profiler.measured.device import memory_bytes, resolve_device
from nas.profiler.measured.process import serve
from nas.training.loop import Training
from nas.training.recipe import Recipe

STEPS = 3  # of each candidate that are timed behind the first, which is slower


@dataclass(frozen=True)
class PaceLimits:
    """What steps that are timed may take; see `pace_of_steps`.

    Attributes:
        macs: Multiply-adds of a clip of each network.
        threads: CPU threads of a trial.
        seconds: For all networks.
        most_bytes: That a trial has.
    """

    macs: list[float]
    threads: int
    seconds: float
    most_bytes: float


@dataclass(frozen=True)
class StepsRequest:
    """What is trained for some steps.

    Attributes:
        device: Its name.
        recipe: How networks are trained.
        architectures: Their documents, as they are trained.
        timed: What there is to time them; None asks for their memory.
    """

    device: str
    recipe: Recipe
    architectures: list[dict[str, Any]]
    timed: PaceLimits | None


@dataclass(frozen=True)
class StepsAnswer:
    """What was asked for.

    Attributes:
        pace: None where nothing was timed.
        factor: On the memory that is computed; 1 where none was measured.
    """

    pace: Pace | None = None
    factor: float = 1.0


def answered(request: StepsRequest) -> Iterator[StepsAnswer]:
    """Trains what is asked for in this process, as a trial in its own, and yields one answer."""
    without_plans()
    device, timed = resolve_device(request.device), request.timed
    proxies = [Architecture.parse(document) for document in request.architectures]
    if timed is None:
        yield StepsAnswer(factor=memory_factor_of_steps(proxies, request.recipe, device))
    else:
        pairs = list(zip(timed.macs, proxies, strict=True))
        limits = timed.threads, timed.seconds, timed.most_bytes
        yield StepsAnswer(pace_of_steps(pairs, request.recipe, device, *limits))


def pace_of_steps(
    proxies: Sequence[tuple[float, Architecture]],
    recipe: Recipe,
    device: torch.device,
    threads: int,
    seconds: float,
    most_bytes: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
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
        most_bytes: That a trial has.
        clock: In seconds.
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
    return Pace.fitted(macs, taken) if taken else None


def memory_factor_of_steps(
    proxies: Sequence[Architecture],
    recipe: Recipe,
    device: torch.device,
    peak: Callable[[torch.device, Callable[[], object]], int] | None = None,
) -> float:
    """Trains some candidates for two steps, in which the optimizer gets its moments, and returns
    `nas.limits.memory.memory_factor` of them.

    Args:
        proxies: The networks as they are trained, of several sizes. Those that do not train are
            left out.
        recipe: How they are trained.
        device: Where.
        peak: Runs something and returns the most bytes that its tensors occupied; that of a GPU
            unless given.
    """
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


if __name__ == "__main__":
    serve(StepsRequest, answered)

"""Memory of the machine that trains: how much a trial may take, and in what batches a network
trains in it.

It is a limit of another kind than a budget's: a step that does not fit is taken in smaller batches,
and only a network of which not one clip fits is over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nas.profiler.computed.cost import Cost

USABLE = 0.8  # of a device's memory; the rest goes to the allocator's fragments and kernels' workspaces
PROCESS_BYTES = 0.6e9  # of a trial beside what it trains: libraries and, on a GPU, its context
LIKELY = 0.9  # of the candidates that a trial's share of a GPU is meant for
MOST_PER_GPU = 8
CORES_PER_TRIAL = 2  # on a GPU: one launches, the other is for what torch and Ray do beside it


def training_step_memory(cost: Cost, batch: int, micro_batch: int) -> int:
    """Bytes of a training step in float32 with AdamW, at most: those of a micro-batch, beside the
    gradients so far.
    """
    return cost.training_bytes("adamw", micro_batch) + (cost.parameter_bytes if micro_batch < batch else 0)


def fitting_micro_batch(cost: Cost, batch: int, memory_bytes: float) -> int:
    """The largest divisor of a batch that trains in so much memory; 0 if not even one clip does."""
    return largest_fitting(batch, memory_bytes, lambda n: training_step_memory(cost, batch, n))


def largest_fitting(batch: int, memory_bytes: float, needed: Callable[[int], float]) -> int:
    """The same for what so many clips are said to need."""
    return next((n for n in range(batch, 0, -1) if batch % n == 0 and needed(n) <= memory_bytes), 0)


def memory_factor(computed: Sequence[float], taken: Sequence[float]) -> float:
    """Memory of a training on a device, over what is computed for it: the largest of some networks,
    as what does not fit trains anew in smaller batches. 1 where none is known.

    What is computed is float32 with the kernels of a CPU. Mixed precision keeps half, and backward
    passes of attention kernels take workspaces.

    Args:
        computed: Bytes of a step, as `training_step_memory` has them.
        taken: The most bytes that the same steps occupied.
    """
    return max((t / c for c, t in zip(computed, taken, strict=True)), default=1.0)


def gpu_share(needed_bytes: Sequence[float], gpu_bytes: float, cores: int) -> float:
    """The share of a GPU that a trial takes, so that nine of ten candidates train with their whole
    batch, and each has cores to launch from.

    Args:
        needed_bytes: Of a training step of likely candidates.
        gpu_bytes: Memory of the GPU.
        cores: That there are for its trials.

    Returns:
        One of 1, 1/2, ..., 1/8, rounded down to what Ray tells apart, so that as many as that do
        run side by side.
    """
    largest = float(np.quantile(needed_bytes, LIKELY))
    most = min(MOST_PER_GPU, cores // CORES_PER_TRIAL)
    trials = next((n for n in range(most, 1, -1) if trial_memory(gpu_bytes, n) >= largest), 1)
    return math.floor(1e4 / trials) / 1e4


def trial_memory(device_bytes: float, trials: int) -> float:
    """Bytes that networks, their gradients and activations may take in each of several trials on
    one device.
    """
    return max(1.0, USABLE * device_bytes / trials - PROCESS_BYTES)

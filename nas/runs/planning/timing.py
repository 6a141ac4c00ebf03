"""How fast this device trains candidates, and in what memory, asked of some real steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import TypeAdapter

from nas.architecture import Architecture
from nas.limits.pace import Pace
from nas.profiler.measured.process import MeasuringProcess
from nas.runs.planning.steps import PaceLimits, StepsAnswer, StepsRequest, pace_of_steps
from nas.training.recipe import Recipe

MOST_SECONDS = 6.0  # of all
PACE_SHARE = 1 / 50  # of the time that is given, at most
MODULE = "nas.runs.planning.steps"  # of the process that trains on a GPU

_ANSWER = TypeAdapter(StepsAnswer)


def measured_pace(
    proxies: Sequence[tuple[float, Architecture]],
    recipe: Recipe,
    device: torch.device,
    threads: int,
    seconds: float,
    most_bytes: float,
) -> Pace | None:
    """Times training steps of some candidates, as `nas.runs.planning.steps.pace_of_steps` does with
    the same arguments.

    On a CPU that is done here: a process leaves nothing on it, and takes longer to start than the
    steps may of a search of some minutes.

    Raises:
        NasError: The process that trains on a GPU died.
    """
    if device.type != "cuda":
        return pace_of_steps(proxies, recipe, device, threads, seconds, most_bytes)
    limits = PaceLimits([macs for macs, _ in proxies], threads, seconds, most_bytes)
    return _asked([proxy for _, proxy in proxies], recipe, device, limits).pace


def measured_memory_factor(proxies: Sequence[Architecture], recipe: Recipe, device: torch.device) -> float:
    """Trains some candidates on a GPU for two steps and returns what
    `nas.runs.planning.steps.memory_factor_of_steps` does of them.

    Raises:
        NasError: The process that trains died.
    """
    return _asked(proxies, recipe, device, None).factor


def _asked(
    proxies: Sequence[Architecture], recipe: Recipe, device: torch.device, timed: PaceLimits | None
) -> StepsAnswer:
    request = StepsRequest(str(device), recipe, [proxy.document() for proxy in proxies], timed)
    with MeasuringProcess(MODULE, f"training some candidates on {device} before the search") as process:
        (answer,) = process.ask(request, _ANSWER)
    return answer

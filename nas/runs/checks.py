"""What is wrong with the settings of a search by themselves, found before torch, Ray and Optuna are
loaded: a user who misspelt a word waits for none of them.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from nas.architecture import load
from nas.data.datasets import check_source
from nas.data.strips import STRIPS
from nas.data.unreadable import UNREADABLE
from nas.errors import NasError, brief
from nas.limits.budget import Budget
from nas.limits.objectives import Objectives
from nas.locks import LOCK
from nas.runs.folder.record import RECORD
from nas.runs.settings import Settings
from nas.space import SearchSpace
from nas.trials.samplers import find_sampler

# What a run has that was cut off before its record was there.
_BEFORE_RECORD = ("architectures", "space.yaml", UNREADABLE, STRIPS, LOCK)
DTYPES = ("fp32", "bf16", "fp16")  # of `nas.profiler.measured.device`, which brings torch


def check_settings(settings: Settings) -> None:
    """Refuses a budget, a name or a path that is none; what depends on the machine or on the data
    is found when the search is planned.

    Raises:
        NasError: The first that is wrong.
    """
    Objectives.asked(settings.objectives, Budget.parse(settings.budget))
    floor_of(settings)
    measured_under(settings)
    find_sampler(settings.sampler)
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", settings.device):
        raise NasError(f"device {brief(settings.device)} is unknown; allowed: auto, cpu, cuda or cuda:0")
    check_source(settings.data)
    if settings.around is None:
        space = SearchSpace.load(settings.space)
    else:
        space = SearchSpace.around(load(settings.around), settings.edits)
    target = space.sample(settings.seed).input
    frames, size, most = settings.proxy_frames, settings.proxy_size, max(target.size)
    asked = {"proxy_frames": (frames, target.frames), "proxy_size": (size, most)}
    for name, (value, high) in asked.items():
        if value is not None and not 2 <= value <= high:
            why = "shows no motion" if value < 2 else "is more than the search space has"
            if frames is None or size is None:
                raise NasError(f"{name} {value} {why}; allowed: 2 to {high}")
            # As `--proxy` has them.
            raise NasError(f"proxy {frames}x{size} {why}; allowed: 2 to {target.frames} frames x a size of 2 to {most}")


def check_new(folder: Path) -> None:
    """Refuses a folder that holds a run, or anything else, and one that cannot be: a file has its
    name, or the name of a folder above it.

    Raises:
        NasError: It is none of a new run.
    """
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), None)
    if there is not None and not there.is_dir():
        raise NasError(f"out {str(folder)!r} cannot be made ({str(there)!r} is no folder); allowed: a new folder")
    if (folder / RECORD).exists():
        raise NasError(f"out {str(folder)!r} holds a run already; allowed: a new folder, or --resume {folder}")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if others := [name for name in names if name not in _BEFORE_RECORD and not name.startswith(".")]:
        raise NasError(
            f"out {str(folder)!r} holds other files, such as {brief(others[0])}; allowed: a new folder, or an empty one"
        )


def measured_under(settings: Settings) -> tuple[str, bool]:
    """The dtype that networks are measured in, and whether as a CUDA graph.

    Raises:
        NasError: There is no such dtype, or a word stands twice.
    """
    words = [word.strip() for word in settings.measure.split(",")]
    dtypes = [word for word in words if word != "graph"]
    if len(dtypes) > 1 or len(words) - len(dtypes) > 1 or not set(dtypes) <= set(DTYPES):
        raise NasError(
            f"measure {brief(settings.measure)} is not allowed; allowed: one of {', '.join(DTYPES)}, and graph"
        )
    return dtypes[0] if dtypes else DTYPES[0], "graph" in words


def floor_of(settings: Settings) -> float | None:
    """Below which cost nothing is proposed, in the unit in which it is stored; None where that
    follows from what can be reached.

    Raises:
        NasError: It is no number of what networks are compared by first, or not below its limit.
    """
    if settings.floor is None:
        return None
    budget = Budget.parse(settings.budget)
    metric = Objectives.asked(settings.objectives, budget).costs[0]
    (floor, *others) = Budget.parse(settings.floor).limits
    most = next((limit.high for limit in budget.limits if limit.metric == metric.name), math.inf)
    if others or floor.low or floor.metric != metric.name or floor.high >= most:
        units = ", ".join(metric.budget_units)
        raise NasError(
            f"floor {brief(settings.floor)} begins nothing; allowed: one number of {units}, below the limit of {budget}"
        )
    return floor.high

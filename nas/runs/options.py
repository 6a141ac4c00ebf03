"""The names and types of what `nas.search` and `nas.runs.search.resume` take, for type checkers and
editors, which see nothing of a list that is made when the program runs. What each means, its
default and its check stand in `nas.runs.settings`, and a test holds one list to the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict


class ResumeOptions(TypedDict, total=False):
    """What may be changed when a run is resumed."""

    budget: str | None
    trials: int | None
    time: float | str | None
    trial_timeout: float | str | None
    measure_seconds: float | str | None
    confirm_seeds: int | None
    baselines: str | None
    address: str | None
    storage: str | Path | None
    allow_outside: bool | None
    cache: str | Path | None
    cache_gb: float | None


class SearchOptions(TypedDict, total=False):
    """What a search takes beside its space, budget and data."""

    around: str | Path | None
    edits: int
    init: str | Path | None
    floor: str | None
    objectives: str | None
    allow_outside: bool
    strict: bool
    cache: str | Path | None
    cache_gb: float
    train_clips: int
    val_clips: int
    epochs: int | None
    rung_seconds: float | str | None
    proxy_frames: int | None
    proxy_size: int | None
    trials: int | None
    time: float | str | None
    trial_timeout: float | str | None
    measure: str
    measure_seconds: float | str
    confirm_seeds: int
    baselines: str | None
    control: str | None
    seed: int
    sampler: str
    reproducible: bool
    device: str
    workers: int | None
    gpus_per_trial: float | Literal["auto"] | None
    address: str | None
    storage: str | Path | None

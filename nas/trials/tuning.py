"""Ray Tune, as a search uses it: trials placed on a cluster, processes that stay warm, and how busy
they were kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from nas.errors import NasError
from nas.trials.cluster import check_placement, connect, scratch

RETRIES = 1  # of a trial whose process or device failed, in a process of its own


@dataclass(frozen=True)
class Place:
    """Where trials run and what Ray writes.

    Attributes:
        address: Of a running cluster, or None for this machine.
        workers: Trials at a time.
        resources: What each asks Ray for.
        storage: Folder or URI for what Ray stores; by default it is thrown away.
        folder: The run folder, where nodes of a joined cluster find Ray's files if no storage is
            named.
        limited: Whether resources would let more trials than `workers` run at a time.
        gpus: Of this machine, as torch counts them.
        gpu_type: The type of these GPUs that the budget names.
    """

    address: str | None
    workers: int
    resources: dict[str, float]
    storage: str | None
    folder: Path
    limited: bool = False
    gpus: int = 0
    gpu_type: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How trials went.

    Attributes:
        interrupted: Whether the user stopped them.
        step_seconds: Of all trials inside `Trainable.step`, evaluation included.
        slot_seconds: Workers times the wall time since Ray had started the first trial's process.
    """

    interrupted: bool
    step_seconds: float
    slot_seconds: float

    def __add__(self, other: Outcome) -> Outcome:
        """That of both, one after the other."""
        return Outcome(
            self.interrupted or other.interrupted,
            self.step_seconds + other.step_seconds,
            self.slot_seconds + other.slot_seconds,
        )


class _Steps(tune.Callback):
    """Adds up the time that trials spend in steps.

    Args:
        begun: Takes the names of the trials whose training began.
    """

    def __init__(self, begun: set[str]) -> None:
        self.seconds = 0.0
        self.started: float | None = None
        self._begun = begun
        self._since: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        now = self._since[trial.trial_id] = time.monotonic()
        self.started = self.started or now
        self._begun.add(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self.seconds += result["time_this_iter_s"]
        self._since[trial.trial_id] = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._since.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._since.pop(trial.trial_id, None)

    def until(self, now: float) -> float:
        """Seconds in steps, with those that are cut off now."""
        return self.seconds + sum(now - since for since in self._since.values())


class _Deadline(tune.Callback):
    """Ends the process of a training that takes longer than one may: what hangs listens to nothing
    else. It is not tried again.

    Args:
        seconds: That a training may take.
        expired: Takes the names of the trials that were ended.
    """

    def __init__(self, seconds: float, expired: set[str]) -> None:
        self._seconds, self._expired = seconds, expired
        self._since: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._since[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        now = time.monotonic()
        for trial in trials:
            began = self._since.get(trial.trial_id, now)
            if trial.is_finished():
                self._since.pop(trial.trial_id, None)
            elif now - began > self._seconds and trial.temporary_state.ray_actor is not None:
                self._since.pop(trial.trial_id)
                self._expired.add(trial.trial_id)
                trial.max_failures = 0
                ray.kill(trial.temporary_state.ray_actor)


class StatelessSearcher(Searcher):
    """A searcher whose memory is a file that it writes itself; Ray keeps a copy of it beside the
    trials.

    It names no metric: Ray would refuse results without one, and a training that failed has none.

    Attributes:
        expired: Trials, by Ray's name, that were ended because they took longer than one may.
        begun: Trials whose training began. Ray tries one again whose process is lost in training,
            and gives up one whose process is lost before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expired: set[str] = set()
        self.begun: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _OneAhead(ConcurrencyLimiter):
    """Suggests one trial more than there are workers, so that whoever gets free finds one.

    That one is started before the next is suggested. With a limit, Ray also starts processes at the
    same time and not one after the other.
    """

    _freed = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self._freed:
            self._freed = False
            return None
        return super().suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        super().on_trial_complete(trial_id, result, error)
        # Where nothing else is under way, Ray would wait a second before it asks again.
        self._freed = len(self.live_trials) > 1


def run_trials(
    trainable: type[tune.Trainable],
    parameters: Mapping[str, Any],
    place: Place,
    searcher: StatelessSearcher,
    scheduler: TrialScheduler | None = None,
    samples: int | None = None,
    seconds: float | None = None,
    trial_seconds: float | None = None,
) -> Outcome:
    """Runs what a searcher suggests, one process per worker for all of it.

    Args:
        trainable: One that can be reset.
        parameters: Of its `setup`; kept once in Ray's object store, from which every process reads
            arrays in place.
        place: Where.
        searcher: Suggests configs, and is told results.
        scheduler: Stops trials; without one all come to their end.
        samples: At most so many trials.
        seconds: At most so long.
        trial_seconds: That each may take; one that takes longer, as it hangs, ends with an error
            and its name in `searcher.expired`.

    Raises:
        NasError: The cluster cannot be joined, or the storage cannot be opened.
    """
    sharing = 0 < place.resources.get("GPU", 0) < 1
    connect(place.address, int(place.workers * place.resources["CPU"]), place.gpus, place.gpu_type, sharing=sharing)
    check_placement(place.resources)
    # What goes wrong in a trial is its result; Ray would print where in Ray it was noticed.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    steps = _Steps(searcher.begun)
    interrupted = False
    with _storage(place) as storage:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, **parameters), tune.PlacementGroupFactory([place.resources])
            ),
            tune_config=tune.TuneConfig(
                search_alg=_OneAhead(searcher, place.workers + (not place.limited)),
                scheduler=scheduler,
                num_samples=-1 if samples is None else samples,
                time_budget_s=seconds,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=place.folder.name,
                storage_path=storage,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[steps, *([_Deadline(trial_seconds, searcher.expired)] if trial_seconds else [])],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            interrupted = True
    ended = time.monotonic()
    return Outcome(interrupted, steps.until(ended), place.workers * (ended - (steps.started or ended)))


@contextmanager
def _storage(place: Place) -> Iterator[str]:
    """What is named stays, what is not goes: the journal is a run's memory, and proxies keep no
    weights.
    """
    if place.storage is not None:
        yield checked_storage(place.storage)
        return
    with scratch(None if place.address is None else place.folder.resolve()) as folder:
        yield folder


def checked_storage(storage: str) -> str:
    """Returns a folder's whole path, or the URI of a filesystem, in which the folder is made: only
    that shows that it is there and may be written.

    Raises:
        NasError: It is a file, pyarrow knows no such filesystem, or the folder cannot be made.
    """
    if "://" not in storage:
        folder = Path(storage).resolve()
        if folder.exists() and not folder.is_dir():
            raise NasError(f"storage {storage!r} is a file; allowed: a folder, or a URI that pyarrow opens")
        return str(folder)
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    try:
        filesystem, path = FileSystem.from_uri(storage)
        filesystem.create_dir(path)
    except (ArrowException, OSError, ValueError) as error:
        raise NasError(
            f"storage {storage!r} cannot be opened ({' '.join(str(error).split())}); allowed: a folder, or a URI that "
            f"pyarrow opens, such as s3://bucket/runs"
        ) from None
    return storage

"""One training in several processes of Ray Train, on this machine or on the nodes of a cluster.

The driver decodes the clips, of which each machine then has one copy, shows what the first worker
tells, and begins again with new workers where some were lost. What is known of the training is the
state in its folder, so nothing is lost but steps since the last one, which are taken again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray.exceptions import RayActorError, RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas.errors import Interrupted, NasError, one_line
from nas.profiler.measured.device import available_cores, memory_bytes
from nas.trained.decoded import Decoded
from nas.trained.moment import Moment, Say, Show
from nas.trained.plan import Plan
from nas.trained.stopping import stop_signals
from nas.trained.train import INSIDE, SETTINGS, STATE, Session, SessionState
from nas.training.state import read_state
from nas.training.workers import Workers
from nas.trials.cluster import Node, connect, cpus_per_trial, joined_nodes, resources, scratch, session, slots
from nas.units import plural

T = TypeVar("T")
RETRIES = 3  # in a row without a new state in between
LOOK_SECONDS = 0.2  # between two looks at what was told
Word = str | Moment | Interrupted  # that the first worker tells: it says, it shows, it has stopped


@dataclass(frozen=True)
class Room:
    """Where workers run, and what they get of the machines.

    Attributes:
        address: Of a running cluster, or None for this machine.
        threads: Of the CPU, each.
        gpus: Each, 0 or 1.
        gpus_here: That a Ray on this machine has.
    """

    address: str | None
    threads: int
    gpus: int
    gpus_here: int

    @classmethod
    def of(cls, plan: Plan, address: str | None = None) -> Room:
        """Looks for room, without starting anything here.

        Args:
            plan: Says how many workers there are.
            address: Of a running cluster, or None for this machine.

        Raises:
            NasError: There is too little, or no cluster.
        """
        settings, gpus = plan.settings, int(plan.device.type == "cuda")
        gpus_here = torch.cuda.device_count() if gpus else 0
        here = Node(available_cores(), gpus_here, memory_bytes(torch.device("cpu")))
        nodes = joined_nodes(address) if address else [here]
        threads = settings.threads or cpus_per_trial(nodes, settings.workers, gpus)
        most = slots(nodes, threads, gpus)
        if settings.workers > most:
            each = f"{plural(threads, 'thread')}{' and a GPU' if gpus else ''} each"
            where = f"the cluster {address!r}" if address else "this machine"
            raise NasError(
                f"workers {settings.workers} of {each} are more than {where} has room for; allowed: up to {most}"
                + (", or fewer --threads" if settings.threads else "")
            )
        return cls(address, threads, gpus, gpus_here)


class _Board:
    """Where the first worker tells what goes on, and reads whether it is to stop."""

    def __init__(self) -> None:
        self._told: list[Word] = []
        self._stopped = False

    def tell(self, word: Word) -> bool:
        """Hands on a word; returns whether the training is to stop."""
        self._told.append(word)
        return self._stopped

    def read(self, stop: bool) -> list[Word]:
        """What was told since the last time; leaves the wish to stop."""
        self._stopped = stop
        told, self._told = self._told, []
        return told


@dataclass(frozen=True)
class _Job:
    """What a worker is handed.

    Attributes:
        plan: With the device of the driver.
        folder: Its whole path.
        here: The folder that the driver's paths start from.
        decoded: The clips, in Ray's store.
        board: Handle of the driver's `_Board`.
        spent: Seconds that have passed before, beside those that the state in the folder counts.
    """

    plan: Plan
    folder: Path
    here: str
    decoded: Any
    board: Any
    spent: float


def run_on_workers(room: Room, plan: Plan, folder: Path, show: Show, say: Say) -> None:
    """Trains to the end in workers, from where the folder says that the training stands.

    Args:
        room: Where.
        plan: What to train.
        folder: Of the training; of a cluster all nodes see it.
        show: Called with what the first worker shows.
        say: Called with what it says.

    Raises:
        NasError: Something cannot be done, or workers are lost again and again.
        Interrupted: Ctrl-C or SIGTERM; the state is kept.
    """
    state, began = folder / INSIDE / STATE, time.monotonic()
    before = _seconds(state)
    count = plan.settings.workers
    plan = replace(plan, settings=replace(plan.settings, threads=room.threads))
    decoded = Decoded.read(plan, folder)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # it is told in our words
    with session(), stop_signals() as stopped:
        connect(room.address, count * room.threads, room.gpus_here)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        job = _Job(plan, folder.resolve(), os.getcwd(), ray.put(decoded), board, 0.0)
        del decoded  # which is in the store
        with scratch(folder.resolve() if room.address else None) as storage:

            def attempt() -> Interrupted | None:
                spent = time.monotonic() - began - (_seconds(state) - before)
                return _follow(_trainer(replace(job, spent=spent), room, storage), board, show, say, stopped)

            interrupted = _persist(attempt, folder, say)
    if interrupted is not None:
        raise Interrupted(f"{interrupted}{f' --address {room.address}' if room.address else ''}")


def _persist(attempt: Callable[[], T], folder: Path, say: Say) -> T:
    """Begins anew with other workers where some failed, as long as there is a new state now and
    then.

    Args:
        attempt: Runs workers to their end.
        folder: Of the training.
        say: Takes sentences about what goes on.

    Raises:
        NasError: What a user can mend, which is not tried again, or one failure too many.
    """
    state, in_a_row = folder / INSIDE / STATE, 0
    while True:
        written = _changed(state)
        try:
            return attempt()
        except RayError as error:
            raise NasError(
                f"Ray lost what looks after the workers ({one_line(error)}); allowed: {_again(folder)}"
            ) from error
        except TrainingFailedError as error:
            told: dict[int, Exception] = getattr(error, "worker_failures", {})
            for each in told.values():  # where one fails, the others miss it
                if isinstance(each, NasError):
                    raise each from error
            dead = [rank for rank, each in told.items() if isinstance(_cause(each), RayActorError)]
            reason = f"worker {dead[0]} died" if dead else one_line(next(iter(told.values()), error))
            in_a_row = 1 if _changed(state) != written else in_a_row + 1
            if in_a_row > RETRIES:
                raise NasError(
                    f"workers failed {in_a_row} times in a row without a new state, at last as {reason}; allowed: "
                    f"{_again(folder)}, on machines that have room for it"
                ) from error
            say(f"{reason}; new workers {'go on from the last state' if state.exists() else 'begin again'}")


def _trainer(job: _Job, room: Room, storage: str) -> TorchTrainer:
    return TorchTrainer(
        lambda: _work(job),
        # What workers agree on is on the CPU.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if room.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=job.plan.settings.workers,
            use_gpu=bool(room.gpus),
            resources_per_worker=resources(room.threads, room.gpus),
        ),
        run_config=RunConfig(
            name="training",
            storage_path=storage,
            failure_config=FailureConfig(  # type: ignore[call-arg]  # Ray's types are of its older one
                max_failures=0, controller_failure_limit=RETRIES
            ),
        ),
    )


def _follow(trainer: TorchTrainer, board: Any, show: Show, say: Say, stopped: threading.Event) -> Interrupted | None:
    """Runs workers to their end and hands on what they tell; returns what was told last where they
    were stopped.

    Ray's `fit` waits and takes hold of Ctrl-C; in a thread it leaves both to the driver.
    """
    ended: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=fit, daemon=True).start()
    interrupted = None
    done = False
    while not done:
        done = bool(wait([ended], LOOK_SECONDS).done)
        told: list[Word] = ray.get(board.read.remote(stopped.is_set()))
        for word in told:
            if isinstance(word, Moment):
                show(word)
            elif isinstance(word, Interrupted):
                interrupted = word
            else:
                say(word)
    ended.result()
    return interrupted


def _work(job: _Job) -> None:
    """What each worker does."""
    context, stopped = get_context(), threading.Event()
    rank = context.get_world_rank()
    if os.path.isdir(job.here):
        os.chdir(job.here)
    if not (job.folder / INSIDE / SETTINGS).exists():
        raise NasError(
            f"out {str(job.folder)!r} is not seen by every machine of the cluster; allowed: a folder on a disk that "
            "its nodes share"
        )

    def tell(word: Word) -> None:
        if rank == 0 and ray.get(job.board.tell.remote(word)):
            stopped.set()

    device = get_device() if job.plan.device.type == "cuda" else job.plan.device
    workers = Workers(rank, context.get_world_size())
    plan = replace(job.plan, device=device)
    try:
        Session(plan, job.folder, tell, workers, ray.get(job.decoded), job.spent).run(tell, stopped)
    except Interrupted as interrupted:
        tell(interrupted)


def _cause(failure: Exception) -> Exception:
    """What Ray noticed when it asked a worker how it is."""
    found: Exception = getattr(failure, "health_check_failure", failure)
    return found


def _again(folder: Path) -> str:
    """What a user can do: a training that fails without a state leaves nothing to resume."""
    return f"nas train --resume {folder}" if (folder / INSIDE / STATE).exists() else "the same command again"


def _seconds(state: Path) -> float:
    """That a training has taken up to its state."""
    return read_state(state, SessionState)[1].seconds if state.exists() else 0.0


def _changed(state: Path) -> int:
    return state.stat().st_mtime_ns if state.exists() else 0

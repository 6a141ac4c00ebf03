"""Where trials run: a Ray that a search starts on this machine, or a running cluster that it joins.

The driver, which proposes and measures, is this machine either way: with GPUs it has one of the
type that trials use.

Who reaches a Ray can run code in it. So one that is started here listens on this machine alone,
without a dashboard, and its processes ask each other for a token, which other users of the machine
do not have. A cluster is joined with the token that its nodes share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # its stub lacks them
from ray.exceptions import RayError

from nas.architecture.registry import ENVIRONMENT
from nas.errors import NasError, one_line
from nas.trials.session_folder import SessionFolder

# Read when Ray starts: no usage report, no handler that swallows an interrupt, no log files beside
# the run, and workers as urgent as the command that they work for: Ray would lower their priority
# by 15, and beside any other busy process they would train at a thirtieth of its speed.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_worker_niceness": "0",
}
SHARED_MEMORY = "/dev/shm"  # nosec B108 # where Ray keeps objects, even if it cannot write there
_GLOO = "GLOO_SOCKET_IFNAME"  # where workers of a training listen to each other
_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_TYPE = "accelerator_type:"  # Ray's prefix of the resource that says which GPUs a node has
# Torch's allocator gives segments back as a whole, and only those of which nothing is used: what a
# trial holds of a GPU and does not use, the others lack. The second name is the older one.
_SHARING = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
_ALLOCATOR = (*_SHARING, "PYTORCH_CUDA_ALLOC_CONF")
_folders: list[SessionFolder] = []  # of what this process has started


@dataclass(frozen=True)
class Node:
    """What a machine of a cluster gives to trials; `gpu_type` is as Ray names it, None without a
    GPU that it knows.
    """

    cpus: float
    gpus: float
    memory_bytes: float
    gpu_type: str | None = None

    @classmethod
    def of(cls, resources: dict[str, float]) -> Node:
        """Reads what Ray says of a node."""
        types = [name.removeprefix(_TYPE) for name in resources if name.startswith(_TYPE)]
        return cls(
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
            resources.get("memory", 0.0),
            types[0] if types else None,
        )

    def slots(self, cpus: float, gpus: float, gpu_type: str | None = None) -> int:
        """How many trials of so many CPUs and shares of a GPU run on it at a time."""
        if gpu_type not in (None, self.gpu_type):
            return 0
        trials = int(self.cpus // cpus)
        if not gpus:
            return trials
        # A share is of one GPU.
        return min(trials, int(self.gpus) * int(1 / gpus) if gpus <= 1 else int(self.gpus // gpus))


def slots(nodes: Iterable[Node], cpus: float, gpus: float, gpu_type: str | None = None) -> int:
    """How many trials of so many CPUs and shares of a GPU run on some nodes at a time."""
    return sum(node.slots(cpus, gpus, gpu_type) for node in nodes)


def cpus_per_trial(nodes: Iterable[Node], trials: int, gpus: float, gpu_type: str | None = None) -> int:
    """The most CPUs that each of so many trials at a time may have, all on one node; at least 1."""
    nodes = list(nodes)
    most = int(max((node.cpus for node in nodes), default=1))
    return next((n for n in range(most, 1, -1) if slots(nodes, n, gpus, gpu_type) >= trials), 1)


def resources(cpus: float, gpus: float, gpu_type: str | None = None) -> dict[str, float]:
    """What a trial asks Ray for; a thousandth of a GPU type is how Ray itself places by type."""
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {}), **({_TYPE + gpu_type: 0.001} if gpu_type else {})}


def is_of_type(product: str, gpu_type: str) -> bool:
    """Whether a GPU's product name is one of a type: `NVIDIA A100-SXM4-40GB` is an `A100`, and an
    `A100-40G`. A part of a GPU is of no type.
    """
    if "MIG" in product.split():  # NVIDIA H100 80GB HBM3 MIG 1g.10gb
        return False
    words = product.lower().replace("-", " ").split()
    name, *details = gpu_type.lower().split("-")
    return name in words and all(any(word.startswith(detail) for word in words) for detail in details)


def check_placement(asked: Mapping[str, float]) -> None:
    """Refuses what no node of the Ray that is running has, and would be waited for without end.

    Raises:
        NasError: No node has it.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(all(node.get(name, 0.0) >= least for name, least in asked.items()) for node in nodes):
        wanted = ", ".join(f"{least:g} {name.removeprefix(_TYPE)}" for name, least in asked.items())
        most = ", ".join(f"{max(node.get(name, 0.0) for node in nodes):g} {name.removeprefix(_TYPE)}" for name in asked)
        raise NasError(f"a trial that takes {wanted} finds no node of Ray with so much; allowed: at most {most}")


@contextmanager
def session() -> Iterator[None]:
    """Leaves or stops at its end the Ray that was joined or started within; what was there before
    stays.
    """
    before = ray.is_initialized()
    variables = {name: os.environ.get(name) for name in (_MODE, _TOKEN, _GLOO)}
    try:
        yield
    finally:
        if not before:
            ray.shutdown()
            while _folders:
                _folders.pop().remove()
            # The next session may join a cluster, which has another token and is on the network.
            _set(variables)


@contextmanager
def scratch(folder: Path | None) -> Iterator[str]:
    """A new folder for what Ray writes of trials, which goes at the end.

    Args:
        folder: That the nodes of a cluster share; None for that of the Ray that was started here,
            which goes even where this process is killed.
    """
    own = _folders[-1].path if _folders else None
    with tempfile.TemporaryDirectory(prefix="ray-", dir=folder or own, ignore_cleanup_errors=True) as made:
        yield made


def is_whole() -> bool:
    """Whether all servers of the Ray that this process started, if it did, are there: trials that
    one of them takes along when it dies tell nothing of their candidates. Ray then ends this
    process too, but not at once.
    """
    node = worker._global_node
    return node is None or not node.dead_processes()


def connect(
    address: str | None,
    cpus: int | None = None,
    gpus: int | None = None,
    gpu_type: str | None = None,
    *,
    sharing: bool = False,
) -> None:
    """Joins the cluster of an address, or starts Ray here; neither if Ray is there already.

    Args:
        address: Of the cluster; None starts Ray here.
        cpus: That Ray here has.
        gpus: That Ray here has; what it counts itself unless given.
        gpu_type: The type of these GPUs, as a budget names it. Ray knows only some of the names.
        sharing: Whether processes share a GPU.

    Ray asks for a token unless `RAY_AUTH_MODE` is `disabled` in the environment.

    Raises:
        NasError: There is no cluster to join, or no token for it, or Ray does not start here, tried
            twice.
    """
    if ray.is_initialized():
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is None:
        _folders.append(SessionFolder())
        with _loopback(), _importing_nothing_here():
            _require_token(secrets.token_hex(32))
            for loopback in {name for _, name in socket.if_nameindex()} & {"lo", "lo0"}:
                os.environ.setdefault(_GLOO, loopback)
            for last in (False, True):
                try:
                    _initialise(
                        "local",
                        num_cpus=cpus,
                        num_gpus=gpus,
                        resources={_TYPE + gpu_type: 1.0} if gpu_type else None,
                        runtime_env=_environment(_allocator(sharing)),
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        _temp_dir=str(_folders[-1].path),
                        _plasma_directory=None if os.access(SHARED_MEMORY, os.W_OK) else tempfile.gettempdir(),
                    )
                    break
                except NasError:
                    raise
                except Exception as error:  # Ray's own, of no type: its servers did not come up in half a minute
                    ray.shutdown()
                    if last:
                        raise NasError(
                            f"Ray cannot be started on this machine ({one_line(error)}); allowed: a machine with "
                            "memory, room in its temporary folder, and time for it"
                        ) from error
        return
    # The driver keeps the journal, so it runs here and not, as with Ray's client, on the head of
    # the cluster.
    allowed = (
        "auto, or HOST:PORT of a running Ray cluster that this machine is a node of, with its token in "
        f"~/.ray/auth_token, {_TOKEN_FILE} or {_TOKEN}, or with {_MODE}=disabled where it has none"
    )
    if address == "local" or "://" in address:
        raise NasError(f"address {address!r} is not allowed; allowed: {allowed}")
    try:
        _require_token()
        environment = _environment(_operators() | _allocator(sharing))
        with _importing_nothing_here():
            _initialise(address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, RayError) as error:
        reason = str(getattr(error, "message", error)).split("\n")[0].rstrip(". ")
        raise NasError(f"address {address!r} cannot be joined ({reason}); allowed: {allowed}") from None


def _initialise(address: str, **options: Any) -> None:
    """Has Ray leave alone what this program does on SIGTERM: its own way, which stays where there
    is none, kills trials and driver before anybody is told.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, **options)
    finally:  # after a start that failed too: what is tried again would take Ray's way for the program's
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _loopback() -> Iterator[None]:
    """Has a Ray that is started within listen on 127.0.0.1 alone, as it does of itself on macOS;
    `ray.init` has no argument for it, as it takes that address for the one on the network.
    """
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _importing_nothing_here() -> Iterator[None]:
    """Keeps the current folder from the modules of trials, unless this process imports from it.

    Ray puts the folder in which it is started before all others that trials import from. Where that
    holds data, a file `torch.py` among them would run.
    """
    here = os.getcwd()
    with contextlib.nullcontext() if {"", here} & set(sys.path) else contextlib.chdir(os.sep):
        yield


def _require_token(new: str | None = None) -> None:
    """Has the next Ray of this process ask for a token, unless the user has turned that off.

    Args:
        new: The token where the environment names none; None for the one that Ray finds.
    """
    if os.environ.get(_MODE, "token") != "token":
        return
    if new is not None and _TOKEN_FILE not in os.environ:
        os.environ.setdefault(_TOKEN, new)
    _set({_MODE: "token"})


def _set(variables: Mapping[str, str | None]) -> None:
    """Sets variables of the environment, and has Ray, which read them when it was imported, read
    them again.
    """
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _environment(variables: dict[str, str]) -> dict[str, dict[str, str]] | None:
    """Ray's words for what the processes that it starts have in their environment from the
    beginning.
    """
    return {"env_vars": variables} if variables else None


def _operators() -> dict[str, str]:
    """What lets the processes of other machines know operators from outside the package, if there
    are any: the modules, or files at the same path, must be there.
    """
    listed = os.environ.get(ENVIRONMENT)
    return {ENVIRONMENT: listed} if listed else {}


def _allocator(sharing: bool) -> dict[str, str]:
    """How torch, which reads it once, hands out the memory of a GPU, unless the user says it."""
    return _SHARING if sharing and not any(name in os.environ for name in _ALLOCATOR) else {}


def joined_nodes(address: str) -> list[Node]:
    """The nodes of a running cluster.

    Raises:
        NasError: There is none.
    """
    with session():
        connect(address)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [Node.of(node["Resources"]) for node in nodes if node["Alive"]]

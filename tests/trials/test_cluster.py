"""Trials on a cluster: how many are placed and where, and a search on two nodes."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private import ray_constants, services
from ray.cluster_utils import Cluster
from ray.util.accelerators import accelerators

import nas
from nas.architecture.registry import ENVIRONMENT
from nas.limits.budget import GPU_TYPES, Budget
from nas.trials import cluster as cluster_module
from nas.trials import tuning
from nas.trials.cluster import (
    Node,
    check_placement,
    connect,
    cpus_per_trial,
    is_of_type,
    joined_nodes,
    resources,
    scratch,
    session,
    slots,
)
from nas.trials.tuning import checked_storage

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "GLOO_SOCKET_IFNAME")
# An extension that lets no trial train before two processes are ready to, so that the second node
# gets its share however fast the first one is. It stands in the way of the loop: Ray takes hold of
# the methods of a trial before an extension is imported.
MEETING = """
import os, time
from pathlib import Path
from nas.training.loop import Training

def epoch(training, epoch=Training.epoch):
    there = Path(__file__).with_suffix("")
    there.mkdir(exist_ok=True)
    (there / str(os.getpid())).touch()
    end = time.monotonic() + 300
    while len(list(there.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return epoch(training)

if os.environ["NAS_TEST_DRIVER"] != str(os.getpid()):
    Training.epoch = epoch
"""
CPU = Node(cpus=4, gpus=0, memory_bytes=8e9)
H100 = Node(cpus=16, gpus=8, memory_bytes=1e12, gpu_type="H100")
SPACE = {
    "input": {"frames": 4, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [
        {
            "width": {"choice": [8, 16, 24, 32]},
            "layers": {"repeat": 1, "layer": {"op": "full3d", "temporal_kernel": {"choice": [1, 3]}}},
        }
    ],
}


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ((1, 0), 20),
        ((3, 0), 1 + 5),
        ((1, 1), 8),
        ((1, 0.4), 16),  # two per GPU: a share is of one GPU
        ((4, 0.25), 4),  # CPUs are short
        ((1, 1, "H100"), 8),
        ((1, 0, "H100"), 16),
        ((1, 1, "A100"), 0),
    ],
)
def test_trials_are_counted_per_node_by_what_is_short(asked: tuple, most: int) -> None:
    assert slots([CPU, H100], *asked) == most


def test_a_trial_gets_as_many_cpus_as_let_all_run_at_a_time() -> None:
    assert cpus_per_trial([Node(4, 0, 1e9)], 2, 0) == 2
    assert cpus_per_trial([Node(2, 0, 1e9), Node(1, 0, 1e9)], 2, 0) == 1  # 2 CPUs have room for one trial only
    assert cpus_per_trial([Node(4, 0, 1e9)], 9, 0) == 1


def test_what_ray_says_of_a_node_and_what_a_trial_asks_for() -> None:
    said = {"CPU": 16.0, "GPU": 8.0, "memory": 1e12, "accelerator_type:H100": 1.0, "node:10.0.0.1": 1.0}
    assert Node.of(said) == H100
    assert resources(2, 0.5, "H100") == {"CPU": 2, "GPU": 0.5, "accelerator_type:H100": 0.001}
    assert resources(1, 0) == {"CPU": 1}


def test_what_no_node_has_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second node has the GPUs but not their type under this name, and the third is gone."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0, "accelerator_type:A100": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "accelerator_type:A100-40G": 1.0}},
    ]
    monkeypatch.setattr(cluster_module.ray, "nodes", lambda: nodes)
    check_placement(resources(8, 0))
    check_placement(resources(4, 0.5, "A100"))
    with pytest.raises(nas.NasError, match=r"takes 6 CPU, 1 GPU finds no node .* allowed: at most 8 CPU, 2 GPU$"):
        check_placement(resources(6, 1))
    with pytest.raises(nas.NasError, match=r"1 GPU, 0.001 A100-40G finds no node .* 2 GPU, 0 A100-40G$"):
        check_placement(resources(1, 1, "A100-40G"))


def test_trials_that_no_node_can_take_are_refused_before_any_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "connect", lambda *_, **__: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    monkeypatch.setattr(tuning.tune, "Tuner", None)
    place = tuning.Place(None, 1, resources(1, 0, "A100-40G"), None, Path("run"))
    with pytest.raises(nas.NasError, match=r"1 CPU, 0\.001 A100-40G finds no node"):
        tuning.run_trials(tuning.tune.Trainable, {}, place, tuning.StatelessSearcher())


def test_a_budget_names_a_type_of_gpu_as_ray_does() -> None:
    budget = Budget.parse("100gflops,30ms@h100")
    assert (budget.gpu_type, str(budget), budget.limits[1].high) == ("H100", "100gflops,30ms@H100", 30)
    assert Budget.parse("30ms").gpu_type is None
    known = {getattr(accelerators, name) for name in dir(accelerators) if name.startswith("NVIDIA_")}
    assert set(GPU_TYPES) == known
    with pytest.raises(nas.NasError, match=r"'30ms@C64' names an unknown GPU type; allowed after @: .*A100"):
        Budget.parse("30ms@C64")
    with pytest.raises(nas.NasError, match="names the GPU types A100 and H100; allowed: one for all limits"):
        Budget.parse("30ms@H100,4gb@A100")


@pytest.mark.parametrize(
    ("product", "gpu_type", "is_one"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", True),
        ("NVIDIA A100-SXM4-40GB", "A100-40G", True),
        ("NVIDIA A100-SXM4-80GB", "A100-40G", False),
        ("NVIDIA L40S", "L4", False),
        ("a CPU", "H100", False),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100", False),
    ],
)
def test_product_names_are_of_types(product: str, gpu_type: str, is_one: bool) -> None:
    assert is_of_type(product, gpu_type) is is_one


def test_storage_is_a_folder_or_opens_as_a_filesystem(tmp_path: Path) -> None:
    assert checked_storage(str(tmp_path / "x" / "..")) == str(tmp_path)
    assert checked_storage(f"file://{tmp_path}") == f"file://{tmp_path}"
    with pytest.raises(nas.NasError, match=r"storage 'floppy://a' cannot be opened .*; allowed: a folder, or a URI"):
        checked_storage("floppy://a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "ray://here:10001"}, "address 'ray://here:10001' is not allowed; allowed: auto, or HOST:PORT"),
        ({"address": "auto"}, "address 'auto' cannot be joined .*; allowed: auto, or HOST:PORT"),
        ({"budget": "30ms@H100"}, "GPU type 'H100' cannot be kept where a CPU is measured on"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    # `auto` would find, and join, the Ray of any other process on this machine.
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", cache(lambda: set()))
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda temp_dir: None)
    with pytest.raises(nas.NasError, match=message):
        nas.search("tiny", **{"device": "cpu", "trials": 1, "quiet": True, "out": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The token that the nodes of a cluster share."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    cluster_module._set({})
    yield
    monkeypatch.undo()
    cluster_module._set({})


@pytest.mark.parametrize("writable", [True, False])
def test_objects_are_in_the_temporary_folder_where_shared_memory_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool, token: None
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, _plasma_directory, **__: given.append(_plasma_directory))
    monkeypatch.setattr("nas.trials.cluster.SHARED_MEMORY", str(tmp_path / ("" if writable else "none")))
    connect(None, 1)
    assert given == [None if writable else tempfile.gettempdir()]


def test_ray_is_started_for_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []

    def init(address: str, **options: Any) -> None:
        at = services.get_node_ip_address()
        started.append({"address": address, "at": at, **options, **{k: os.environ.get(k) for k in VARIABLES}})

    monkeypatch.setattr(ray, "init", init)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with session():
        connect(None, 1)
    assert all(name not in os.environ for name in VARIABLES)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/of/the/user")
    connect(None, 1)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    connect(None, 1)
    own, of_user, without = started
    assert (own["address"], own["at"], own["include_dashboard"]) == ("local", "127.0.0.1", False)
    assert own["RAY_AUTH_MODE"] == "token" and len(own["RAY_AUTH_TOKEN"]) == 64
    assert own["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    assert (of_user["RAY_AUTH_MODE"], of_user["RAY_AUTH_TOKEN"]) == ("token", None)
    assert (without["RAY_AUTH_MODE"], without["RAY_AUTH_TOKEN"]) == ("disabled", None)
    assert ray_constants.ENABLE_RAY_CLUSTER  # as it was


def test_ray_changes_nothing_of_what_a_signal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program that has no way of its own, Ray's stays, which takes its servers along. Every
    other start fails when Ray has already taken the signal.
    """
    starts: list[str] = []

    def of_ray(number: int, frame: object) -> None:
        raise AssertionError

    def init(address: str, **_: Any) -> None:
        starts.append(address)
        signal.signal(signal.SIGTERM, of_ray)
        if address == "local" and len(starts) % 2:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    before = signal.getsignal(signal.SIGTERM)
    try:
        for own, then in ((signal.default_int_handler, signal.default_int_handler), (signal.SIG_DFL, of_ray)):
            for address in (None, "127.0.0.1:6379"):
                signal.signal(signal.SIGTERM, own)
                connect(address, 1)
                assert signal.getsignal(signal.SIGTERM) is then
                starts.clear()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_of_this_machine_has_the_gpus_that_torch_counts_under_the_type_of_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's own count is 0 in a container without NVML, and it knows A100s only as such."""
    started: list[Any] = []
    names = ("num_cpus", "num_gpus", "resources")
    monkeypatch.setattr(ray, "init", lambda *_, **options: started.append([options[name] for name in names]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    connect(None, 4, 2, "A100-40G")
    connect(None, 4)
    assert started == [[4, 2, {"accelerator_type:A100-40G": 1.0}], [4, None, None]]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_ray_that_does_not_start_is_tried_again_and_told(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    tried: list[str] = []

    def init(address: str, **_: Any) -> None:
        tried.append(address)
        if len(tried) <= failures:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    if failures == 1:
        connect(None, 1)
    else:
        message = r"Ray cannot be started on this machine \(Exception: The current node timed out .*; allowed: a mach"
        with pytest.raises(nas.NasError, match=message):
            connect(None, 1)
    assert tried == ["local", "local"]


def test_workers_are_as_urgent_as_their_driver_and_give_back_what_they_do_not_use(
    monkeypatch: pytest.MonkeyPatch, without_allocator: None
) -> None:
    """Of a GPU that they share, and of the temporary folder."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    def found() -> tuple[int, str | None]:
        return os.nice(0), os.environ.get("PYTORCH_ALLOC_CONF")

    with tempfile.TemporaryDirectory(prefix="n") as short:  # pytest's own is too long for Ray's sockets
        monkeypatch.setenv("RAY_TMPDIR", short)
        with session():
            connect(None, 1, sharing=True)
            assert ray.get(ray.remote(found).remote()) == (os.nice(0), "expandable_segments:True")
            (folder,) = Path(short).iterdir()
            assert (folder / "session_latest" / "sockets").is_dir()
            with scratch(None) as storage:  # of which a killed driver leaves nothing either
                assert Path(storage).parent == folder
        assert list(Path(short).iterdir()) == []
    assert "PYTORCH_ALLOC_CONF" not in os.environ  # what is measured is measured as ever


@pytest.fixture
def without_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", [None, "127.0.0.1:6379"])
@pytest.mark.parametrize("of_user", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_only_processes_that_share_a_gpu_have_another_allocator_unless_the_user_says_it(
    address: str | None, of_user: str | None, monkeypatch: pytest.MonkeyPatch, without_allocator: None
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(ray, "init", lambda *_, runtime_env, **__: given.append(runtime_env))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    if of_user:
        monkeypatch.setenv(of_user, "backend:native")
    connect(address, 1)
    connect(address, 1, sharing=True)
    assert given == [None, None if of_user else {"env_vars": {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}}]


@pytest.mark.parametrize(("gpus", "sharing"), [(0, False), (0.25, True), (1.0, False)])
def test_trials_of_a_part_of_a_gpu_share_it(gpus: float, sharing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def connected(*given: object, sharing: bool) -> None:
        raise Reached(*given, sharing)

    monkeypatch.setattr(tuning, "connect", connected)
    place = tuning.Place(None, 4, resources(2, gpus), None, Path("run"), gpus=3, gpu_type="A100-40G")
    with pytest.raises(Reached) as found:
        tuning.run_trials(tuning.tune.Trainable, {}, place, tuning.StatelessSearcher())
    assert found.value.args == (None, 8, 3, "A100-40G", sharing)


def test_trials_import_nothing_from_a_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray adds the current folder to what its processes import from, before all else."""
    folders: list[str] = []
    monkeypatch.setattr(ray, "init", lambda *_, **__: folders.append(os.getcwd()))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    connect(None, 1)
    connect("127.0.0.1:6379")
    assert folders == [os.sep, os.sep] and Path.cwd() == tmp_path
    monkeypatch.syspath_prepend(str(tmp_path))  # as with `python -m`: its modules are the user's
    connect(None, 1)
    assert folders[2:] == [str(tmp_path)]


def test_a_cluster_is_not_joined_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        nas.NasError, match=r"joined \(Token authentication is enabled but no .*; allowed: .* its token in"
    ):
        joined_nodes("127.0.0.1:6379")


def test_a_search_trains_on_both_nodes_of_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: None
) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    (tmp_path / "meeting.py").write_text(MEETING)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "meeting.py"))
    monkeypatch.setenv("NAS_TEST_DRIVER", str(os.getpid()))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        run = nas.search(
            tmp_path / "space.yaml",
            budget="20mflops",
            out=tmp_path / "run",
            trials=8,
            address=cluster.address,
            storage=f"file://{tmp_path}/store",
            quiet=True,
            epochs=6,
            proxy_frames=4,
            proxy_size=32,
            train_clips=96,
            val_clips=24,
            measure_seconds=0.2,
            confirm_seeds=0,
        )
        assert not ray.is_initialized()  # left, as it was joined
        known = {node.node_id for node in cluster.list_all_nodes()}
    finally:
        cluster.shutdown()
    assert run.record.workers == 2 and (run.trials["state"] != "failed").all() and len(run.trials) == 8
    entries = [json.loads(line) for line in (run.path / "study.log").read_text().splitlines()]
    nodes = {entry["user_attr"]["result"]["node"] for entry in entries if "result" in entry.get("user_attr", {})}
    assert len(list((tmp_path / "meeting").iterdir())) == 2
    assert nodes == known and len(nodes) == 2
    assert any((tmp_path / "store").iterdir())

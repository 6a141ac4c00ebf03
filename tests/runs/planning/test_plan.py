"""What a search decides before anything is trained, at a pace that is made up."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from nas.errors import NasError
from nas.limits.pace import Pace
from nas.profiler.measured import device as device_module
from nas.runs import checks
from nas.runs.folder.record import ProxyRecord, RunRecord
from nas.runs.planning import plan
from nas.runs.planning.plan import Plan
from nas.runs.settings import Settings
from nas.training.recipe import Recipe

SPACE = {
    "input": {"frames": 8, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [
        {
            "width": {"choice": [8, 16, 32, 64]},
            "layers": {"repeat": {"choice": [1, 2, 4]}, "layer": {"op": "full3d", "kernel": {"choice": [1, 3]}}},
        }
    ],
}
CONSOLE = Console(quiet=True)


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return str(tmp_path / "space.yaml")


def settings(space: str, **given: Any) -> Settings:
    return Settings.of(**{"space": space, "budget": "2gflops", "workers": 1, "device": "cpu", **given})


def at(monkeypatch: pytest.MonkeyPatch, pace: Pace) -> None:
    monkeypatch.setattr(plan, "measured_pace", lambda *_, **__: pace)


def test_a_fast_device_trains_all_sizes_for_longer(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, Pace(0.0, 1e-12))
    found = Plan.of(settings(space, time=600), CONSOLE)
    assert found.effort.rungs[-1] == 30 and found.proxy.size == (32, 32)
    assert "twentieth" not in found.describe() and "expected to be trained: about" in found.describe()


def test_a_slow_one_says_what_is_out_of_reach_and_what_would_change_that(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, Pace(0.01, 1e-10))
    found = Plan.of(settings(space, time=225, confirm_seeds=0), CONSOLE)
    assert found.effort.rungs == (3,)
    ceiling, high = found.reach.ceiling, found.range[1]
    assert found.pace is not None
    assert ceiling < high and found.effort.seconds(found.pace, ceiling) == pytest.approx(11.25)
    assert "would take more than a twentieth of the time each here; `--time " in found.describe()
    assert " or a GPU reaches " in found.describe()
    record = found.record(RunRecord())
    assert (record.ceiling, record.pace) == (ceiling, found.pace)

    at(monkeypatch, Pace(9.0, 9.0))
    assert "\n  expected to be trained: none\n" in Plan.of(settings(space, time=60), CONSOLE).describe()
    # What resumes goes by the pace of the run.
    stored = Path(space)
    again = settings(space, time=225, confirm_seeds=0, epochs=3, proxy_frames=8, proxy_size=found.proxy.size[0])
    assert Plan.of(again, CONSOLE, stored, record).reach == found.reach
    assert Plan.of(again.changed(time=600), CONSOLE, stored, record).reach.ceiling > ceiling
    assert Plan.of(again.changed(time=60), CONSOLE, stored, record).reach == found.reach


def test_a_run_from_before_there_was_a_pace_stays_without(space: str) -> None:
    """However often it is resumed: no reach, no expectation, and one learning rate for all."""
    asked, stored, before = settings(space, time=300, epochs=3, proxy_frames=8, proxy_size=16), Path(space), RunRecord()
    before = replace(before, proxy=ProxyRecord(8, (16, 16), 3, (1, 3), {"lr": 0.004, "gone": 1}))
    for _ in range(2):
        found = Plan.of(asked, CONSOLE, stored, before)
        assert (found.reach, found.pace) == (plan.Reach(), None) and "expected" not in found.describe()
        assert (found.proxy.recipe.lr, found.proxy.recipe.lr_channels) == (0.004, 0)
        assert found.proxy.rungs == (1, 3)  # which its results are of, where a new run has none
        before = found.record(before)
    new = Plan.of(settings(space, trials=2), CONSOLE).record(RunRecord())
    assert Plan.of(asked, CONSOLE, stored, new).proxy.recipe.lr_channels == Recipe(epochs=1).lr_channels > 0


def test_the_clock_decides_nothing_without_a_time_and_where_the_seed_is_to(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, **__: object) -> Pace:
        raise AssertionError

    monkeypatch.setattr(plan, "measured_pace", measured)
    alone = Plan.of(settings(space, trials=4), CONSOLE)
    assert math.isinf(alone.reach.ceiling) and "expected" not in alone.describe()
    assert Plan.of(settings(space, time=600, reproducible=True), CONSOLE).pace == Pace(0.0, 1e-10 / alone.proxy.threads)


@pytest.mark.parametrize("floor", ["2ms", "3gflops", "0.1..1gflops", "1gflops,2mparams"])
def test_a_floor_is_one_number_of_what_is_compared_below_its_limit(space: str, floor: str) -> None:
    with pytest.raises(NasError, match=r"floor .* begins nothing; allowed: one number of gflops, mflops, below the"):
        Plan.of(settings(space, trials=2, floor=floor), CONSOLE)
    assert Plan.of(settings(space, trials=2, floor="10mflops"), CONSOLE).reach.floor == 10e6


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("int8", "measure 'int8' is not allowed; allowed: one of fp32, bf16, fp16, and graph"),
        ("bf16,fp16", "measure 'bf16,fp16' is not allowed; allowed: one of fp32, bf16, fp16, and graph"),
        ("graph,graph", "measure 'graph,graph' is not allowed; allowed: one of"),
        ("bf16, graph", "cuda_graph on cpu is not allowed; allowed: inference on a CUDA device"),
    ],
)
def test_conditions_that_there_are_not_here_are_refused(measure: str, message: str, space: str) -> None:
    with pytest.raises(NasError, match=message):
        Plan.of(settings(space, trials=2, measure=measure), CONSOLE)


def test_dtypes_have_one_list_of_names() -> None:
    assert tuple(device_module.DTYPES) == checks.DTYPES


def test_networks_are_measured_under_what_was_asked_for(space: str) -> None:
    found = Plan.of(settings(space, trials=2, measure="bf16"), CONSOLE)
    assert found.conditions.dtype == "bf16" and ".bf16.b1." in found.device_name
    assert ".fp32.b1." in Plan.of(settings(space, trials=2), CONSOLE).device_name


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs of 80 GB and 12 cores that are not there; networks are trained on by nobody."""
    timed: list[int] = []

    def factor(proxies: list[Any], *_: object) -> float:
        timed.append(len(proxies))
        return 2.0

    for module in (plan, device_module):
        monkeypatch.setattr(module, "resolve_device", lambda name: torch.device("cuda:0"))
        monkeypatch.setattr(module, "available_cores", lambda: 12)
    monkeypatch.setattr(plan, "memory_bytes", lambda device: 80e9)
    monkeypatch.setattr(plan, "measured_memory_factor", factor)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    return timed


def test_several_networks_train_on_a_gpu_as_far_as_cores_go(
    space: str, two_gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six cores for each GPU are three trials of two, which share its kernels alone."""
    at(monkeypatch, Pace(0.01, 1e-12))
    found = Plan.of(settings(space, time=600, device="cuda", workers=None, measure="bf16,graph"), CONSOLE)
    assert (found.workers, found.proxy.threads, found.proxy.trials_per_device) == (6, 2, 3)
    assert found.pace == Pace(0.01, 3e-12)
    assert found.proxy.memory_factor == 2.0 and 1 <= two_gpus[0] <= 5
    assert found.proxy.memory_bytes == pytest.approx(0.8 * 80e9 / 3 - 0.6e9)
    place = found.place(Path("run"))
    assert (place.resources, place.gpus) == ({"CPU": 2, "GPU": 0.3333}, 2)
    assert re.fullmatch(r"h100-sxm\.(cuda|rocm)\S*\.torch\d\.\d+\.bf16\.b1\.graph", found.device_name)


def test_a_run_that_goes_on_trains_in_the_batches_that_it_began_with(
    space: str, two_gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training takes of the GPU is not measured again: another factor cuts other batches."""
    at(monkeypatch, Pace(0.01, 1e-12))
    asked = settings(space, trials=2, device="cuda", proxy_frames=8, proxy_size=32, epochs=3)
    record = Plan.of(asked, CONSOLE).record(RunRecord())
    assert record.memory_factor == 2.0 and len(two_gpus) == 1
    kept = replace(record, memory_factor=1.5)
    assert Plan.of(asked, CONSOLE, Path(space), kept).proxy.memory_factor == 1.5 and len(two_gpus) == 1
    before = replace(record, memory_factor=None)  # as runs of before have it
    assert Plan.of(asked, CONSOLE, Path(space), before).proxy.memory_factor == 2.0 and len(two_gpus) == 2


def test_a_cpu_has_no_factor_on_memory_and_leaves_that_of_a_gpu(space: str) -> None:
    found = Plan.of(settings(space, trials=2), CONSOLE)
    assert found.proxy.memory_factor == 1.0
    assert found.record(RunRecord()).memory_factor is None
    assert found.record(replace(RunRecord(), memory_factor=1.5)).memory_factor == 1.5


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_windows_of_the_target_are_whole_on_the_maps_of_the_smallest_proxy(
    device: str, tmp_path: Path, two_gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 7x7 on the 56x56 map of 224 pixels, and on the 7x7 map of 28: on 8x8, of 32
    pixels, three of four windows would be nearly all padding.
    """
    layers = {"repeat": 1, "layer": {"op": "t2d", "heads": {"choice": [1, 2]}, "window": [2, 7, 7]}}
    document = {
        "input": {"frames": 8, "size": 224},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 16, "layers": layers}],
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document))
    if device == "cpu":
        for module in (plan, device_module):
            monkeypatch.setattr(module, "resolve_device", torch.device)
    at(monkeypatch, Pace(9.0, 9.0))
    found = Plan.of(settings(str(tmp_path / "space.yaml"), budget="100gflops", time=60, device=device), CONSOLE)
    assert found.device.type == device and found.proxy.size == (28, 28)
    stem = found.space.sample(0).resized(8, found.proxy.size).parts()[0].output
    assert (stem.height, stem.width) == (7, 7)


def test_one_of_several_gpus_is_not_searched_on(space: str, two_gpus: list[int]) -> None:
    with pytest.raises(NasError, match=r"device 'cuda:0' is one of several GPUs, .* CUDA_VISIBLE_DEVICES=0 in the env"):
        Plan.of(settings(space, trials=2, device="cuda:0"), CONSOLE)


@pytest.mark.parametrize(("given", "workers", "share"), [({"workers": 2}, 2, 1.0), ({"gpus_per_trial": 0.5}, 4, 0.5)])
def test_who_asks_for_fewer_networks_gives_each_more_of_a_gpu(
    given: dict[str, Any], workers: int, share: float, space: str, two_gpus: list[int]
) -> None:
    found = Plan.of(settings(space, trials=2, **{"device": "cuda", "workers": None, **given}), CONSOLE)
    assert (found.workers, found.gpus_per_trial) == (workers, share)

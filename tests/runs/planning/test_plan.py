"""What a search decides before anything is trained, at a pace that is made up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from nas.errors import NasError
from nas.limits.pace import Pace
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
    found = Plan.of(settings(space, time=300, confirm_seeds=0), CONSOLE)
    assert found.effort.rungs == (1, 3)
    ceiling, high = found.reach.ceiling, found.range[1]
    assert found.pace is not None
    assert ceiling < high and found.effort.seconds(found.pace, ceiling) == pytest.approx(15.0)
    assert "would take more than a twentieth of the time each here; `--time " in found.describe()
    assert " or a GPU reaches " in found.describe()
    record = found.record(RunRecord())
    assert (record.ceiling, record.pace) == (ceiling, found.pace)

    at(monkeypatch, Pace(9.0, 9.0))
    assert "\n  expected to be trained: none\n" in Plan.of(settings(space, time=60), CONSOLE).describe()
    # What resumes goes by the pace of the run.
    stored = Path(space)
    again = settings(space, time=300, confirm_seeds=0, epochs=3, proxy_frames=8, proxy_size=found.proxy.size[0])
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

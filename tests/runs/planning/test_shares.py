"""How the time of a run is divided."""

from __future__ import annotations

import pytest

from nas.runs.planning.shares import Shares
from nas.runs.settings import Settings


@pytest.mark.parametrize(
    ("time", "control", "seeds", "shares"),
    [
        (400.0, None, 2, Shares(260.0, 0.0, 100.0, 40.0)),
        (400.0, "random:0.2", 2, Shares(208.0, 52.0, 100.0, 40.0)),
        (400.0, "random", 0, Shares(300.0, 100.0, 0.0, 0.0)),
        (None, "random", 2, Shares()),
    ],
)
def test_a_limited_time_includes_control_confirmation_and_baselines(
    time: float | None, control: str | None, seeds: int, shares: Shares
) -> None:
    settings = Settings(time=time, trials=None if time else 4, control=control, confirm_seeds=seeds)
    assert Shares.of(settings) == shares


def test_what_is_refused_or_not_asked_for_gets_no_time() -> None:
    assert Shares.of(Settings(time=400.0, baselines="none")) == Shares(300.0, 0.0, 100.0, 0.0)
    assert Shares.of(Settings(time=400.0, init="weights.safetensors")).baselines == 0
    assert Shares.of(Settings(time=400.0, confirm_seeds=0, baselines="x3d_xs")) == Shares(360.0, 0.0, 0.0, 40.0)

from __future__ import annotations

import pytest
import torch

from nas.profiler.measured import disturbance
from nas.profiler.measured.disturbance import Reading, Watch, core_seconds, cpu_flags
from nas.profiler.measured.gpu_state import GpuState

STAT = """cpu  600 40 100 9000 50 0 20 30 0 0
cpu0 400 20 60 4000 50 5 15 10 0 0
cpu1 200 20 40 5000 0 0 5 20 0 0
intr 5 0 0
ctxt 7
"""


def reading(
    wall: float, busy: list[float], own: float, stolen: float = 0.0, heat: int = 0, mhz: float | None = None
) -> Reading:
    return Reading(
        wall,
        dict(enumerate(busy)),
        {0: stolen} | dict.fromkeys(range(1, len(busy)), 0.0),
        own,
        {"heat slowed cores down": heat},
        mhz,
    )


def test_core_seconds() -> None:
    # Of 100 ticks a second: user, nice, system, irq and softirq; neither idle nor waiting for a
    # disk.
    assert core_seconds(STAT, 100) == ({0: 5.0, 1: 2.65}, {0: 0.1, 1: 0.2})
    assert core_seconds("", 100) == ({}, {})


@pytest.mark.parametrize(
    ("cores", "threads", "busy", "own", "flags"),
    [
        # In 10 s two threads may lose 2 * 0.05 * 10 = 1 s of their cores.
        ([0, 1], 2, [10.0, 10.0], 19.1, []),
        ([0, 1], 2, [10.0, 10.0], 18.8, ["other processes used 0.12 of the 2 cores measured on"]),
        ([0, 1], 2, [10.0, 10.0], 10.0, ["other processes used 1.00 of the 2 cores measured on"]),
        # Half of the cores beside may be busy: 10 of 20 s.
        ([0, 1], 2, [10.0, 10.0, 5.0, 4.9], 20.0, []),
        (
            [0, 1],
            2,
            [10.0, 10.0, 9.0, 3.0],
            20.0,
            ["other processes used 1.20 of the 2 cores beside those measured on"],
        ),
        # Bound to nothing, all cores are its own.
        (None, 2, [6.0, 6.0, 6.0, 6.0], 20.0, ["other processes used 0.40 of the 4 cores measured on"]),
    ],
)
def test_flags_of_neighbours(
    cores: list[int] | None, threads: int, busy: list[float], own: float, flags: list[str]
) -> None:
    before = reading(100.0, [50.0] * len(busy), own=3.0)
    after = reading(110.0, [50.0 + used for used in busy], own=3.0 + own)
    assert cpu_flags(before, after, threads, cores) == flags


def test_flags_of_the_hypervisor_heat_and_clocks() -> None:
    before = reading(0.0, [0.0, 0.0], 0.0, heat=4, mhz=3000.0)
    after = reading(10.0, [5.0, 5.0], 10.0, stolen=2.0, heat=7, mhz=2400.0)
    assert cpu_flags(before, after, 2, [0, 1]) == [
        "the hypervisor withheld 0.20 cores during the measurement",
        "heat slowed cores down during the measurement, 3 times",
        "the clock of the cores went from 3000 to 2400 MHz",
    ]
    calm = reading(10.0, [5.0, 5.0], 10.0, stolen=1.0, heat=4, mhz=2900.0)
    assert cpu_flags(before, calm, 2, [0, 1]) == []


def test_what_cannot_be_known_is_said() -> None:
    nothing = Reading(0.0, {}, {}, 0.0, {}, None)
    assert cpu_flags(nothing, nothing, 2, None) == [
        "what other processes used of the processor is unknown: there is no /proc/stat"
    ]


def test_a_reading_of_this_system() -> None:
    now = Reading.now()
    assert now.own > 0
    assert all(seconds >= 0 for seconds in now.busy.values())
    assert isinstance(Watch(torch.device("cpu"), 1, None).flags(), list)


def test_a_watch_over_a_gpu_compares_the_drivers_counters_of_its_beginning_and_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In 10 s the power limit held the clock down for 2.5 s; the driver, asked when the GPU is idle
    again, gives no reason.
    """
    counters = iter([{"the power limit": 40.0, "heat": 7.0}, {"the power limit": 42.5, "heat": 7.0}])
    readings = iter([reading(100.0, [50.0], own=3.0), reading(110.0, [60.0], own=13.0)])
    idle = GpuState(clock_mhz=345, max_clock_mhz=1980)
    monkeypatch.setattr(disturbance, "held_down", lambda device: next(counters))
    monkeypatch.setattr(disturbance, "foreign_memory", lambda device: ["another process"])
    monkeypatch.setattr(disturbance, "perf_counter", lambda: 110.0)
    monkeypatch.setattr(Reading, "now", lambda: next(readings))
    monkeypatch.setattr(GpuState, "now", lambda device: idle)
    watch = Watch(torch.device("cuda:0"), 1, [0])
    assert watch.flags() == ["another process", "the power limit held the GPU's clock down for 2.50 of 10.00 s"]
    assert watch.gpu == idle

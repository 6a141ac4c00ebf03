"""Real training steps by a clock that is not real."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import torch

from nas.limits.memory import training_step_memory
from nas.profiler.computed.cost import cost
from nas.runs.planning import timing
from nas.runs.planning.timing import measured_memory_factor, measured_pace
from nas.space import SearchSpace
from nas.training.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=4)
CPU = torch.device("cpu")
PROXIES = [
    (float(cost(proxy).macs), proxy)
    for proxy in (SearchSpace.load("tiny").sample(seed).resized(4, (32, 32)) for seed in range(4))
]


def test_every_step_takes_a_second_of_a_clock_that_goes_a_second_at_a_time() -> None:
    ticks = count()
    threads = torch.get_num_threads()
    found = measured_pace(PROXIES, RECIPE, CPU, 1, 1e6, lambda: next(ticks))
    assert found is not None
    assert (found.step_s, found.mac_s) == (0.0, pytest.approx(found.mac_s)) or found.step_s == pytest.approx(1.0)
    assert torch.get_num_threads() == threads


def test_a_step_that_grows_with_the_network_is_told_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {id(proxy): 0.25 + 12 * macs * 1e-9 for macs, proxy in PROXIES}
    monkeypatch.setattr(timing, "_usual_step", lambda proxy, *_: taken[id(proxy)])
    found = measured_pace(PROXIES, RECIPE, CPU, 1, 1e6, lambda: 0.0)
    assert found is not None
    assert (found.step_s, found.mac_s) == (pytest.approx(0.25), pytest.approx(1e-9))


def test_what_there_is_no_time_for_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def usual_step(proxy: object, *_: object) -> float:
        seen.append(proxy)
        return 1.0

    monkeypatch.setattr(timing, "_usual_step", usual_step)
    measured_pace(PROXIES, RECIPE, CPU, 1, 0.5, lambda: float(len(seen)))
    assert seen == [min(PROXIES, key=lambda each: each[0])[1]]


def test_real_steps_have_a_pace() -> None:
    found = measured_pace(PROXIES[:2], RECIPE, CPU, 1)
    assert found is not None and found.step_s >= 0 and found.mac_s > 0


def test_what_cannot_be_trained_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that raises, as operators of users may, or of which no clip fits into memory."""
    largest = max(PROXIES, key=lambda each: each[0])[1]
    batches: list[int] = []

    def usual_step(proxy: object, recipe: object, device: object, clock: object, micro_batch: int) -> float:
        if proxy is largest:
            raise KeyError("of an operator")
        batches.append(micro_batch)
        return 1.0

    monkeypatch.setattr(timing, "_usual_step", usual_step)
    assert measured_pace(PROXIES, RECIPE, CPU, 1, 1e6, lambda: 0.0) is not None and batches == [4, 4, 4]
    assert measured_pace([(1.0, largest)], RECIPE, CPU, 1) is None
    assert measured_pace(PROXIES, RECIPE, CPU, 1, most_bytes=1.0) is None
    halves = training_step_memory(cost(PROXIES[-1][1]), 4, 2)
    measured_pace(PROXIES[-1:], RECIPE, CPU, 1, most_bytes=halves)
    assert batches[3:] == [2]


def test_memory_is_that_of_the_network_that_exceeds_most_what_is_computed() -> None:
    """Peaks of a GPU that is not there: half of what is computed, a tenth more, and a failure."""
    proxies = [proxy for _, proxy in PROXIES[:3]]
    computed = [training_step_memory(cost(proxy), 4, 4) for proxy in proxies]
    steps: list[int] = []

    def peak(device: torch.device, run: Callable[[], object]) -> int:
        steps.append(1)
        run()
        if len(steps) == 3:
            raise KeyError("of an operator")
        return int((0.5, 1.1)[len(steps) - 1] * computed[len(steps) - 1])

    assert measured_memory_factor(proxies, RECIPE, CPU, peak) == pytest.approx(1.1, rel=1e-4)
    assert len(steps) == 3
    assert measured_memory_factor(proxies, RECIPE, CPU) == 1.0

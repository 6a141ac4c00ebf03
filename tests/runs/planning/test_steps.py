"""Real training steps by a clock that is not real."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import torch
from pydantic import TypeAdapter

from nas.limits.memory import training_step_memory
from nas.limits.pace import Pace
from nas.profiler.computed.cost import cost
from nas.runs.planning import steps
from nas.runs.planning.steps import (
    PaceLimits,
    StepsRequest,
    answered,
    memory_factor_of_steps,
    pace_of_steps,
)
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
    found = pace_of_steps(PROXIES, RECIPE, CPU, 1, 1e6, clock=lambda: next(ticks))
    assert found is not None
    assert (found.step_s, found.mac_s) == (0.0, pytest.approx(found.mac_s)) or found.step_s == pytest.approx(1.0)
    assert torch.get_num_threads() == threads


def test_a_step_that_grows_with_the_network_is_told_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {id(proxy): 0.25 + 12 * macs * 1e-9 for macs, proxy in PROXIES}
    monkeypatch.setattr(steps, "_usual_step", lambda proxy, *_: taken[id(proxy)])
    found = pace_of_steps(PROXIES, RECIPE, CPU, 1, 1e6, clock=lambda: 0.0)
    assert found is not None
    assert (found.step_s, found.mac_s) == (pytest.approx(0.25), pytest.approx(1e-9))


def test_what_there_is_no_time_for_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def usual_step(proxy: object, *_: object) -> float:
        seen.append(proxy)
        return 1.0

    monkeypatch.setattr(steps, "_usual_step", usual_step)
    pace_of_steps(PROXIES, RECIPE, CPU, 1, 0.5, clock=lambda: float(len(seen)))
    assert seen == [min(PROXIES, key=lambda each: each[0])[1]]


def test_real_steps_have_a_pace() -> None:
    found = pace_of_steps(PROXIES[:2], RECIPE, CPU, 1, 6.0)
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

    monkeypatch.setattr(steps, "_usual_step", usual_step)
    assert pace_of_steps(PROXIES, RECIPE, CPU, 1, 1e6, clock=lambda: 0.0) is not None and batches == [4, 4, 4]
    assert pace_of_steps([(1.0, largest)], RECIPE, CPU, 1, 6.0) is None
    assert pace_of_steps(PROXIES, RECIPE, CPU, 1, 6.0, most_bytes=1.0) is None
    halves = training_step_memory(cost(PROXIES[-1][1]), 4, 2)
    pace_of_steps(PROXIES[-1:], RECIPE, CPU, 1, 6.0, most_bytes=halves)
    assert batches[3:] == [2]


def test_memory_is_that_of_the_network_that_exceeds_most_what_is_computed() -> None:
    """Peaks of a GPU that is not there: half of what is computed, a tenth more, and a failure."""
    proxies = [proxy for _, proxy in PROXIES[:3]]
    computed = [training_step_memory(cost(proxy), 4, 4) for proxy in proxies]
    trained: list[int] = []

    def peak(device: torch.device, run: Callable[[], object]) -> int:
        trained.append(1)
        run()
        if len(trained) == 3:
            raise KeyError("of an operator")
        return int((0.5, 1.1)[len(trained) - 1] * computed[len(trained) - 1])

    assert memory_factor_of_steps(proxies, RECIPE, CPU, peak) == pytest.approx(1.1, rel=1e-4)
    assert len(trained) == 3


def test_a_process_is_asked_for_a_pace_and_trains_as_trials_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through JSON and back: the same networks, limits and recipe, and no plans of attention."""
    asked: list[object] = []

    def pace(pairs: object, recipe: object, *limits: object) -> Pace:
        asked.extend([pairs, recipe, limits])
        return Pace(0.5, 2e-12)

    monkeypatch.setattr(steps, "pace_of_steps", pace)
    documents = [proxy.document() for _, proxy in PROXIES]
    request = StepsRequest("cpu", RECIPE, documents, PaceLimits([macs for macs, _ in PROXIES], 3, 1.5, 8e9))
    lines = TypeAdapter(StepsRequest)
    torch.backends.cuda.enable_cudnn_sdp(True)
    (answer,) = answered(lines.validate_json(lines.dump_json(request)))
    assert answer.pace == Pace(0.5, 2e-12)
    assert asked == [PROXIES, RECIPE, (CPU, 3, 1.5, 8e9)]
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_process_is_asked_for_the_factor_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def factor(*given: object) -> float:
        asked.extend(given)
        return 1.25

    monkeypatch.setattr(steps, "memory_factor_of_steps", factor)
    (answer,) = answered(StepsRequest("cpu", RECIPE, [PROXIES[0][1].document()], None))
    assert (answer.pace, answer.factor) == (None, 1.25)
    assert asked == [[PROXIES[0][1]], RECIPE, CPU]

"""Who trains the candidates that a search is planned from: a process that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import pytest
import torch

from nas.errors import NasError
from nas.limits.pace import Pace
from nas.runs.planning import steps, timing
from nas.runs.planning.steps import PaceLimits, StepsAnswer, StepsRequest
from nas.runs.planning.timing import measured_memory_factor, measured_pace
from nas.space import SearchSpace
from nas.training.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=4)
GPU = torch.device("cuda:0")
PROXIES = [SearchSpace.load("tiny").sample(seed).resized(4, (32, 32)) for seed in range(2)]


class Fake:
    """A process that gives one answer, and says what it was asked."""

    requests: ClassVar[list[StepsRequest]] = []
    ended: ClassVar[list[bool]] = []
    answer: ClassVar[StepsAnswer | NasError]

    def __init__(self, module: str, doing: str) -> None:
        assert module == steps.__name__ and "cuda:0" in doing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.append(True)

    def ask(self, request: StepsRequest, _: object) -> Iterator[StepsAnswer]:
        self.requests.append(request)
        if isinstance(self.answer, NasError):
            raise self.answer
        yield self.answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(timing, "MeasuringProcess", Fake)
    monkeypatch.setattr(Fake, "requests", [])
    monkeypatch.setattr(Fake, "ended", [])
    return Fake


def test_a_process_that_ends_trains_on_a_gpu(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver would keep a context beside the trials' for the whole search."""
    documents = [proxy.document() for proxy in PROXIES]
    for expected in (Pace(0.5, 2e-12), None):
        monkeypatch.setattr(fake, "answer", StepsAnswer(expected), raising=False)
        assert measured_pace([(1e6, PROXIES[0]), (3e6, PROXIES[1])], RECIPE, GPU, 2, 1.5, 8e9) == expected
        limits = PaceLimits([1e6, 3e6], 2, 1.5, 8e9)
        assert fake.requests.pop() == StepsRequest("cuda:0", RECIPE, documents, limits)
    monkeypatch.setattr(fake, "answer", StepsAnswer(factor=1.25), raising=False)
    assert measured_memory_factor(PROXIES, RECIPE, GPU) == 1.25
    assert fake.requests == [StepsRequest("cuda:0", RECIPE, documents, None)] and len(fake.ended) == 3


def test_a_process_that_died_ends_the_plan_with_its_reason(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "answer", NasError("died"), raising=False)
    with pytest.raises(NasError, match="died"):
        measured_memory_factor(PROXIES, RECIPE, GPU)
    assert fake.ended == [True]


def test_a_cpu_is_timed_without_another_process(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "pace_of_steps", lambda *given: Pace(float(len(given)), 1.0))
    assert measured_pace([(1e6, PROXIES[0])], RECIPE, torch.device("cpu"), 2, 1.5, 8e9) == Pace(6.0, 1.0)
    assert not fake.requests

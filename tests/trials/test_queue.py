"""A queue of trainings: which are suggested when, and what is told of those that end; nothing is
trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ray.tune.search import Searcher

from nas.trials import queue as queue_module
from nas.trials.queue import QueueSearcher, expected_seconds, pop_fitting
from nas.trials.results import Assignment, Report


@dataclass(frozen=True)
class Item:
    number: int
    seconds: float

    @property
    def label(self) -> str:
        return str(self.number)

    @property
    def figures(self) -> dict[str, Any]:
        return {}


def searcher(
    queue: list[Item], shown: list[Any], workers: int = 3, seconds: float | None = None
) -> QueueSearcher[Item]:
    def assignment(item: Item) -> Assignment:
        return Assignment(item.number, {}, seed=100 + item.number)

    return QueueSearcher(queue, assignment, workers, seconds, lambda *ended: shown.append(ended))


def test_expected_seconds_of_parallel_workers() -> None:
    queue = [Item(0, 10.0), Item(1, 4.0), Item(2, 3.0), Item(3, 5.0)]
    # One takes 10, then 0; the other 4, 3 and 5.
    assert expected_seconds(queue, 2) == 12
    assert expected_seconds(queue, 1) == 22
    assert expected_seconds([], 3) == 0


def test_what_does_not_fit_is_left_for_what_does() -> None:
    queue = [Item(2, 24.0), Item(3, 40.0), Item(0, 10.0)]
    assert pop_fitting(queue, 30.0) == Item(2, 24.0)
    assert pop_fitting(queue, 12.0) == Item(0, 10.0)
    assert pop_fitting(queue, 12.0) is None
    assert queue == [Item(3, 40.0)]


def test_time_ends_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: now[0])
    queue = [Item(2, 24.0), Item(3, 40.0), Item(0, 10.0)]
    found = searcher(queue, [], workers=1, seconds=60.0)
    assert found.fits()
    assert isinstance(found.suggest("a"), dict)
    # The next begins when the first ends, at 124: 36 seconds are left then.
    config = found.suggest("b")
    assert isinstance(config, dict) and config["index"] == 0
    assert found.suggest("c") is None and queue == [Item(3, 40.0)]
    now[0] = 124.0
    found.on_trial_complete("a")
    assert found.suggest("c") is None
    now[0] = 134.0
    found.on_trial_complete("b")
    assert found.suggest("c") == Searcher.FINISHED and queue == [Item(3, 40.0)]
    assert not found.fits()


def test_one_that_fails_early_leaves_its_time_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: now[0])
    found = searcher([Item(2, 24.0), Item(3, 40.0)], [], workers=1, seconds=60.0)
    assert isinstance(found.suggest("a"), dict) and found.suggest("b") is None
    now[0] = 101.0
    found.begun.add("a")
    found.on_trial_complete("a", error=True)
    assert isinstance(found.suggest("b"), dict)


def test_one_whose_process_is_lost_before_its_training_begins_is_tried_once_more() -> None:
    shown: list[Any] = []
    found = searcher([Item(0, 1.0), Item(1, 1.0)], shown)
    first = found.suggest("a")
    assert isinstance(found.suggest("x"), dict) and found.suggest("y") is None  # it may be lost yet
    found.begun.add("x")
    found.on_trial_complete("a", None, error=True)
    assert shown == [] and found.suggest("b") == first
    found.on_trial_complete("b", None, error=True)
    assert shown == [(Item(0, 1.0), None)]


def test_what_ends_is_told_and_what_failed_is_told_as_none() -> None:
    shown: list[Any] = []
    items = [Item(number, 1.0) for number in range(4)]
    found = searcher(list(items), shown)
    configs = [found.suggest(name) for name in "abc"]
    assert [(config["index"], config["seed"]) for config in configs if isinstance(config, dict)] == [
        (0, 100),
        (1, 101),
        (2, 102),
    ]
    whole = Report(curve=(0.75,), test_accuracy=0.5, epochs=6, seconds=20.0)
    found.on_trial_complete("b", whole.to_ray())
    found.begun.add("a")
    found.on_trial_complete("a", whole.to_ray(), error=True)
    found.on_trial_complete("c")  # cut off
    assert shown == [(items[1], whole), (items[0], None), (items[2], None)]
    assert isinstance(found.suggest("d"), dict)
    found.begun.add("d")
    assert found.suggest("e") == Searcher.FINISHED

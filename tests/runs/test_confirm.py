"""Which trainings confirm a front, in which order, and what an interruption leaves; nothing is
trained.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ray.tune.search import Searcher

from nas.limits.objectives import Objectives
from nas.runs import confirm
from nas.runs.confirm import OVERHEAD, ConfirmSearcher, Repeat, expected_seconds, pop_fitting, repeats
from nas.runs.confirmations import read_confirmations
from nas.runs.plan import Plan
from nas.runs.settings import Settings
from nas.trials.answers import AnswerBook, read_answers
from nas.trials.proposer import Candidate
from nas.trials.results import Report

MACS = Objectives.of(["accuracy", "macs"])
# Against log10 of the cost the scaled losses are (1, 0), (0.2, 0.5), (0, 1): trial 2 is the knee, 3
# the best.
FRONT = pd.DataFrame(
    [(0, "finished", 0.3, 1e9, 6, 10.0), (2, "stopped", 0.7, 1e10, 2, 8.0), (3, "finished", 0.8, 1e11, 6, 40.0)],
    columns=["trial", "state", "accuracy", "macs", "epochs", "seconds"],
)


def keys(queue: list[Repeat]) -> list[tuple[int, int]]:
    return [(one.trial, one.repeat) for one in queue]


def test_the_knee_and_the_best_come_first_and_what_was_stopped_is_trained_to_its_end() -> None:
    queue = repeats(FRONT, MACS, 2, epochs=6)
    assert keys(queue) == [(2, 0), (2, 1), (2, 2), (3, 1), (3, 2), (0, 1), (0, 2)]
    # 8 s for 2 of 6 epochs are 24 s.
    assert [one.seconds / OVERHEAD for one in queue] == pytest.approx([24, 24, 24, 40, 40, 10, 10])
    assert keys(repeats(FRONT, MACS, 1, 6, done={(2, 0), (3, 1), (3, 2)})) == [(2, 1), (0, 1)]


def test_what_is_neither_knee_nor_best_follows_by_accuracy() -> None:
    accuracies = [0.3, 0.35, 0.7, 0.75, 0.8]  # at a decade of multiply-adds each: trial 2 is the knee
    rows = [(i, "finished", accuracy, 10.0 ** (9 + i), 6, 10.0) for i, accuracy in enumerate(accuracies)]
    queue = repeats(pd.DataFrame(rows, columns=FRONT.columns), MACS, 1, epochs=6)
    assert keys(queue) == [(2, 1), (4, 1), (3, 1), (1, 1), (0, 1)]


def test_seeds_are_of_nothing_else() -> None:
    searched = {7 + trial for trial in range(1000)}
    further = [Repeat(trial, repeat, 1.0).seed(7) for trial in range(1000) for repeat in (1, 2)]
    assert not searched & set(further) and len(set(further)) == 2000
    assert Repeat(5, 0, 1.0).seed(7) == 12


def test_expected_seconds_of_parallel_workers() -> None:
    queue = [Repeat(0, 1, 10.0), Repeat(0, 2, 4.0), Repeat(1, 1, 3.0), Repeat(1, 2, 5.0)]
    # One takes 10, then 0; the other 4, 3 and 5.
    assert expected_seconds(queue, 2) == 12
    assert expected_seconds(queue, 1) == 22
    assert expected_seconds([], 3) == 0


def test_what_does_not_fit_is_left_for_what_does() -> None:
    queue = [Repeat(2, 1, 24.0), Repeat(3, 1, 40.0), Repeat(0, 1, 10.0)]
    assert pop_fitting(queue, 30.0) == Repeat(2, 1, 24.0)
    assert pop_fitting(queue, 12.0) == Repeat(0, 1, 10.0)
    assert pop_fitting(queue, 12.0) is None
    assert keys(queue) == [(3, 1)]


def searcher(
    folder: Path, queue: list[Repeat], shown: list[Any], workers: int = 3, seconds: float | None = None
) -> ConfirmSearcher:
    priced: Any = SimpleNamespace(architecture=SimpleNamespace(document=dict), costs=(1.0,))
    proposer: Any = SimpleNamespace(candidates=[Candidate(i, priced) for i in range(4)])
    answers = AnswerBook(folder, {"val": [0, 1, 1, 0]})
    return ConfirmSearcher(
        proposer, queue, folder, 7, workers, seconds, lambda one, accuracy: shown.append((one, accuracy)), answers
    )


def test_an_interrupted_confirmation_goes_on_where_it_was(tmp_path: Path) -> None:
    shown: list[Any] = []
    first = searcher(tmp_path, repeats(FRONT, MACS, 1, 6), shown)
    configs = [first.suggest(name) for name in "abc"]
    assert [config["index"] for config in configs if isinstance(config, dict)] == [2, 2, 3]
    assert [config["seed"] for config in configs if isinstance(config, dict)] == [9, 1_000_009, 1_000_010]
    called = (0, 1, 0, 0)
    result = Report(curve=(0.75,), test_accuracy=0.5, epochs=6, seconds=20.0, val_called=called).to_ray()
    first.on_trial_complete("b", result)
    first.on_trial_complete("a", error=True)
    first.on_trial_complete("c")  # cut off
    assert [accuracy for _, accuracy in shown] == [0.75, None, None]
    known = read_confirmations(tmp_path)
    assert known.values.tolist() == [[2, 1, 1_000_009, 0.75, 0.5, 6, 20.0]]
    (kept,) = read_answers(tmp_path)
    assert (kept.trial, kept.repeat, kept.called["val"].tolist()) == (2, 1, [0, 1, 0, 0])

    left = repeats(FRONT, MACS, 1, 6, set(zip(known["trial"], known["repeat"], strict=True)))
    assert keys(left) == [(2, 0), (3, 1), (0, 1)]
    again = searcher(tmp_path, left, shown)
    for name in "abc":
        again.suggest(name)
        again.on_trial_complete(name, result)
    assert again.suggest("d") == Searcher.FINISHED
    assert sorted(read_confirmations(tmp_path)[["trial", "repeat"]].values.tolist()) == [[0, 1], [2, 0], [2, 1], [3, 1]]


def test_time_ends_confirmation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(confirm.time, "monotonic", lambda: now[0])
    queue = [Repeat(2, 1, 24.0), Repeat(3, 1, 40.0), Repeat(0, 1, 10.0)]
    found = searcher(tmp_path, queue, [], workers=1, seconds=60.0)
    assert found.fits()
    assert isinstance(found.suggest("a"), dict)
    # The next begins when the first ends, at 124: 36 seconds are left then.
    config = found.suggest("b")
    assert isinstance(config, dict) and config["index"] == 0
    assert found.suggest("c") is None and keys(queue) == [(3, 1)]
    now[0] = 124.0
    found.on_trial_complete("a")
    assert found.suggest("c") is None
    now[0] = 134.0
    found.on_trial_complete("b")
    assert found.suggest("c") == Searcher.FINISHED and keys(queue) == [(3, 1)]
    assert not found.fits()


def test_a_confirmation_that_fails_early_leaves_its_time_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(confirm.time, "monotonic", lambda: now[0])
    found = searcher(tmp_path, [Repeat(2, 1, 24.0), Repeat(3, 1, 40.0)], [], workers=1, seconds=60.0)
    assert isinstance(found.suggest("a"), dict) and found.suggest("b") is None
    now[0] = 101.0
    found.on_trial_complete("a", error=True)
    assert isinstance(found.suggest("b"), dict)


@pytest.mark.parametrize(
    ("time", "control", "seeds", "shares"),
    [
        (400.0, None, 2, (300.0, 0.0, 100.0)),
        (400.0, "random:0.2", 2, (240.0, 60.0, 100.0)),
        (400.0, "random", 0, (300.0, 100.0, 0.0)),
        (None, "random", 2, (None, None, None)),
    ],
)
def test_a_limited_time_includes_control_and_confirmation(
    time: float | None, control: str | None, seeds: int, shares: tuple[float | None, ...]
) -> None:
    settings = Settings(time=time, trials=None if time else 4, control=control, confirm_seeds=seeds)
    plan: Any = SimpleNamespace(settings=settings)
    assert Plan.seconds(plan) == shares

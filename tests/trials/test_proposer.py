"""The proposer without Ray: gate, order, restart."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.spread import Reach
from nas.limits.survey import nearest, survey
from nas.pareto.front import hypervolume
from nas.space import SearchSpace
from nas.trials.answers import AnswerBook, read_answers
from nas.trials.proposer import MAX_PROPOSALS, Candidate, Proposer, ProposerSearcher
from nas.trials.results import Report, TrialResult
from nas.trials.samplers import SAMPLERS

LAYER = {"op": "full3d", "kernel": {"choice": [1, 3]}, "temporal_kernel": {"choice": [1, 3]}}
DOCUMENT: dict[str, Any] = {
    "input": {"frames": 4, "size": 16},
    "num_classes": 3,
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [{"width": {"choice": [4, 8, 16, 32]}, "layers": {"repeat": {"choice": [1, 2, 3]}, "layer": LAYER}}],
}
BUDGET = Budget.parse("2mflops")


def proposer(folder: Path, **options: Any) -> Proposer:
    return Proposer(Gate(SearchSpace.from_document(DOCUMENT, "small"), BUDGET), folder, seed=3, **options)


def accuracy(candidate: Any) -> TrialResult:
    return TrialResult("finished", accuracy=int(candidate.architecture.hash[:6], 16) / 16**6, curve=(0.5,))


def run(folder: Path, count: int, lag: int, order: random.Random, **options: Any) -> list[str]:
    """Proposes and completes in an order that `order` picks among the running ones."""
    search, running = proposer(folder, lag=lag, **options), list[Candidate]()
    while len(search.candidates) < count or running:
        candidate = search.propose() if len(search.candidates) < count else None
        if candidate:
            running.append(candidate)
        else:
            done = running.pop(order.randrange(len(running)))
            search.record(done.index, accuracy(done))
    return [candidate.architecture.hash for candidate in search.candidates]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_candidates_are_new_and_inside_the_budget(tmp_path: Path, sampler: str) -> None:
    hashes = run(tmp_path, 16, 1, random.Random(0), sampler=sampler)
    assert len(set(hashes)) == 16
    search = proposer(tmp_path)
    assert all(c.cost.macs <= 2e6 for c in search.candidates)
    assert search.proposed == 16 + search.rejected + search.duplicates
    assert (search.proposed == 16) == (sampler == "pareto")  # which knows the budget and what was proposed


def test_the_order_of_completion_does_not_matter(tmp_path: Path) -> None:
    sequences = []
    for i in range(4):
        folder = tmp_path / str(i)
        folder.mkdir()
        sequences.append(run(folder, 14, 4, random.Random(i)))
    assert sequences.count(sequences[0]) == 4


def test_without_a_lag_nothing_waits_and_all_that_is_known_is_told(tmp_path: Path) -> None:
    search = proposer(tmp_path, lag=None)
    first, second, third = search.propose(), search.propose(), search.propose()
    assert first and second and third
    search.record(second.index, accuracy(second))
    assert search.propose() is not None
    assert [trial.state.is_finished() for trial in search.study.get_trials()] == [False, True, False, False]
    again = proposer(tmp_path, lag=None)
    assert [again.propose().index for _ in range(3)] == [0, 2, 3]  # type: ignore[union-attr]


def test_waits_for_the_results_it_depends_on(tmp_path: Path) -> None:
    search = proposer(tmp_path, lag=2)
    first, second = search.propose(), search.propose()
    assert first and second and search.propose() is None
    search.record(second.index, accuracy(second))
    assert search.propose() is None
    search.record(first.index, accuracy(first))
    assert search.propose() is not None


@pytest.mark.parametrize("lost", [(), (0,), (1, 4), (0, 1, 2, 3, 4, 5, 6, 7)])
def test_a_restart_at_any_point_continues_as_if_nothing_had_happened(tmp_path: Path, lost: tuple[int, ...]) -> None:
    """A new proposer per step knows only the journal; `lost` candidates die once before their
    result is written.
    """
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    expected = run(whole, 8, 1, random.Random(0))
    started: list[int] = []
    while len(proposer(pieces).results) < 8:
        restarted = proposer(pieces)
        candidate = restarted.propose()
        assert candidate
        started.append(candidate.index)
        if candidate.index not in lost or started.count(candidate.index) == 2:
            restarted.record(candidate.index, accuracy(candidate))
    assert [c.architecture.hash for c in proposer(pieces).candidates] == expected
    assert started == sorted([*range(8), *lost])


@pytest.mark.parametrize("sampler", ["pareto", "tpe"])
def test_a_journal_that_ends_anywhere_is_gone_on_with_the_same_candidates(tmp_path: Path, sampler: str) -> None:
    def goes_on(folder: Path) -> list[str]:
        search = proposer(folder, sampler=sampler)
        while len(search.results) < 6:
            candidate = search.propose()
            assert candidate
            search.record(candidate.index, accuracy(candidate))
        assert search.proposed == 6 + search.rejected + search.duplicates
        return [candidate.architecture.hash for candidate in search.candidates]

    (tmp_path / "whole").mkdir()
    expected = goes_on(tmp_path / "whole")
    lines = (tmp_path / "whole" / "study.log").read_text().splitlines(keepends=True)
    for kept in range(len(lines) // 2, len(lines)):
        folder = tmp_path / str(kept)
        folder.mkdir()
        unfinished = lines[kept][: len(lines[kept]) // 2] if kept % 2 else ""  # as a full disk leaves it
        (folder / "study.log").write_text("".join(lines[:kept]) + unfinished)
        assert goes_on(folder) == expected, lines[kept - 1]


def test_a_front_is_found_with_fewer_trainings_than_by_chance(tmp_path: Path) -> None:
    """Accuracy grows with width and falls with depth: half of what is spent is spent in vain."""
    volumes = {}
    for sampler in ("pareto", "random"):
        folder = tmp_path / sampler
        folder.mkdir()
        search = proposer(folder, sampler=sampler)
        points = []
        for _ in range(24):
            candidate = search.propose()
            assert candidate
            stage = candidate.architecture.stages[0]
            accuracy = 1 - 2 * len(stage.layers) / (stage.width + 8)
            points.append((accuracy, np.log10(candidate.cost.macs)))
            search.record(candidate.index, TrialResult("finished", accuracy=accuracy, curve=(accuracy,)))
        volumes[sampler] = hypervolume(points, [0.8, np.log10(2e6)], [True, False])
    assert volumes["pareto"] > volumes["random"]


def test_rejections_are_told_as_completed_and_infeasible(tmp_path: Path) -> None:
    run(tmp_path, 6, 1, random.Random(0), sampler="tpe")
    search = proposer(tmp_path)
    rejected = [t for t in search.study.get_trials() if "rejected" in t.user_attrs]
    assert rejected and all(t.state == optuna.trial.TrialState.COMPLETE for t in rejected)
    assert all(max(t.constraints.values()) > 0 for t in rejected)
    assert search.study.metric_names == ["accuracy", "log10_macs"]


def test_failures_are_remembered(tmp_path: Path) -> None:
    search = proposer(tmp_path)
    candidate = search.propose()
    assert candidate
    search.record(candidate.index, TrialResult("failed", error="out of memory"))
    assert search.propose() is not None
    assert proposer(tmp_path).results[0].error == "out of memory"


def test_what_no_memory_is_enough_for_is_told_as_infeasible(tmp_path: Path) -> None:
    search = proposer(tmp_path)
    candidate = search.propose()
    assert candidate
    search.record(candidate.index, TrialResult("failed", error="too large", violation=0.5))
    search.propose()
    told = search.study.get_trials()[search._trials[0].number]
    assert told.state == optuna.trial.TrialState.COMPLETE and told.constraints == {"budget": 0, "memory": 0.5}


def test_what_the_end_of_the_time_cuts_off_keeps_what_it_had(tmp_path: Path) -> None:
    search = proposer(tmp_path, lag=None)
    searcher = ProposerSearcher(search, lambda: None)
    for name in "abc":
        searcher.suggest(name)
    report = Report(curve=(0.4,), epochs=1, seconds=2.0, last=False)
    searcher.on_trial_result("a", report.to_ray())
    searcher.on_trial_result("b", report.to_ray())
    searcher.on_trial_complete("b", replace(report, curve=(0.4, 0.5), last=True).to_ray())
    searcher.time_is_over()
    assert {i: (r.state, r.accuracy) for i, r in search.results.items()} == {
        0: ("stopped", 0.4),
        1: ("finished", 0.5),
    }
    assert proposer(tmp_path, lag=None).propose().index == 2  # type: ignore[union-attr]


def test_the_answers_of_what_no_other_dominates_when_it_ends_are_kept(tmp_path: Path) -> None:
    """Each is more accurate than those before it, but for the last, which is worse and dearer."""
    search = proposer(tmp_path, lag=None)
    searcher = ProposerSearcher(search, lambda: None, AnswerBook(tmp_path, {"val": [0, 1, 1, 0]}))
    called = [(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0)]
    for name in "abc":
        searcher.suggest(name)
    dearest = max(range(3), key=lambda i: search.candidates[i].costs)
    order = [i for i in range(3) if i != dearest] + [dearest]
    for place, index in enumerate(order):
        accuracy = (0.5, 0.75, 0.25)[place]
        report = Report(curve=(accuracy,), epochs=1, seconds=2.0, val_called=called[place])
        searcher.on_trial_complete("abc"[index], report.to_ray())
    assert [(each.trial, each.right("val").mean()) for each in read_answers(tmp_path)] == [
        (order[0], 0.5),
        (order[1], 0.75),
    ]


def test_trainings_that_lose_their_process_in_a_row_end_the_search(tmp_path: Path) -> None:
    """One that is trained in between begins the count again."""
    search = proposer(tmp_path, lag=None)
    searcher = ProposerSearcher(search, lambda: None)
    report = Report(curve=(0.4,), epochs=1, seconds=2.0).to_ray()
    for trial in ["a", "good", *"bcdef"]:
        assert isinstance(searcher.suggest(trial), dict) and not searcher.device_failed
        searcher.begun.add(trial)
        searcher.on_trial_complete(trial, None if trial != "good" else report, error=trial != "good")
    assert searcher.device_failed and searcher.suggest("g") == "FINISHED"
    assert [result.state for _, result in sorted(search.results.items())] == ["failed", "finished", *["failed"] * 5]


def test_one_whose_process_is_lost_before_its_training_begins_is_tried_once_more(tmp_path: Path) -> None:
    search = proposer(tmp_path)
    searcher = ProposerSearcher(search, lambda: None)
    first = searcher.suggest("a")
    searcher.on_trial_complete("a", None, error=True)
    assert searcher.reopened == {0} and not search.results
    assert searcher.suggest("b") == first
    searcher.on_trial_complete("b", None, error=True)
    assert [(index, result.failure) for index, result in search.results.items()] == [(0, "lost")]
    assert searcher.suggest("c") != first


def test_a_trial_that_a_server_of_ray_took_along_says_nothing_of_its_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = proposer(tmp_path)
    searcher = ProposerSearcher(search, lambda: None)
    searcher.suggest("a")
    monkeypatch.setattr("nas.trials.proposer.is_whole", lambda: False)
    searcher.on_trial_complete("a", None, error=True)
    assert not search.results and proposer(tmp_path).propose().index == 0  # type: ignore[union-attr]


def test_a_trial_that_takes_too_long_is_told_as_failed_and_no_device_is_blamed(tmp_path: Path) -> None:
    search = proposer(tmp_path, lag=None)
    searcher = ProposerSearcher(search, lambda: None)
    for trial in "abcdef":
        searcher.suggest(trial)
        searcher.expired.add(trial)
        searcher.on_trial_complete(trial, None, error=True)
    assert not searcher.device_failed
    assert {result.failure for result in search.results.values()} == {"timeout"} and len(search.results) == 6
    search.learn()
    assert {trial.state for trial in search.study.get_trials()} == {optuna.trial.TrialState.FAIL}


def test_with_a_lag_no_more_is_told_than_the_next_proposal_goes_by(tmp_path: Path) -> None:
    """Else an interruption would change what is proposed after it."""
    search = proposer(tmp_path, lag=2)
    first, second = search.propose(), search.propose()
    assert first and second
    for candidate in (first, second):
        search.record(candidate.index, accuracy(candidate))
    assert search.learn()
    assert [trial.state.is_finished() for trial in search.study.get_trials()] == [True, False]


@pytest.mark.parametrize("sampler", ["pareto", "random"])
@pytest.mark.filterwarnings("ignore:no candidate was found")
def test_an_exhausted_space_ends_the_search(tmp_path: Path, sampler: str) -> None:
    data = {**DOCUMENT, "stages": [{"width": {"choice": [4, 8]}, "layers": [{"op": "full3d"}]}]}
    search = Proposer(Gate(SearchSpace.from_document(data, "two"), BUDGET), tmp_path, seed=0, sampler=sampler)
    for _ in range(2):
        candidate = search.propose()
        assert candidate
        search.record(candidate.index, accuracy(candidate))
    with pytest.raises(StopIteration):
        search.propose()
    assert search.duplicates >= (1 if sampler == "pareto" else MAX_PROPOSALS)


def test_nearest_finds_the_cheapest_and_a_range() -> None:
    space = SearchSpace.from_document(DOCUMENT, "small")
    cheapest = min(survey(space, 200)["macs"])
    found = nearest(Gate(space, Budget.parse("0.001mflops")))
    assert found.cost.macs <= cheapest and found.violation == pytest.approx(found.cost.macs / 1e3 - 1)
    found = nearest(Gate(space, Budget.parse("5..6mflops")))
    assert found.violation == 0 and 5e6 <= found.cost.macs <= 6e6


def test_what_is_out_of_reach_is_not_over_the_budget(tmp_path: Path) -> None:
    """Optuna's samplers do not know the reach; what they propose outside of it is counted apart, in
    a second session too.
    """
    gate = Gate(SearchSpace.from_document(DOCUMENT, "small"), Budget.parse("1gflops"), reach=Reach(0.3e6, 1e6))
    search = Proposer(gate, tmp_path, seed=3, sampler="tpe")
    for _ in range(12):
        candidate = search.propose()
        assert candidate is not None and 0.3e6 <= candidate.cost.macs <= 1e6
        search.record(candidate.index, accuracy(candidate))
    assert search.unreached and not search.rejected
    assert search.proposed == 12 + search.unreached + search.duplicates
    again = Proposer(gate, tmp_path, seed=3, sampler="tpe")
    assert (again.unreached, again.rejected) == (search.unreached, 0)

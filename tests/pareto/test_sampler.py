"""The sampler in plain Optuna studies: Optuna's own contract, known costs, limits, rungs, trials in
flight.
"""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from nas.pareto import acquisition
from nas.pareto.acquisition import Acquisition, Results, _extrapolated, _radical_inverse, _results_for_kernels
from nas.pareto.front import hypervolume
from nas.pareto.parameters import IndependentSpace, Params
from nas.pareto.sampler import ParetoSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """What Optuna asks of every sampler, with one that models from the second result on."""

    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return lambda: ParetoSampler(initial=2, changes=16, seed=0)


LETTERS = {f"layer{i}": CategoricalDistribution(["a", "b", "c"]) for i in range(6)}
DISTRIBUTIONS: dict[str, BaseDistribution] = {**LETTERS}


def price(candidates: Sequence[Params]) -> np.ndarray:
    """1 for each a, 2 for each b, 4 for each c."""
    return np.array([sum({"a": 1, "b": 2, "c": 4}[letter] for letter in c.values()) for c in candidates], float)


def error(params: Params) -> float:
    """Falls with what is spent, most in the last layers; from 13.2 for all a down to 0.9."""
    return float(np.prod([{"a": 1.0, "b": 0.8, "c": 0.64 - 0.03 * i}[params[f"layer{i}"]] for i in range(6)]) * 13.2)


def suggested(trial: optuna.Trial) -> Params:
    return {name: trial.suggest_categorical(name, d.choices) for name, d in LETTERS.items()}


def run(sampler: optuna.samplers.BaseSampler, count: int, study: optuna.Study | None = None) -> optuna.Study:
    study = study or optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = suggested(trial)
        return error(params), float(price([params])[0])

    study.optimize(objective, count)
    return study


def priced(**options: Any) -> ParetoSampler:
    return ParetoSampler(LETTERS, **{"cost": price, "ideal": [0.0], "seed": 0, **options})


ALL = [dict(zip(LETTERS, letters, strict=True)) for letters in itertools.product("abc", repeat=6)]
REFERENCE = [float(np.median([error(params) for params in ALL])), 24.0]
WHOLE = hypervolume([(error(params), price([params])[0]) for params in ALL], REFERENCE, [False, False])


def regret(values: Sequence[Sequence[float]]) -> float:
    """Share of the hypervolume of all 729 candidates that is missing, in %."""
    return 100 * (1 - hypervolume(values, REFERENCE, [False, False]) / WHOLE)


def missed(study: optuna.Study) -> float:
    return regret([trial.values for trial in study.trials])


def test_nothing_is_proposed_twice_and_the_front_grows_faster_than_by_chance() -> None:
    study = run(priced(), 48)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 48
    rng = np.random.default_rng(0)
    drawn = [ALL[i] for i in rng.integers(len(ALL), size=480)]
    by_chance = [regret([(error(p), price([p])[0]) for p in drawn[i : i + 48]]) for i in range(0, 480, 48)]
    assert missed(study) < 0.5 * min(by_chance)


def test_the_first_proposals_spread_over_the_known_cost() -> None:
    """One in the middle, then one in the lower and one in the upper half, of what random networks
    cost.
    """
    costs = [trial.values[1] for trial in run(priced(), 3).trials]
    lower, upper = np.quantile(price(ALL), [0.3, 0.7])
    assert lower <= costs[0] <= upper and costs[1] < costs[0] < costs[2]


def test_proposals_follow_from_seed_number_and_results_alone() -> None:
    whole = run(priced(), 30)
    pieces = optuna.create_study(directions=["minimize", "minimize"])
    for _ in range(30):
        pieces.sampler = priced()  # forgets all that it has computed
        run(pieces.sampler, 1, pieces)
    assert [t.params for t in pieces.trials] == [t.params for t in whole.trials]
    assert [t.params for t in run(priced(seed=1), 5).trials] != [t.params for t in whole.trials[:5]]


@pytest.mark.parametrize("most", [6, 7, 9])
def test_no_proposal_is_outside_a_hard_limit(most: int) -> None:
    """7 of the 729 candidates cost at most 7: all a, or one b. For 6, 7 and 9 it is 1, 7 and 83."""
    inside = {6: 1, 7: 7, 9: 83}[most]
    study = optuna.create_study(directions=["minimize", "minimize"])
    sampler = priced(violation=lambda candidates: np.maximum(price(candidates) / most - 1, 0), initial=4)
    study.sampler = sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(min(inside, 20)):
            run(sampler, 1, study)
            assert not sampler.exhausted
        assert all(trial.values[1] <= most for trial in study.trials)
        assert len({tuple(trial.params.values()) for trial in study.trials}) == min(inside, 20)
        if inside < 20:
            with pytest.warns(UserWarning, match="new and inside the limits"):
                run(sampler, 1, study)
            assert sampler.exhausted
            assert study.trials[-1].values[1] <= most


def test_running_trials_are_not_proposed_again_and_count_as_predicted() -> None:
    """Asked for eight at once: they are eight, and not eight changes of the same place of the
    front.
    """
    study = run(priced(), 24)
    asked = []
    for _ in range(8):
        trial = study.ask()
        asked.append(suggested(trial))
    assert len({tuple(params.values()) for params in asked}) == 8
    assert len(set(price(asked))) >= 4


def test_results_told_as_infeasible_are_not_believed() -> None:
    """Twenty wonderful results outside the limits leave proposals as if the error were unknown
    there.
    """
    plain, polluted = run(priced(), 20), run(priced(), 20)
    proposed = [trial.params for trial in polluted.trials]
    for params in [params for params in reversed(ALL) if params not in proposed][:3]:
        trial = optuna.create_trial(params=params, distributions=DISTRIBUTIONS, values=[1e-6, 0.0])
        trial.set_constraint("budget", 1.0)
        polluted.add_trial(trial)
    for study in (plain, polluted):
        run(study.sampler, 12, study)
    feasible = [t for t in polluted.trials if not t.constraints]
    assert regret([t.values for t in feasible]) < missed(plain) + 3
    assert len({tuple(t.params.values()) for t in polluted.trials}) == 35


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["maximize", "maximize"]])
def test_accuracy_may_be_maximised(directions: list[Literal["minimize", "maximize"]]) -> None:
    """1 - error / 14 with ideal 1, and the negative cost to be maximised, are the same search."""
    sign = 1 if directions[1] == "minimize" else -1
    sampler = priced(cost=lambda c: sign * price(c), ideal=[1.0])
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.optimize(lambda t: (1 - error(p := suggested(t)) / 14, sign * float(price([p])[0])), 24)
    usual = optuna.create_study(directions=["minimize", "minimize"], sampler=priced())
    usual.optimize(lambda t: (error(p := suggested(t)) / 14, float(price([p])[0])), 24)
    first = [t.params for t in study.trials[:12]]
    assert sign == -1 or first == [t.params for t in usual.trials[:12]]
    assert regret([(14 * (1 - t.values[0]), sign * t.values[1]) for t in study.trials]) < 10


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("known", [0, 1, 2])
def test_two_to_four_objectives_of_which_some_are_known(objectives: int, known: int) -> None:
    def all_of(params: Params) -> list[float]:
        """Error, two more of the kind, then costs: the last `known` are given to the sampler."""
        cost = float(price([params])[0])
        return [error(params), cost, error(params) * 2 + cost, (cost - 12) ** 2][:objectives]

    known = min(known, objectives - 1)
    cost = (lambda candidates: [all_of(p)[objectives - known :] for p in candidates]) if known else None
    sampler = ParetoSampler(LETTERS, cost=cost, ideal=[0.0], initial=8, changes=32, seed=0)
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    study.optimize(lambda trial: all_of(suggested(trial)), 16)
    assert len({tuple(t.params.values()) for t in study.trials}) == 16


def test_given_trials_warm_the_search() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=priced())
    rng = np.random.default_rng(0)
    for _ in range(30):
        params = dict(IndependentSpace(LETTERS).sample(rng))
        values = [error(params), price([params])[0]]
        study.add_trial(optuna.create_trial(params=params, distributions=DISTRIBUTIONS, values=values))
    given = {name: "c" for name in LETTERS}
    study.enqueue_trial(given)
    run(study.sampler, 18, study)
    assert study.trials[30].params == given
    assert regret([t.values for t in study.trials[31:]]) < 0.5 * regret([t.values for t in study.trials[:30]])


def test_a_search_begins_where_it_is_told_to() -> None:
    """All b costs 12, all c 24: the second is changed until it costs 20 at most, in two of its
    layers.
    """
    start = [{name: letter for name in LETTERS} for letter in "bc"]
    sampler = priced(start=start, violation=lambda candidates: np.maximum(price(candidates) / 20 - 1, 0))
    trials = run(sampler, 3).trials
    assert trials[0].params == start[0]
    assert trials[1].values[1] <= 20 and sum(letter == "c" for letter in trials[1].params.values()) == 4
    assert trials[2].values[1] <= 20


def test_given_trials_of_one_part_of_the_range_do_not_blind_the_search() -> None:
    """The 16 best of all are expensive: every other quarter of the cost is looked into before
    anything is believed.
    """
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=priced())
    for params in sorted(ALL, key=error)[:16]:
        values = [error(params), price([params])[0]]
        study.add_trial(optuna.create_trial(params=params, distributions=DISTRIBUTIONS, values=values))
    given = missed(study)
    run(study.sampler, 24, study)
    assert missed(study) < 0.2 * given


def test_several_threads_propose_nothing_twice() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=priced())
    study.optimize(lambda trial: (error(p := suggested(trial)), float(price([p])[0])), 32, n_jobs=4)
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 32


def test_a_pickled_sampler_goes_on() -> None:
    study = run(ParetoSampler(initial=4, seed=0), 8)
    copy = pickle.loads(pickle.dumps(study.sampler))
    again = optuna.create_study(directions=["minimize", "minimize"], sampler=copy)
    again.add_trials(study.trials)
    assert run(copy, 1, again).trials[-1].params == run(study.sampler, 1, study).trials[-1].params


def test_a_result_that_comes_late_is_used_as_after_a_restart() -> None:
    """Trial 3 is told last: the kernel must not stay the one that was chosen without it."""
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=priced(initial=6))
    late = None
    for i in range(20):
        trial = study.ask()
        params = suggested(trial)
        if i == 3:
            late = trial, [error(params), price([params])[0]]
        else:
            study.tell(trial, [error(params), price([params])[0]])
    assert late
    study.tell(*late)
    fresh = optuna.create_study(directions=["minimize", "minimize"], sampler=priced(initial=6))
    fresh.add_trials(study.trials)
    assert suggested(fresh.ask()) == suggested(study.ask())


class Conditional:
    """One choice, and a second that only one of its values has."""

    def __init__(self) -> None:
        self.distributions = {"op": CategoricalDistribution(["a", "b"]), "kernel": IntDistribution(1, 40)}

    def contains(self, params: Params) -> bool:
        return params.keys() == ({"op", "kernel"} if params.get("op") == "b" else {"op"})

    def sample(self, rng: np.random.Generator) -> Params:
        return {"op": "b", "kernel": int(rng.integers(1, 41))} if rng.random() < 0.9 else {"op": "a"}

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        return self.sample(rng)

    def codes(self, candidates: Sequence[Params]) -> np.ndarray:
        return np.array([[params["op"] == "b"] for params in candidates], np.int64)

    def features(self, candidates: Sequence[Params]) -> np.ndarray:
        return np.array([[params.get("kernel", 0)] for params in candidates], float)

    def key(self, params: Params) -> Any:
        return params["op"], params["kernel"] if params["op"] == "b" else 0


def test_trials_that_broke_off_are_no_candidates() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("op", ["a", "b"]) == "a":
            return 50.0
        if trial.number % 5 == 4:
            raise ValueError("out of memory")
        return float((trial.suggest_int("kernel", 1, 40) - 30) ** 2)

    study = optuna.create_study(sampler=ParetoSampler(Conditional(), initial=5, changes=8, seed=0))
    study.optimize(objective, 25, catch=ValueError)
    proposed = [tuple(t.params.values()) for t in study.trials if len(t.params) == 2]
    assert len(set(proposed)) == len(proposed) and study.best_value <= 1


def test_other_parameters_differ_from_trial_to_trial_and_follow_from_the_seed() -> None:
    def drawn() -> list[float]:
        study = optuna.create_study(directions=["minimize", "minimize"])
        for _ in range(5):
            study.sampler = priced()
            study.optimize(lambda t: (error(suggested(t)) + t.suggest_float("lr", 0, 1), 1.0), 1)
        return [trial.params["lr"] for trial in study.trials]

    assert drawn() == drawn() and len(set(drawn())) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": lambda candidates: [np.inf] * len(candidates)}, "cost of .* is .inf.; allowed: finite numbers"),
        ({"features": lambda candidates: [np.nan] * len(candidates)}, "features of .* allowed: finite numbers"),
        ({"cost": lambda candidates: np.ones((len(candidates), 3))}, "cost has 3 columns"),
        ({"ideal": [5.0]}, "is better than the ideal 5.0"),
        ({"start": [{"layer0": "a"}]}, "start .* is no candidate of the space"),
    ],
)
def test_wrong_functions_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(priced(initial=4, **options), 6)


def test_what_is_expected_to_gain_is_measured_against_the_front_with_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points that count are those trained and running; the worst is the middle of random ones,
    and beyond 24.
    """
    asked: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def spy(beliefs: Any, known: np.ndarray, front: np.ndarray, worst: np.ndarray) -> np.ndarray:
        asked.append((known, front, worst))
        return np.zeros(len(known))

    monkeypatch.setattr(acquisition, "expected_hypervolume_improvement", spy)
    study = run(priced(initial=8), 9)
    running = study.ask()
    suggested(running)  # number 9
    cheap = {name: "a" for name in LETTERS}
    study.enqueue_trial(cheap)
    suggested(study.ask())  # number 10, in training, cheaper than anything: it is on the front whatever is predicted
    asked.clear()
    suggested(study.ask())  # number 11 is a doubted one
    suggested(study.ask())
    known, front, worst = asked[-1]
    assert 6.0 in front[:, 1] and 6.0 not in known[:, 0]
    assert worst[1] == pytest.approx(24 + 0.1 * 18) or worst[1] > max(front[:, 1].max(), known.max())
    assert front[:, 0].min() < worst[0] < 13.2


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_what_is_modelled(direction: str, sign: int) -> None:
    """Without an ideal the value, turned; with one the logarithm of the distance; a perfect one is
    half the next.
    """
    space = IndependentSpace(LETTERS)
    options: dict[str, Any] = {"cost": None, "violation": None, "start": (), "initial": 4, "draws": 4}
    options |= {"changes": 4, "first_every": 4, "seed": 0}
    results = Results(np.array([float(sign)]))
    results.values = [[2.0], [3.0], [5.0]]
    results.curves = [[], [], []]
    plain = Acquisition(space, ideal=(), **options)._targets(results, 0)[0]
    assert plain == pytest.approx(sign * np.array([2.0, 3.0, 5.0]))
    ideal = 2.0 if sign > 0 else 5.0
    found = Acquisition(space, ideal=(ideal,), **options)._targets(results, 0)[0]
    assert found == pytest.approx(np.log([0.5, 1.0, 3.0] if sign > 0 else [3.0, 2.0, 1.0]))


def test_what_is_stopped_counts_as_what_it_would_have_come_to() -> None:
    """Two gained -1 and -3 from the first rung to the second, one of them -1 to the third; the last
    was stopped.

    It is expected to gain -2, then -1. Variances: (1 + 1 + 2 v) / 3 and (0 + 2 v') / 2 with v, v'
    the variances of all.
    """
    curves = [np.array([5.0, 4.0, 3.0]), np.array([6.0, 3.0]), np.array([7.0])]
    values, extra = _extrapolated(np.array([3.0, 3.0, 7.0]), curves)
    assert values == pytest.approx([3, 2, 4])
    first = np.var([3.0, 3.0, 5.0])
    second = np.var([3.0, 2.0, 4.0])
    assert extra == pytest.approx([0, 2 * second / 2, (2 + 2 * first) / 3 + 2 * second / 2])
    values, extra = _extrapolated(np.array([3.0, 4.0]), [np.empty(0), np.array([4.0])])
    assert values == pytest.approx([3, 4]) and not extra.any()


def test_rungs_of_trials_are_read_by_the_given_function() -> None:
    """Stopped at the first of two rungs, where errors are still twice as high: no reason to think
    less of them.
    """
    stopped = {i for i in range(40) if i % 2}
    sampler = priced(curve=lambda trial: trial.user_attrs["curve"])
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for i in range(40):
        trial = study.ask()
        params = suggested(trial)
        curve = [2 * error(params), error(params)][: 1 if i in stopped else 2]
        trial.set_user_attr("curve", curve)
        study.tell(trial, [curve[-1], price([params])[0]])
    assert regret([(error(t.params), t.values[1]) for t in study.trials]) < missed(run(priced(), 40)) + 2


def test_of_many_results_the_nearest_to_the_front_and_some_of_the_rest_are_modelled() -> None:
    """Ten results are all on the front, each of ten more is worse than all before. Of eight that
    are kept, four are the first of the front, and four of the other sixteen are five places apart.
    """
    results = Results(np.array([1.0, -1.0]))
    results.numbers = list(range(20))
    results.values.extend((i, i - 9) for i in range(10))
    results.values.extend((10 + i, -10 - i) for i in range(10))
    results.trained = [{"x": i} for i in range(20)]
    results.curves = [[] for _ in range(20)]
    results.lost = [{"x": 99}]
    assert results.telling(20) is results
    kept = results.telling(8)
    assert kept.numbers == [0, 1, 2, 3, 4, 9, 14, 19] and kept.trained[-1] == {"x": 19}
    assert kept.values[4] == (4, -5) and len(kept.curves) == 8 and kept.lost == results.lost


def test_a_space_is_asked_once_about_a_trial_that_has_ended() -> None:
    asked: list[Params] = []

    class Counting(IndependentSpace):
        def contains(self, params: Params) -> bool:
            asked.append(params)
            return super().contains(params)

    sampler = ParetoSampler(Counting(LETTERS), cost=price, initial=4, changes=4, seed=0)
    run(sampler, 8)
    assert len(asked) == 7  # the last trial has nobody behind it


def test_numbers_have_places_and_letters_have_none() -> None:
    numbers = IntDistribution(1, 16, log=True)
    space = IndependentSpace({"a": CategoricalDistribution([3, 4]), "n": numbers, "x": FloatDistribution(0, 1)})
    places = space.places([{"a": 3, "n": 4, "x": 0.5}, {"a": 4, "n": 16, "x": 0.5}])
    assert np.isnan(places[:, 0]).all() and places[:, 1] == pytest.approx([0.5, 1.0]) and places.shape == (2, 2)


def test_steps_of_the_kernel_and_of_the_first_quantiles() -> None:
    assert [_results_for_kernels(n, 16) for n in (16, 17, 20, 21, 22, 23, 24)] == [16, 17, 20, 20, 22, 22, 24]
    assert [_radical_inverse(i) for i in (1, 2, 3, 4, 5)] == [0.5, 0.25, 0.75, 0.125, 0.625]


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(1, 7, step=3), {1, 4, 7}),
        (IntDistribution(1, 4, log=True), {1, 2, 3, 4}),
        (FloatDistribution(0.0, 1.0, step=0.5), {0.0, 0.5, 1.0}),
        (CategoricalDistribution([None, "a", 2]), {None, "a", 2}),
    ],
)
def test_values_that_random_draws_and_changes_take(distribution: Any, values: set[Any]) -> None:
    space = IndependentSpace({"x": distribution})
    rng = np.random.default_rng(0)
    assert {space.sample(rng)["x"] for _ in range(100)} == values
    one = space.sample(rng)
    assert {space.mutate(one, rng)["x"] for _ in range(100)} == values - {one["x"]}


@pytest.mark.parametrize(
    ("options", "least"), [({"initial": 0}, 1), ({"draws": 0}, 1), ({"changes": 0}, 1), ({"first_every": -1}, 0)]
)
def test_bad_arguments_are_refused(options: dict[str, Any], least: int) -> None:
    with pytest.raises(ValueError, match=f"is not allowed; allowed: from {least}"):
        ParetoSampler(**options)


class OneLine:
    """Predictions of the error of networks of one parameter x: 1 - x / 100, by .1."""

    def predict(self, points: Any) -> tuple[np.ndarray, np.ndarray]:
        return 1 - points.features[:, 0] / 100, np.full(len(points), 0.1)


@pytest.mark.parametrize(("every", "alone"), [(0, set()), (2, {1, 3, 5}), (4, {3})])
def test_every_so_many_proposals_are_for_the_first_objective_alone(
    every: int, alone: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of all is as uncertain, and falls with the cost x, so that the largest improvement
    of the error is expected of the largest x; that of the hypervolume is set to be largest for the
    cheapest.
    """
    monkeypatch.setattr(acquisition, "expected_hypervolume_improvement", lambda *given: -given[1][:, 0])
    monkeypatch.setattr(Acquisition, "_surrogates", lambda *given: [OneLine()])
    space = IndependentSpace({"x": IntDistribution(1, 100)})
    options: dict[str, Any] = {"violation": None, "ideal": (), "start": (), "initial": 1, "draws": 200, "changes": 1}
    made = Acquisition(space, cost=lambda found: [[c["x"]] for c in found], first_every=every, seed=0, **options)
    made._scale = np.zeros(2), np.ones(2)
    results = Results(
        np.ones(2), [0], [{"x": 50}], [[0.5, 50.0]], [[]], seen={space.key({"x": x}) for x in range(40, 60)}
    )
    monkeypatch.setattr(made, "_initial_design", lambda *given: None)
    proposed = {number: made.propose(results, number)["x"] for number in range(6)}
    assert {number for number, x in proposed.items() if x > 95} == alone
    assert all(x < 5 for number, x in proposed.items() if number not in alone)


def test_where_trainings_are_lost_few_others_are_tried() -> None:
    """What costs 16 and more of 24 never fits: by the tenth proposal that has been seen, and few
    fail after it.
    """
    sampler = priced(initial=4, changes=16)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    lost = 0
    for number in range(30):
        trial = study.ask()
        params = suggested(trial)
        cost = float(price([params])[0])
        if cost >= 16:
            trial.set_constraint("memory", cost - 15)
            lost += number >= 10
        study.tell(trial, [error(params), cost])
    assert lost <= 5


def test_values_of_an_earlier_space_in_a_study_are_passed_over() -> None:
    """A study whose parameter was a number before: its trials are of no candidate, and no error."""
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(params={"x": 3}, distributions={"x": IntDistribution(0, 9)}, value=1.0))
    assert not IndependentSpace({"x": CategoricalDistribution(["a", "b"])}).contains({"x": 3})
    study.sampler = ParetoSampler({"x": IntDistribution(0, 9)}, initial=1, changes=2, seed=0)
    assert not IndependentSpace({"x": IntDistribution(0, 9)}).contains({"x": "a"})
    assert study.ask({"x": IntDistribution(0, 9)}).params["x"] != 3


def test_a_violation_may_be_infinite_and_not_nan() -> None:
    """Where a figure cannot be known, a candidate is outside by nobody knows how much."""
    some = run(priced(violation=lambda c: np.where(price(c) > 12, np.inf, 0), initial=4), 8)
    assert all(trial.values[1] <= 12 for trial in some.trials)
    with pytest.raises(ValueError, match=r"violation of .* is \[nan\]; allowed: numbers"):
        run(priced(violation=lambda c: [np.nan] * len(c)), 1)


def test_a_search_leaves_the_process_as_it_is() -> None:
    """Neither warning filters, nor verbosity, nor numpy's random state and errors change."""
    program = """
import warnings, numpy as np, optuna, torch  # torch adds filters when it is imported
def state():
    return list(warnings.filters), optuna.logging.get_verbosity(), np.random.get_state()[1].tolist(), np.geterr()
optuna.logging.set_verbosity(optuna.logging.ERROR)
before = state()
from nas.pareto.sampler import ParetoSampler
study = optuna.create_study(sampler=ParetoSampler(initial=2, changes=4, seed=0))
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), 5)
assert state() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True)

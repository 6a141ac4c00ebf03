"""An Optuna sampler for searches in which some objectives are known before anything is trained.

A network's accuracy must be bought by training it; its cost is known as soon as it is named.
`ParetoSampler` proposes what can be expected to add most to the front, with the known objectives
exact; nothing twice, and nothing outside a hard limit. It needs functions of parameters and a
study, and nothing of video:

    from nas.pareto.sampler import ParetoSampler

    sampler = ParetoSampler(cost=lambda candidates: [[macs(c)] for c in candidates], ideal=[0.0])
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(lambda trial: (error(suggested(trial)), macs(trial.params)), 100)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.pareto.acquisition import Acquisition, Results
from nas.pareto.candidates import Function
from nas.pareto.parameters import IndependentSpace, Params, Space


@dataclass
class _Reading:
    """What trials tell.

    Attributes:
        results: As the acquisition takes them, but for those without a result.
        lost: Those, by key; one that was trained too, as a repetition that was left out, has a
            result.
        trained: Keys of those with one.
        trials: How many trials of the study were read: what has ended does not change and is read
            once, up to the first that has not ended.
    """

    results: Results
    lost: dict[Hashable, Params] = field(default_factory=dict)
    trained: set[Hashable] = field(default_factory=set)
    trials: int = 0

    def copy(self) -> _Reading:
        return _Reading(self.results.copy(), dict(self.lost), set(self.trained), self.trials)


def _no_curve(trial: FrozenTrial) -> Sequence[float]:
    return ()


class ParetoSampler(BaseSampler):
    """Proposes what can be expected to add most to the front of objectives of which some are known.

    The first proposals spread over the known objective. Then every proposal fits a Gaussian process
    to each objective that training tells, and is the candidate with the largest expected
    improvement of the hypervolume (Emmerich et al., 2006) among random ones and changes of those on
    the front; at every fourth, that with the largest expected improvement of the first objective
    alone (Jones et al., 1998), whose best value is what is asked for most often. Trials that are
    running count as what is predicted of them. The result of a training that was stopped at a rung
    counts as the final value that is expected from there, and as less certain, by how other results
    changed beyond that rung. Trials that were told as infeasible, or failed, make candidates like
    theirs less worth proposing.

    A proposal follows from the seed, the number of its trial and the trials in the study alone. The
    other parameters of a trial that was enqueued with some of them are proposed without regard to
    those.

    Args:
        space: Distributions of independent parameters by name; a `nas.pareto.parameters.Space`
            where they depend on each other; or None for those parameters that all trials of the
            study have had. Parameters beyond it are drawn at random.
        cost: From candidates to the values of the last objectives, (candidates, known objectives).
        violation: From candidates to how far each lies outside the hard limits, (candidates,); 0
            inside, inf for outside by an unknown amount.
        features: From candidates to numbers that are close where they are alike, beside their
            parameters and cost, (candidates, features); a `Space` has its own.
        ideal: Of the first objectives, the value that cannot be bettered, such as 0 for an error
            and 1 for an accuracy: then the logarithm of the distance from it is modelled. None for
            an objective without one.
        curve: From a finished trial to its first objective at the rungs that it reached.
        start: Candidates to begin with; one outside the limits is changed step by step until it is
            inside.
        initial: How many results there are before anything is modelled.
        draws: How many random candidates are drawn for a proposal; all that were drawn are
            considered, up to 1,000.
        changes: How many changes of networks on the front are considered for a proposal.
        first_every: Every so many proposals one is for the first objective alone; 0 for none.
        seed: Of all random numbers.

    Raises:
        ValueError: `initial`, `draws` or `changes` is below 1, or `first_every` below 0.
    """

    def __init__(
        self,
        space: Space | Mapping[str, BaseDistribution] | None = None,
        *,
        cost: Function | None = None,
        violation: Function | None = None,
        features: Function | None = None,
        ideal: Sequence[float | None] = (),
        curve: Callable[[FrozenTrial], Sequence[float]] = _no_curve,
        start: Sequence[Params] = (),
        initial: int = 5,
        draws: int = 32,
        changes: int = 256,
        first_every: int = 4,
        seed: int | None = None,
    ) -> None:
        numbers = {
            "initial": (initial, 1),
            "draws": (draws, 1),
            "changes": (changes, 1),
            "first_every": (first_every, 0),
        }
        for name, (value, least) in numbers.items():
            if value < least:
                raise ValueError(f"{name} {value} is not allowed; allowed: from {least}")
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._space = IndependentSpace(space, features) if isinstance(space, Mapping) else space
        self._features, self._curve = features, curve
        self._options: dict[str, Any] = {
            "cost": cost,
            "violation": violation,
            "ideal": tuple(ideal),
            "start": tuple(start),
            "initial": initial,
            "draws": draws,
            "changes": changes,
            "first_every": first_every,
            "seed": self._seed,
        }
        self._intersection = IntersectionSearchSpace()
        self._study = ""
        self._acquisition: Acquisition | None = None
        self._proposed: dict[int, Params] = {}
        self._ended: _Reading | None = None
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """A lock cannot be pickled, and what only saves time need not be."""
        return {**self.__dict__, "_lock": None, "_acquisition": None, "_ended": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    @property
    def exhausted(self) -> bool:
        """Whether nothing new was found for the last proposal, which repeats an earlier one."""
        return self._acquisition is not None and self._acquisition.exhausted

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._space is not None:
            return dict(self._space.distributions)
        return self._intersection.calculate(study)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = np.random.SeedSequence((self._seed, trial.number, crc32(param_name.encode()))).generate_state(1)[0]
        return RandomSampler(int(seed)).sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A candidate: a value for each parameter that it has, which may be fewer than the search
        space names.
        """
        if not search_space:
            return {}
        with self._lock:
            if study.study_name != self._study:
                self._study, self._acquisition, self._proposed = study.study_name, None, {}
            acquisition = self._acquisition_of(search_space)
            proposal = acquisition.propose(self._results(study, trial, acquisition.space), trial.number)
            self._proposed[trial.number] = proposal
        if acquisition.exhausted:
            warnings.warn("no candidate was found that is new and inside the limits; one is repeated", stacklevel=2)
        return dict(proposal)

    def _acquisition_of(self, search_space: Mapping[str, BaseDistribution]) -> Acquisition:
        current = self._acquisition
        if current is None or (self._space is None and dict(current.space.distributions) != dict(search_space)):
            space = self._space or IndependentSpace(search_space, self._features)
            current = self._acquisition = Acquisition(space, **self._options)
            self._ended = None
        return current

    def _results(self, study: Study, trial: FrozenTrial, space: Space) -> Results:
        if self._ended is None:
            signs = np.array([1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions])
            self._ended = _Reading(Results(signs))
        trials = study.get_trials(deepcopy=False)
        for other in trials[self._ended.trials :]:
            if not other.state.is_finished():
                break
            self._read(other, space, self._ended)
            self._ended.trials += 1
        found = self._ended.copy()
        for other in trials[self._ended.trials :]:
            if other.number != trial.number:
                self._read(other, space, found)
        found.results.lost = [params for key, params in found.lost.items() if key not in found.trained]
        return found.results

    def _read(self, trial: FrozenTrial, space: Space, into: _Reading) -> None:
        # A trial that runs in another thread may not have been given all of its parameters yet.
        early = self._proposed.get(trial.number) if trial.state == TrialState.RUNNING else None
        params = {n: v for n, v in (early or trial.params).items() if n in space.distributions}
        if not space.contains(params):
            return
        key, found = space.key(params), into.results
        found.seen.add(key)
        inside = all(violation <= 0 for violation in trial.constraints.values())
        if trial.state == TrialState.RUNNING:
            found.running.append(params)
        elif trial.state == TrialState.COMPLETE and inside and np.isfinite(trial.values).all():
            found.numbers.append(trial.number)
            found.trained.append(params)
            found.values.append(trial.values)
            found.curves.append(self._curve(trial))
            into.trained.add(key)
        else:
            into.lost[key] = params

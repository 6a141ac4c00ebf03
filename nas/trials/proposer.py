"""Which candidate to train next: an Optuna study behind a gate of exact costs, and its Ray Tune
searcher.

The study lives in a journal inside the run folder and is the whole memory of a search: a proposal
is written before it is trained and its result as soon as it is known, so an interrupted search
continues from the journal alone.

With a lag, what is proposed does not depend on which of several parallel trainings ends first:
candidate k is proposed once all candidates up to k - lag are known, and from those alone. Without
one, from all that is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from nas.architecture import Architecture, ArchitectureError
from nas.limits.gate import Gate, Priced
from nas.pareto.front import non_dominated
from nas.profiler.computed.cost import Cost
from nas.trials.answers import AnswerBook
from nas.trials.cluster import is_whole
from nas.trials.draws import RandomDraws
from nas.trials.journal import DECIDED, Journal, naming_journal
from nas.trials.results import STUDY, Assignment, Report, TrialResult
from nas.trials.samplers import find_sampler
from nas.trials.tuning import StatelessSearcher

MAX_PROPOSALS = 500  # in a row without one that is new and inside the budget
OUT_OF_REACH = "out of reach"  # why a candidate is not trained that the budget would allow
PATIENCE = 25  # such proposals in a row, after which every second one is drawn at random
LOST = 5  # trainings in a row whose process was lost, after which the device is taken to have failed
LOST_REASON = "its process ended twice, for lack of memory or as the device failed"
TIMEOUT_REASON = "it took longer than the trial timeout"


@dataclass(frozen=True)
class Candidate:
    """A network to be trained: `index` counts those that passed the gate.

    Attributes:
        index: Its number.
        priced: What is known of it.
    """

    index: int
    priced: Priced

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.priced.architecture

    @property
    def cost(self) -> Cost:
        """At the target input, of one clip."""
        return self.priced.cost

    @property
    def costs(self) -> tuple[float, ...]:
        """What it is compared by beside accuracy, less is better."""
        return self.priced.costs

    def assignment(self, seed: int | None = None) -> Assignment:
        """What a trial is told of it, with a seed of its own if that is not to be the search's."""
        return Assignment(self.index, self.architecture.document(), self.costs, seed)


class Proposer:
    """Proposes new candidates inside a budget, learns from their results and survives a restart.

    Args:
        gate: The search space, with the classes of the data, and the hard limits at its input.
        folder: Where the journal is, or will be.
        seed: Together with the results it decides every proposal.
        sampler: A name in `nas.trials.samplers`.
        lag: How many candidates may be in training when the next is proposed, at least 1; None for
            any number.

    Raises:
        NasError: The journal that is there cannot be read.
    """

    def __init__(self, gate: Gate, folder: Path, *, seed: int, sampler: str = "pareto", lag: int | None = 1) -> None:
        self.gate, self.seed, self.lag = gate, seed, lag
        self._entry = find_sampler(sampler)
        self._sampler = self._entry.make(gate, seed) if self._entry.once else None
        path = folder / STUDY
        self._journal = Journal(path)
        with _quiet_optuna(), naming_journal(path):
            self.study = optuna.create_study(
                study_name="nas",
                storage=JournalStorage(self._journal),
                directions=[
                    StudyDirection.MAXIMIZE if more else StudyDirection.MINIMIZE for more in gate.objectives.maximise
                ],
                load_if_exists=True,
            )
            self.study.set_metric_names(list(gate.objectives.labels))
        self.rejected = self.unreached = self.duplicates = 0
        self._seen: set[str] = set()
        self._trials: list[Trial] = []
        self._candidates: list[Candidate] = []
        self._results: dict[int, TrialResult] = {}
        self._told: set[int] = set()
        self._unfinished: list[int] = []
        self._proposed_at_candidate = 0  # proposals when the last candidate was found
        with naming_journal(path):
            self._restore()

    def _restore(self) -> None:
        """Takes up what the journal knows."""
        for frozen in self.study.get_trials(deepcopy=False):
            attributes = frozen.user_attrs
            if DECIDED not in attributes:
                out_of_reach = attributes.get("rejected") == OUT_OF_REACH
                self.unreached += out_of_reach
                self.rejected += "rejected" in attributes and not out_of_reach
                self.duplicates += "duplicate" in attributes
                continue
            trial = Trial(self.study, frozen._trial_id)
            priced = self.gate.priced(Architecture.parse(attributes["architecture"]))
            self._remember(trial, Candidate(len(self._candidates), priced))
            index = len(self._candidates) - 1
            if "result" in attributes:
                self._results[index] = TrialResult.of(attributes["result"])
                if frozen.state != TrialState.RUNNING:
                    self._told.add(index)
            else:
                self._unfinished.append(index)

    def _remember(self, trial: Trial, candidate: Candidate) -> None:
        self._trials.append(trial)
        self._proposed_at_candidate = self.proposed
        self._candidates.append(candidate)
        self._seen.add(candidate.architecture.hash)

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates that were proposed, by index."""
        return self._candidates

    @property
    def results(self) -> dict[int, TrialResult]:
        """What is known of the candidates, by index."""
        return self._results

    @property
    def proposed(self) -> int:
        """Proposals in all: trained, rejected, out of reach and repeated ones."""
        return len(self._candidates) + self.rejected + self.unreached + self.duplicates

    def propose(self) -> Candidate | None:
        """Returns the next candidate, or None while results that it depends on are still to come.

        Raises:
            StopIteration: The sampler finds nothing new inside the budget any more.
        """
        if self._unfinished:
            return self._candidates[self._unfinished.pop(0)]
        if not self.learn():
            return None
        for _ in range(MAX_PROPOSALS):
            with _quiet_optuna(), self._journal.together():
                candidate = self._ask()
            if candidate:
                return candidate
            if getattr(self._sampler, "exhausted", False):
                break
        raise StopIteration

    def _ask(self) -> Candidate | None:
        self.study.sampler = self._next_sampler()
        trial = self.study.ask()
        try:
            params, _ = self.gate.space.complete(lambda hole: trial.suggest_categorical(hole.name, hole.values))
        except ArchitectureError as error:
            self._reject(trial, 1.0, (0.0,) * len(self.gate.objectives.costs), str(error))
            return None
        priced = self.gate.candidate(params)
        if priced.hash in self._seen:
            self.duplicates += 1
            trial.set_user_attr("duplicate", priced.hash)
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        if priced.violation > 0:
            self._reject(trial, priced.violation, priced.costs, priced.refused or "over budget")
            return None
        if unreached := self.gate.unreached(params):
            self._reject(trial, unreached, priced.costs, OUT_OF_REACH)
            return None
        candidate = Candidate(len(self._candidates), priced)
        trial.set_constraint("budget", 0.0)
        trial.set_user_attr("architecture", priced.architecture.document())
        trial.set_user_attr(DECIDED, candidate.index)  # the last, which makes it a candidate
        self._remember(trial, candidate)
        return candidate

    def _next_sampler(self) -> BaseSampler:
        """The sampler of the next proposal; see `SamplerEntry.once`."""
        if self._sampler is not None:
            return self._sampler
        number = self.proposed
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        # A sampler that has converged proposes what is known for ever; what it learns from, it is
        # shown by chance.
        without_candidate = number - self._proposed_at_candidate
        return (
            RandomDraws(self.gate, seed)
            if without_candidate > PATIENCE and without_candidate % 2
            else self._entry.make(self.gate, seed)
        )

    def _reject(self, trial: Trial, violation: float, costs: tuple[float, ...], reason: str) -> None:
        """Tells it as completed and infeasible: samplers learn from that, and ignore a failure."""
        if reason == OUT_OF_REACH:
            self.unreached += 1
        else:
            self.rejected += 1
        trial.set_constraint("budget", violation)
        trial.set_user_attr("rejected", reason)
        self.study.tell(trial, [0.0, *costs])

    def reopen(self, index: int) -> None:
        """Has a candidate without a result proposed again, before any other."""
        self._unfinished.insert(0, index)

    def record(self, index: int, result: TrialResult) -> None:
        """Writes down what became of a candidate."""
        self._trials[index].set_user_attr("result", result.document())
        self._results[index] = result

    def undominated(self, index: int) -> bool:
        """Whether no other network that is known dominates one that was trained."""
        known = [i for i, result in self._results.items() if result.accuracy is not None]
        points = np.array([(self._results[i].accuracy, *self._candidates[i].costs) for i in known], float)
        return bool(non_dominated(points, self.gate.objectives.maximise)[known.index(index)])

    def _tell_results(self, indices: Iterable[int]) -> None:
        """Tells the study results, in order, that it has not been told yet."""
        with _quiet_optuna():
            for index in sorted(set(indices) - self._told):
                self._tell_result(index)
                self._told.add(index)

    def _tell_result(self, index: int) -> None:
        result = self._results[index]
        trial, costs = self._trials[index], self._candidates[index].costs
        if result.violation is not None:  # no machine here can train it: infeasible, as what the gate rejects
            trial.set_constraint("memory", result.violation)
            self.study.tell(trial, [0.0, *costs])
        elif result.accuracy is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, [result.accuracy, *costs])

    def learn(self) -> bool:
        """Tells the study the results that the next proposal goes by; returns whether all of them
        are known.

        Without a lag that is whatever is known. With one no other result is told, or an
        interruption would change what is proposed after it.
        """
        needed = set(self._results if self.lag is None else range(len(self._candidates) - self.lag + 1))
        complete = self._results.keys() >= needed
        if complete:
            self._tell_results(needed)
        return complete


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keeps Optuna's news, and its warnings of experimental functions, from the user."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class ProposerSearcher(StatelessSearcher):
    """Ray Tune's view of a proposer: a config per candidate, a result per trial.

    Args:
        proposer: Says what is trained, and takes what came of it.
        on_result: Called after each.
        answers: Takes what the networks called the clips that no other dominates when they end.

    Attributes:
        reopened: Candidates that are tried once more, because their process was lost before their
            training began.
    """

    def __init__(self, proposer: Proposer, on_result: Callable[[], None], answers: AnswerBook | None = None) -> None:
        super().__init__()
        self.proposer, self._on_result, self._answers = proposer, on_result, answers
        self.reopened: set[int] = set()
        self._lost_in_a_row = 0
        self._index: dict[str, int] = {}
        self._latest: dict[str, Report] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self.device_failed:
            return str(StatelessSearcher.FINISHED)
        try:
            candidate = self.proposer.propose()
        except StopIteration:
            return str(StatelessSearcher.FINISHED)
        if candidate is None:
            return None
        self._index[trial_id] = candidate.index
        return candidate.assignment().config()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if report := Report.of(result):
            self._latest[trial_id] = report

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        report = Report.of(result)
        lost = error and trial_id not in self.expired
        self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        if lost and not is_whole():
            self._end(trial_id, None)
        elif lost and trial_id not in self.begun and self._index[trial_id] not in self.reopened:
            self.reopened.add(self._index[trial_id])
            self.proposer.reopen(self._index[trial_id])
            self._end(trial_id, None)
        elif lost:
            self._end(trial_id, TrialResult("failed", error=LOST_REASON, failure="lost"))
        elif error:
            self._end(trial_id, TrialResult("failed", error=TIMEOUT_REASON, failure="timeout"))
        else:
            index = self._index[trial_id]
            self._end(trial_id, report.result() if report else None)
            if report and report.called and self._answers and self.proposer.undominated(index):
                self._answers.add(index, 0, report.called)

    def _end(self, trial_id: str, result: TrialResult | None) -> None:
        """Takes note of a trial that goes on no more; without a result its candidate stays open."""
        index = self._index.pop(trial_id)
        self._latest.pop(trial_id, None)
        if result:
            self.proposer.record(index, result)
        self._on_result()

    @property
    def device_failed(self) -> bool:
        """Whether so many trainings in a row lost their process that no candidate is the reason."""
        return self._lost_in_a_row >= LOST

    def time_is_over(self) -> None:
        """Takes what trials had that Ray cut off at the end of the time, of which it tells a
        searcher nothing.

        One that was not evaluated yet stays open, for the next session to train.
        """
        for trial_id, report in list(self._latest.items()):
            self._end(trial_id, replace(report, last=False).result())

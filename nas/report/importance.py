"""Which choices of a space matter for being among the better networks of a run."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.pareto.front import pareto_rank
from nas.runs.folder.run import Run
from nas.trials.results import STUDY

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BETTER = 0.25  # share of the networks that count as the better ones
LEAST = 20  # networks: the estimate wants five or more among the better ones
MOST = 200  # networks that are looked at, spread over the search
DRAWN = 40  # times that half of the networks is left out, and that their ranks are shuffled
SHOWN = 10  # choices

_NINETY = 1.645  # standard errors to both sides

_TRIAL = re.compile(r'"trial_id": ?(\d+)')


@dataclass(frozen=True)
class Importance:
    """Of one choice.

    Attributes:
        name: Of its hole, such as `stages.0.width`.
        times: Its importance as a multiple of what chance gives: of the largest of any choice that
            is not exceeded in 95 % of the cases where ranks are shuffled.
        low, high: An interval of about 90 %: 1.64 times the standard deviation with half of the
            networks left out, to both sides (the delete-half jackknife of Shao and Wu 1989).
        value: The value that is most over-represented among the better networks.
        among_better, among_all: Its share there, and among all networks that have the choice.
    """

    name: str
    times: float
    low: float
    high: float
    value: str
    among_better: float
    among_all: float


@dataclass(frozen=True)
class Importances:
    """Of all choices that half of the networks or more have.

    Attributes:
        networks: That were looked at.
        choices: That were looked at.
        found: Those that matter more than by chance, the first the most.
    """

    networks: int
    choices: int
    found: tuple[Importance, ...]


def importances(run: Run) -> Importances | None:
    """Optuna's PED-ANOVA (Watanabe et al. 2023; for choices that not every network has, Conditional
    PED-ANOVA) of being in the better quarter by non-dominated rank, in what the search compared
    networks by. None where a run has too few networks to say.
    """
    trained = run.trials[run.trials["state"] != "failed"]
    if len(trained) < LEAST:
        return None
    trained = trained.iloc[np.linspace(0, len(trained) - 1, min(MOST, len(trained))).astype(int)]
    points = run.objectives.points(trained, measured=False)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    rank = pareto_rank(points[known], run.objectives.maximise).tolist()
    ranks = dict(zip(trained["trial"].iloc[known], rank, strict=True))
    chosen = choices(run.path, ranks)
    if len(chosen) < LEAST:
        return None
    return _estimated(list(chosen.values()), np.array([ranks[trial] for trial in chosen]))


def choices(folder: Path, trials: Collection[int]) -> dict[int, FrozenTrial]:
    """What was chosen for some trials, as Optuna has it; what the journal does not have, or not so,
    is left out.
    """
    from optuna.distributions import json_to_distribution
    from optuna.trial import create_trial

    number: dict[int, int] = {}
    lines: dict[int, list[str]] = defaultdict(list)
    if not os.path.isfile(folder / STUDY):
        return {}
    with (folder / STUDY).open(encoding="utf-8", errors="replace") as journal:
        for line in journal:
            if (match := _TRIAL.search(line)) and '"param_name"' in line:
                lines[int(match[1])].append(line)
            elif match and '"index"' in line:
                try:
                    number[int(match[1])] = int(json.loads(line)["user_attr"]["index"])
                except (ValueError, LookupError, TypeError):
                    continue
    found = {}
    for trial, index in number.items():
        if index not in trials:
            continue
        try:
            rows = [json.loads(line) for line in lines[trial]]
            kinds = {row["param_name"]: json_to_distribution(row["distribution"]) for row in rows}
            values = {
                row["param_name"]: kinds[row["param_name"]].to_external_repr(row["param_value_internal"])
                for row in rows
            }
            found[index] = create_trial(params=values, distributions=kinds, value=0.0)
        except (ValueError, LookupError, TypeError):
            continue
    return found


def _estimated(trials: Sequence[FrozenTrial], ranks: NDArray[np.int64]) -> Importances | None:
    """The estimate, with half of the networks, and on shuffled ranks; the same each time."""
    import optuna

    counts = Counter(name for trial in trials for name in trial.params)
    common = [name for name, count in counts.items() if 2 * count >= len(trials)]
    names = [name for name in common if len({str(trial.params.get(name)) for trial in trials}) > 1]
    if not names or len(set(ranks.tolist())) < 2:
        return None
    with _quiet():
        study = optuna.create_study()
        study.add_trials(trials)
        random = np.random.default_rng(0)
        once = _evaluated(study, ranks, names)
        largest = [max(_evaluated(study, random.permutation(ranks), names).values()) for _ in range(DRAWN)]
        chance = float(np.quantile(largest, 0.95))
        above = sorted((name for name in names if once[name] > chance), key=lambda name: -once[name])[:SHOWN]
        halves = [
            _evaluated(study, np.where(random.permutation(len(ranks)) < len(ranks) // 2, ranks, np.nan), above)
            for _ in range(DRAWN if above else 0)
        ]
    better = ranks <= np.quantile(ranks, BETTER, method="inverted_cdf")
    found = []
    for name in above:
        error = _NINETY * float(np.std([half[name] for half in halves]))
        times, low, high = (each / chance for each in (once[name], max(0.0, once[name] - error), once[name] + error))
        value, among_better, among_all = _over_represented(name, trials, better)
        found.append(Importance(name, times, low, high, value, among_better, among_all))
    return Importances(len(trials), len(names), tuple(found))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the user what Optuna says of experimental functions and small samples."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _over_represented(name: str, trials: Sequence[FrozenTrial], better: NDArray[np.bool_]) -> tuple[str, float, float]:
    """The value of a choice whose share grows most among the better networks, and its share there
    and among all that have the choice.
    """
    values = [
        (str(trial.params[name]), good) for trial, good in zip(trials, better, strict=True) if name in trial.params
    ]
    every, best = Counter(value for value, _ in values), Counter(value for value, good in values if good)
    shares = {value: (best[value] / max(1, best.total()), count / every.total()) for value, count in every.items()}
    value = max(shares, key=lambda each: shares[each][0] - shares[each][1])
    return value, *shares[value]


def _evaluated(study: Study, ranks: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    """The importance of each choice, of the trials whose rank is no nan."""
    from optuna.importance import PedAnovaImportanceEvaluator

    evaluator = PedAnovaImportanceEvaluator(target_quantile=BETTER)
    return evaluator.evaluate(study, list(names), target=lambda trial: float(ranks[trial.number]))

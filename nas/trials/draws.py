"""Random search, behind the same gate and over the same costs as any other."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.limits.gate import Gate


class RandomDraws(BaseSampler):
    """Proposes what the gate draws: networks of the space, spread over their cost up to the limit.

    The Pareto sampler models networks from the same draws, so that beside a control of these all
    that differs is what it learns. Drawn from the space's own mass, most networks of a large space
    would be out of reach, and the rest close to its end.
    """

    def __init__(self, gate: Gate, seed: int) -> None:
        self._gate, self._seed = gate, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._gate.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return dict(self._gate.sample(np.random.default_rng((self._seed, trial.number))))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return RandomSampler(self._seed).sample_independent(study, trial, param_name, param_distribution)

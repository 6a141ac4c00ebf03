"""The samplers that a search may use, by name: one that knows costs, Optuna's, and anyone's.

Another package adds its own with `register` before it starts a search:

    register("mine", lambda gate, seed: MySampler(gate.distributions, gate.costs, seed))
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from nas.errors import NasError, brief
from nas.trials.results import TrialResult

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from nas.limits.gate import Gate

# Of the Pareto sampler: trainings are few, and an unseen candidate takes a while to price.
REFERENCES = 4  # published networks that it begins with, at most
INITIAL = 5  # results before it models anything
DRAWS = 16  # random candidates that it draws for a proposal
CHANGES = 64  # changes of the front that it considers for a proposal


class SamplerFactory(Protocol):
    """Makes the sampler of a search: any of Optuna's interface, for two to four objectives, the
    accuracy to be maximised and the costs of the gate to be minimised.
    """

    def __call__(self, gate: Gate, seed: int) -> BaseSampler:
        """The sampler.

        Args:
            gate: The space: `gate.distributions`, what candidates cost before they are trained
                (`gate.costs`), and by how much they are outside the budget (`gate.violations`).
                Candidates outside are never trained, and told as infeasible.
            seed: What all random numbers follow from.
        """


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler that can be chosen.

    Attributes:
        make: Makes it.
        once: Whether one instance proposes for the whole search, because what it proposes follows
            from its seed, the number of the trial and the trials in the study alone; a true
            attribute `exhausted` of it after a proposal ends the search. Else a new one is made for
            every proposal, with a seed that follows from the search's and the number of proposals,
            so that a search that was interrupted goes on with the same ones.
        needs: A package that has to be installed, or empty.
        extra: The extra of this package that installs it.
    """

    make: SamplerFactory
    once: bool = False
    needs: str = ""
    extra: str = ""


SAMPLERS: dict[str, SamplerEntry] = {}


def register(name: str, make: SamplerFactory, *, once: bool = False, needs: str = "", extra: str = "") -> None:
    """Adds a sampler under the name that `--sampler` takes; see `SamplerEntry`.

    Raises:
        ValueError: There is one of that name.
    """
    if name in SAMPLERS:
        raise ValueError(f"sampler {name!r} exists; allowed: another name")
    SAMPLERS[name] = SamplerEntry(make, once, needs, extra)


def find_sampler(name: str) -> SamplerEntry:
    """The sampler of a name.

    Raises:
        NasError: Its name is unknown, or a package that it needs is not installed.
    """
    if name not in SAMPLERS:
        raise NasError(f"sampler {brief(name)} is unknown; allowed: {', '.join(SAMPLERS)}")
    entry = SAMPLERS[name]
    if entry.needs and find_spec(entry.needs) is None:
        install = f"video-nas[{entry.extra}]" if entry.extra else entry.needs
        raise NasError(f"sampler {name!r} needs {entry.needs}; allowed: another sampler, or pip install {install!r}")
    return entry


def _pareto(gate: Gate, seed: int) -> BaseSampler:
    from nas.pareto.sampler import ParetoSampler

    def curve(trial: FrozenTrial) -> list[float]:
        return list(TrialResult.of(trial.user_attrs["result"]).curve)

    return ParetoSampler(
        gate,
        cost=gate.costs,
        violation=gate.violations,
        ideal=[1.0],
        curve=curve,
        start=gate.references()[:REFERENCES],
        initial=INITIAL,
        draws=DRAWS,
        changes=CHANGES,
        seed=seed,
    )


def _random(gate: Gate, seed: int) -> BaseSampler:
    from nas.trials.draws import RandomDraws

    return RandomDraws(gate, seed)


def _of_optuna(name: str, **options: Any) -> SamplerFactory:
    """One of Optuna's, which is loaded when the sampler is made; a cost is something to be learnt
    for it.
    """

    def make(gate: Gate, seed: int) -> BaseSampler:
        from optuna import samplers

        made: BaseSampler = getattr(samplers, name)(seed=seed, **options)
        return made

    return make


register("pareto", _pareto, once=True)
register("tpe", _of_optuna("TPESampler", multivariate=True, group=True, constant_liar=True))
register("nsga2", _of_optuna("NSGAIISampler", population_size=20))
register("gp", _of_optuna("GPSampler"), needs="scipy", extra="gp")
register("random", _random)

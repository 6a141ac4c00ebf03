"""Published networks that are cut until they keep a budget."""

from __future__ import annotations

from pathlib import Path

from nas.architecture import Architecture, load
from nas.architecture.scaling import LEAST, largest
from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.metrics import METRICS
from nas.profiler.computed.cost import cost


def scaled(what: Architecture | str | Path, budget: str) -> Architecture:
    """Returns a network with as much of its width and depth as a budget allows.

    What is cut is in `nas.architecture.scaling.scaled`.

    Args:
        what: An architecture, a file, or a reference network's name.
        budget: Limits of what is computed, such as `10gflops` or `5mparams,2gb`; the lower end of a
            range is not looked at.

    Raises:
        NasError: The budget limits what is measured or trained, or is below the smallest cut.
    """
    limits = Budget.parse(budget)
    for limit in limits.limits:
        if METRICS[limit.metric].source != "computed":
            raise NasError(
                f"budget {budget!r} limits {METRICS[limit.metric].title}, which is not computed; allowed: limits of "
                "what is, such as 10gflops, 5mparams or 2gb"
            )
    base = what if isinstance(what, Architecture) else load(what)

    def keeps(network: Architecture) -> bool:
        figures = limits.computed(cost(network))
        return all(figures[limit.metric] <= limit.high for limit in limits.limits)

    found = largest(base, keeps)
    if found is None:
        raise NasError(
            f"budget {budget!r} is below {base.name or 'the network'} with {LEAST:g} of its width; allowed: a wider one"
        )
    return found

"""Architecture search for video networks, with costs that are measured.

Importing this package is fast, as what it exports is loaded when it is first named: torch by
`build`, `cost` and `measure`, Ray and Optuna by `search`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.errors import NasError

if TYPE_CHECKING:
    __version__: str
    from nas.architecture import Architecture, ArchitectureError, load, register_operator
    from nas.limits.scaled import scaled
    from nas.profiler.computed.cost import cost
    from nas.profiler.computed.effects import register_operator_cost
    from nas.profiler.measured.measure import measure
    from nas.runs.folder.run import Run
    from nas.runs.search import search
    from nas.space import SearchSpace
    from nas.trained.folder import TrainedModel, load_model
    from nas.weights.build import build

__all__ = [
    "Architecture",
    "ArchitectureError",
    "NasError",
    "Run",
    "SearchSpace",
    "TrainedModel",
    "build",
    "cost",
    "load",
    "load_model",
    "measure",
    "register_operator",
    "register_operator_cost",
    "scaled",
    "search",
]

_LAZY = {
    "Architecture": "nas.architecture",
    "ArchitectureError": "nas.architecture",
    "build": "nas.weights.build",
    "cost": "nas.profiler.computed.cost",
    "load": "nas.architecture",
    "load_model": "nas.trained.folder",
    "measure": "nas.profiler.measured.measure",
    "register_operator": "nas.architecture",
    "register_operator_cost": "nas.profiler.computed.effects",
    "Run": "nas.runs.folder.run",
    "scaled": "nas.limits.scaled",
    "SearchSpace": "nas.space",
    "search": "nas.runs.search",
    "TrainedModel": "nas.trained.folder",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def _version() -> str:
    from nas.resources import installed_version

    return installed_version("video-nas")

"""Architecture search for video networks, with costs that are measured.

Importing this package is fast: torch is loaded by `build`, `cost` and `measure`, Ray and Optuna by
`search`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, ArchitectureError, load
from nas.errors import NasError
from nas.space import SearchSpace

if TYPE_CHECKING:
    from nas.profiler.computed.cost import cost
    from nas.profiler.measured.measure import measure
    from nas.runs.folder import Run
    from nas.runs.search import search
    from nas.weights.build import build

__all__ = [
    "Architecture",
    "ArchitectureError",
    "NasError",
    "Run",
    "SearchSpace",
    "build",
    "cost",
    "load",
    "measure",
    "search",
]

_LAZY = {
    "build": "nas.weights.build",
    "cost": "nas.profiler.computed.cost",
    "measure": "nas.profiler.measured.measure",
    "Run": "nas.runs.folder",
    "search": "nas.runs.search",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)

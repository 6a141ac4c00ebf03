"""Architecture search for video networks, with costs that are measured.

Importing this package is fast: torch is loaded by `build`, `cost` and `measure`, Ray and Optuna by `search`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, ArchitectureError, load
from nas.errors import NasError
from nas.search import search
from nas.space import SearchSpace

if TYPE_CHECKING:
    from nas.models.network import build
    from nas.profiler.cost import cost
    from nas.profiler.measure import measure
    from nas.search.run_folder import Run

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
    "build": "nas.models.network",
    "cost": "nas.profiler.cost",
    "measure": "nas.profiler.measure",
    "Run": "nas.search.run_folder",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)

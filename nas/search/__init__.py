"""The search: which candidates to train, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.search.run_folder import Run


def search(*args: Any, **kwargs: Any) -> Run:
    """Searches a space; see `nas.search.run.search`. Ray and Optuna are loaded by this call, not by the import."""
    from nas.search.run import search as run_search

    return run_search(*args, **kwargs)

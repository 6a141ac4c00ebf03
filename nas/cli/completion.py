"""What a shell offers for an argument besides files: names that the package knows, and folders that
it wrote. Where nothing is offered, shells offer files.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable

from nas.resources import resource_names

RECORD, MODEL = "run.json", "model.json"  # in the folder of a search, and of a trained network
_DEEP = 2  # folders below the one that is typed


def spaces(incomplete: str) -> list[str]:
    """Returns the search spaces whose names begin so."""
    return _beginning(incomplete, "search_spaces")


def networks(incomplete: str) -> list[str]:
    """Returns the published networks whose names begin so."""
    return _beginning(incomplete, "search_spaces/reference")


def recipes(incomplete: str) -> list[str]:
    """Returns the recipes whose names begin so."""
    return _beginning(incomplete, "recipes")


def folders(*files: str) -> Callable[[str], list[str]]:
    """Returns what offers the folders that hold one of some files, here and a little below."""

    def found(incomplete: str) -> list[str]:
        start = f"{glob.escape(incomplete)}*"
        patterns = [f"{start}{'/*' * deep}/{file}" for deep in range(_DEEP) for file in files]
        return sorted({os.path.dirname(path) for pattern in patterns for path in glob.iglob(pattern)})

    return found


def networks_and_runs(incomplete: str) -> list[str]:
    """Returns the published networks and the folders of searches whose names begin so."""
    return [*networks(incomplete), *folders(RECORD)(incomplete)]


def _beginning(incomplete: str, folder: str) -> list[str]:
    return [name for name in resource_names(folder) if name.startswith(incomplete)]

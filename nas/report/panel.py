"""The sections of a report: what one is, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import ClassVar

from nas.report import panels
from nas.report.blocks import Block
from nas.runs.folder.run import Run


class Panel(ABC):
    """One section of a report: a subclass in a file of `nas/report/panels/`, found by itself.

    For each report, an instance is made without arguments; `applies` is called first, then, if it
    returns True, `blocks` once. What it returns is drawn in the page, in Markdown and as pictures.

    Attributes:
        title: The heading; empty for none.
        place: Panels come in ascending order of it; those that stand at one place by their title.
    """

    title: ClassVar[str]
    place: ClassVar[int]

    def applies(self, run: Run) -> bool:
        """Returns whether the run has something that the panel can show; by default it has."""
        return True

    @abstractmethod
    def blocks(self, run: Run) -> Sequence[Block]:
        """Returns what the panel shows, from the top.

        Args:
            run: The run; it may be interrupted, so any table of it may be empty. It is not changed.
        """


def all_panels() -> list[Panel]:
    """Returns the panels of all files of `nas.report.panels`, in their order."""
    found: list[Panel] = []
    for file in iter_modules(panels.__path__):
        module = import_module(f"{panels.__name__}.{file.name}")
        classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Panel)]
        found += [each() for each in classes if each.__module__ == module.__name__]
    return sorted(found, key=lambda panel: (panel.place, panel.title))

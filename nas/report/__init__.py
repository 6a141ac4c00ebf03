"""The report of a run: one HTML page, Markdown and pictures."""

from nas.report.page import write

__all__ = ["write"]

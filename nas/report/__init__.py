"""The report of a run: one HTML page, Markdown and pictures."""

from nas.report.page import write
from nas.report.tables import front_summary

__all__ = ["front_summary", "write"]

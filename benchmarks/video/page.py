"""What a subcommand found, as a part of a Markdown page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nas.errors import NasError


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column text and the others figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(options: argparse.Namespace, name: str, text: str) -> None:
    """Prints a part, and puts it into the page that was named, between `<!-- NAME -->` and `<!--
    /NAME -->`.

    Raises:
        NasError: The page does not have them.
    """
    print(text)
    page: Path | None = options.page
    if page is None:
        return
    document, begin, end = page.read_text(), f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if begin not in document or end not in document:
        raise NasError(f"page {str(page)!r} has no place for {name}; allowed: a page with {begin.strip()} and {end}")
    before, _, rest = document.partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{rest.partition(end)[2]}")

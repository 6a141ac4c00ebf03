"""How the report writes numbers, and how what a run brought becomes harmless text."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Sequence
from gzip import compress

from nas.units import MISSING

_WITH_UNIT = re.compile(
    r"(?<=\d) (?=(?:%|\N{PLUS-MINUS SIGN}|(?:ms|s|min|h|kB|MB|GB|GFLOPs|points)\b))|(?<=\N{PLUS-MINUS SIGN}) "
)
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def percent(share: float) -> str:
    """Formats a share as a percentage with one decimal, without the sign; nan is a dash."""
    return f"{100 * share:.1f}" if math.isfinite(share) else MISSING


def with_error(share: float, error: float) -> str:
    """A share in per cent with its standard error where there is one, such as `81.3 ± 2.4`."""
    return f"{percent(share)} \N{PLUS-MINUS SIGN} {percent(error)}" if math.isfinite(error) else percent(share)


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last `and`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def visible(text: str) -> str:
    """Text in which marks that turn the direction of what follows, as a hostile name may hold,
    stand by their numbers, (U+202E).
    """
    return _TURNING.sub(lambda mark: f"(U+{ord(mark[0]):04X})", text)


def kept_together(text: str) -> str:
    """Text in which no line ends between a number and its error or unit."""
    return _WITH_UNIT.sub("\N{NO-BREAK SPACE}", text)


def packed(text: str) -> str:
    """Text as a page carries much of it: gzip in base64, which a browser unpacks."""
    return b64encode(compress(text.encode(), 6, mtime=0)).decode()


def escaped(text: str) -> str:
    """Text as Markdown that opens no tag, link or emphasis and ends no cell or line."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;")).replace("\n", " ")


def code(text: str, in_table: bool = False) -> str:
    """Text as Markdown code, between more backticks than it holds in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    room = " " if text.startswith("`") or text.endswith("`") else ""
    shown = text.replace("\n", " ")
    if in_table:
        shown = shown.replace("|", r"\|")
    return f"{fence}{room}{shown}{room}{fence}"

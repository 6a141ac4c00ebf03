from __future__ import annotations

import math

import pytest

from nas.report.text import code, escaped, kept_together, listed, with_error


def test_shares_have_an_error_where_one_is_known() -> None:
    assert with_error(0.8128, 0.0244) == "81.3 \N{PLUS-MINUS SIGN} 2.4"
    assert with_error(0.8128, math.nan) == "81.3"


def test_a_number_stays_with_its_error_and_unit() -> None:
    together = kept_together("reached 78.9 \N{PLUS-MINUS SIGN} 2.5 % of 256 clips in 34.3 ms; 4 minutes, 2 of 3 %.")
    space = "\N{NO-BREAK SPACE}"
    share = f"78.9{space}\N{PLUS-MINUS SIGN}{space}2.5{space}%"
    assert together == f"reached {share} of 256 clips in 34.3{space}ms; 4 minutes, 2 of 3{space}%."


def test_listed() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>a & b", "&lt;script>a &amp; b"),
        ("a|b\nc", r"a\|b c"),
        ("[here](http://x) ![](y)", r"\[here\](http://x) !\[\](y)"),
        ("**loud** `code` \\", r"\*\*loud\*\* \`code\` \\"),
        ("joint_filter", "joint_filter"),
    ],
)
def test_escaped_text_opens_nothing(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_code_is_fenced_by_more_backticks_than_it_holds() -> None:
    assert code("nas export") == "`nas export`"
    assert code("a ``b`` c") == "```a ``b`` c```"
    assert code("`a") == "`` `a ``"
    assert code("a|b", in_table=True) == r"`a\|b`"

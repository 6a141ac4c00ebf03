from __future__ import annotations

import pandas as pd

from nas.report.blocks import Beside, Card, Cards, Charts, Code, Drawing, Facts, Layer, Stage, Table, Text
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points

HOSTILE = '<script>alert("1")</script>|`*'


def chart(name: str, x: list[float]) -> Chart:
    return Chart(
        name, f"Title of {name}", [Plane(Axis("x"), Axis("y"), [Points("dots", x, x, Colour.TRIAL)])], ["Note."]
    )


def test_text_by_role() -> None:
    assert Text("a < b", "note").html() == '<p class="note">a &lt; b</p>\n'
    assert [Text("a", role).markdown() for role in ("plain", "lead", "note", "warning")] == ["a", "**a**", "a", "> a"]


def test_table() -> None:
    rows = pd.DataFrame({"Name": ["a"], "Size": ["1"], "Command": ["run a"]})
    table = Table(rows, "Sizes", words=["Name"], below=["Command"], highlighted=[True])
    assert table.markdown() == "| Name | Size | Command |\n| --- | --- | --- |\n| a | 1 | `run a` |"
    html = table.html()
    assert '<th scope="col" class="text">Name</th><th scope="col">Size</th></tr>' in html
    assert '<tbody class="picked">\n<tr><td class="text">a</td><td>1</td></tr>' in html
    assert '<td class="text" colspan="1"><code>run a</code></td>' in html


def test_no_block_lets_markup_through() -> None:
    table = pd.DataFrame({HOSTILE: [HOSTILE], "code": [HOSTILE]})
    card = Card(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], HOSTILE, HOSTILE)
    blocks = [
        Text(HOSTILE),
        Table(table, HOSTILE, below=["code"]),
        Facts([(HOSTILE, HOSTILE)], (HOSTILE, "Value"), folded=HOSTILE),
        Table(table, HOSTILE, sortable=True, folded=HOSTILE),
        Code(HOSTILE),
        Drawing(HOSTILE, [Stage(HOSTILE, HOSTILE, [Layer(HOSTILE, 8, 0.5)])]),
        Cards([card]),
    ]
    for block in blocks:
        assert "<script" not in block.html() and '"1"' not in block.html()
        outside = block.markdown().replace(f"``{HOSTILE}``", "").replace("``" + HOSTILE.replace("|", r"\|") + "``", "")
        assert "<script" not in outside and "|`" not in outside


def test_a_fact_without_value_is_not_on_the_card() -> None:
    card = Card("knee", "trial 3", [("latency", "\N{EN DASH} ms"), ("size", "2 MB")], "t2d", "nas export")
    assert "latency" not in Cards([card]).html()
    assert Cards([card]).markdown() == "- knee (trial 3): size 2 MB; `nas export`"


def test_charts_are_drawn_alone_or_as_one_picture() -> None:
    charts = [chart("one", [1.0]), chart("two", [2.0])]
    alone, together = Charts(charts), Charts(charts, picture="both")
    assert list(alone.pictures()) == ["one", "two"] and list(together.pictures()) == ["both"]
    assert set(alone.figures()) == {"one", "two"} == set(together.figures())
    assert alone.markdown() == "![Title of one](one.png)\n\nNote.\n\n![Title of two](two.png)\n\nNote."
    assert together.markdown().startswith("![Title of one, Title of two](both.png)")


def test_an_empty_chart_says_so_and_has_no_figure() -> None:
    block = Charts([chart("one", [])])
    assert not block.figures()
    assert "Nothing to draw" in block.html() and "data-figure" not in block.html()


def test_what_stands_beside_each_other_is_drawn_as_it_is_alone() -> None:
    text, charts = Text("a", "note"), Charts([chart("one", [1.0])])
    both = Beside(text, charts)
    assert both.html() == f'<div class="beside">\n{text.html()}{charts.html()}</div>\n'
    assert both.markdown() == f"a\n\n{charts.markdown()}"
    assert both.figures() == charts.figures() and both.pictures() == charts.pictures()

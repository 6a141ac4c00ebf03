"""What a panel is made of: blocks, each of which knows how it looks in the page and in Markdown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup

from nas.report.charts.chart import NOTHING, Chart
from nas.report.charts.for_page import plotly_figure
from nas.report.text import code, escaped, kept_together, packed, visible
from nas.units import MISSING

UNPACKED = 200  # rows of a folded table up to which the page has it as it is


class Block(ABC):
    """A part of a panel, made once and then drawn by all three.

    `html` is called for the page and `markdown` for the text, in the order of the blocks; `figures`
    once for the page, `pictures` once for the files. Text of a run (names, paths, messages) is
    escaped by the block: `Markup(...).format(...)` does it in HTML, `escaped` in Markdown.
    """

    @abstractmethod
    def html(self) -> Markup:
        """Returns the block as HTML."""

    @abstractmethod
    def markdown(self) -> str:
        """Returns the block as Markdown; empty for nothing."""

    def figures(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns plotly JSON by name: the page draws it in the element of the block's HTML that
        has `data-figure` of that name.
        """
        return {}

    def pictures(self) -> Mapping[str, Sequence[Chart]]:
        """Returns the charts of each picture, by the picture's file name without `.png`."""
        return {}


@dataclass(frozen=True)
class Text(Block):
    """A paragraph.

    Attributes:
        text: Sentences.
        role: `plain`; `lead`, what a reader came for; `note`, an explanation in small print;
            `warning`, what a reader has to know before trusting the rest.
    """

    text: str
    role: Literal["plain", "lead", "note", "warning"] = "plain"

    def html(self) -> Markup:
        return Markup('<p class="{}">{}</p>\n').format(self.role, kept_together(self.text))

    def markdown(self) -> str:
        text = escaped(self.text)
        return {"lead": f"**{text}**", "warning": f"> {text}"}.get(self.role, text)


@dataclass(frozen=True)
class Code(Block):
    """A command, to be copied.

    Attributes:
        text: The command.
    """

    text: str

    def html(self) -> Markup:
        return Markup('<p><code class="command">{}</code></p>\n').format(_command(self.text))

    def markdown(self) -> str:
        return code(self.text)


def _command(text: str) -> Markup:
    """A command whose lines end between words, not at the hyphens of an option."""
    return Markup(" ").join(Markup("<span>{}</span>").format(word) for word in text.split(" "))


@dataclass(frozen=True)
class Table(Block):
    """A table with a row of heads.

    Attributes:
        rows: Texts; the columns' names are the heads.
        label: What it is a table of, for who does not see it.
        words: Columns of words; the others hold numbers.
        below: Columns of code that the page shows on a line of its own below each row.
        highlighted: For each row, whether the page highlights it; none by default.
        sortable: Whether a reader can sort the page's by a column, and filter it by words.
        folded: What the page says in place of the table until it is asked for; Markdown has none of
            such a table.
    """

    rows: pd.DataFrame
    label: str
    words: Sequence[str] = ()
    below: Sequence[str] = ()
    highlighted: Sequence[bool] = ()
    sortable: bool = False
    folded: str = ""

    def html(self) -> Markup:
        table = self._table()
        if not self.folded:
            return table
        if len(self.rows) <= UNPACKED:
            return Markup("<details>\n<summary>{}</summary>\n{}</details>\n").format(self.folded, table)
        return Markup('<details>\n<summary>{}</summary>\n<div data-packed="{}"></div></details>\n').format(
            self.folded, packed(visible(table))
        )

    def _table(self) -> Markup:
        columns = [name for name in self.rows.columns if name not in self.below]
        classes = {name: Markup(' class="text"') if name in self.words else "" for name in columns}
        heads = Markup("").join(Markup('<th scope="col"{}>{}</th>').format(classes[name], name) for name in columns)
        bodies = []
        for number, row in enumerate(self.rows.to_dict("records")):
            cells = Markup("").join(Markup("<td{}>{}</td>").format(classes[name], row[name]) for name in columns)
            more = Markup(" ").join(Markup("<code>{}</code>").format(row[name]) for name in self.below)
            chosen = Markup(' class="picked"') if self.highlighted and self.highlighted[number] else ""
            bodies.append(Markup("<tbody{}>\n<tr>{}</tr>\n").format(chosen, cells))
            if more:
                line = Markup('<tr class="more"><td></td><td class="text" colspan="{}">{}</td></tr>\n')
                bodies.append(line.format(len(columns) - 1, more))
            bodies.append(Markup("</tbody>\n"))
        table = Markup(
            '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table{}{}>\n'
            "<thead><tr>{}</tr></thead>\n{}</table></div>\n"
        )
        two = Markup(' class="pairs"') if self.below else ""
        sorts = Markup(" data-sortable") if self.sortable and len(self.rows) > 1 else ""
        return table.format(self.label, two, sorts, heads, Markup("").join(bodies))

    def markdown(self) -> str:
        if self.folded:
            return ""
        lines = [list(map(escaped, self.rows.columns)), ["---"] * self.rows.shape[1]]
        for row in self.rows.to_dict("records"):
            lines.append(
                [code(str(row[name]), True) if name in self.below else escaped(str(row[name])) for name in row]
            )
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Facts(Block):
    """Facts by name.

    Attributes:
        rows: Name and value of each.
        heads: Of names and of values.
        folded: What the page says in place of them until they are asked for; empty where it shows
            them at once.
    """

    rows: Sequence[tuple[str, str]]
    heads: tuple[str, str]
    folded: str = ""

    def html(self) -> Markup:
        row = Markup('<tr><th scope="row">{}</th><td>{}</td></tr>\n')
        rows = Markup("").join(row.format(*pair) for pair in self.rows)
        table = Markup('<div class="scroll"><table class="facts"><tbody>\n{}</tbody></table></div>\n').format(rows)
        if not self.folded:
            return table
        return Markup("<details>\n<summary>{}</summary>\n{}</details>\n").format(self.folded, table)

    def markdown(self) -> str:
        return Table(pd.DataFrame(self.rows, columns=list(self.heads)), "").markdown()


@dataclass(frozen=True)
class Layer:
    """A layer of a drawn network.

    Attributes:
        name: Its operator.
        width: Its channels.
        share: Of the network's multiply-adds, 0 to 1.
        latency: Share of the sum of the layers' latencies, 0 to 1; None where nobody knows.
    """

    name: str
    width: int
    share: float
    latency: float | None = None


@dataclass(frozen=True)
class Stage:
    """A row of a drawn network.

    Attributes:
        title: Such as `stage 1`.
        size: The map that it works on.
        layers: In order.
    """

    title: str
    size: str
    layers: Sequence[Layer]


@dataclass(frozen=True)
class Drawing(Block):
    """A network: stages as rows, layers as cells.

    Attributes:
        title: Which.
        stages: In order.
    """

    title: str
    stages: Sequence[Stage]

    def html(self) -> Markup:
        cell = Markup('<li style="--share: {}%"><b>{}</b> {} <span class="muted">{}</span></li>\n')
        row = Markup('<div class="stage"><span>{} <span class="muted">{}</span></span><ol>\n{}</ol></div>\n')
        rows = []
        for stage in self.stages:
            cells = [
                cell.format(round(100 * layer.share), layer.name, layer.width, _shares(layer)) for layer in stage.layers
            ]
            rows.append(row.format(stage.title, stage.size, Markup("").join(cells)))
        return Markup('<div class="card network">\n<h3>{}</h3>\n{}</div>\n').format(self.title, Markup("").join(rows))

    def markdown(self) -> str:
        lines = [f"{escaped(self.title)}:", ""]
        for stage in self.stages:
            layers = ", ".join(f"{layer.name} {layer.width} ({_shares(layer)})" for layer in stage.layers)
            lines.append(f"- {escaped(f'{stage.title} ({stage.size}): {layers}')}")
        return "\n".join(lines)


def _shares(layer: Layer) -> str:
    """Of multiply-adds, and of latency behind them."""
    shares = [layer.share] if layer.latency is None else [layer.share, layer.latency]
    texts = [f"{100 * share:.0f} %" if share >= 0.005 or not share else "< 1 %" for share in shares]
    return ", ".join([texts[0], *(f"{text} of the time" for text in texts[1:])])


@dataclass(frozen=True)
class Confusion(Block):
    """What the clips of each class were called.

    Attributes:
        title: By which network.
        classes: Their names.
        counts: Answers by the class of the clip (row) and what it was called (column).
        accuracies: Text for each class: the share of its clips that were called what they are.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    accuracies: Sequence[str]

    def html(self) -> Markup:
        head = Markup('<th scope="col" title="{}">{}</th>')
        heads = Markup("").join(head.format(name, number) for number, name in enumerate(self.classes))
        cell = Markup('<td{} style="--share: {}%">{}</td>')
        rows = []
        for number, (name, counts) in enumerate(zip(self.classes, self.counts, strict=True)):
            whole = sum(counts) or 1
            right = [Markup(' class="right"') if number == place else "" for place in range(len(counts))]
            shades = [round(60 * count / whole) for count in counts]
            cells = [cell.format(*each) for each in zip(right, shades, counts, strict=True)]
            # A phone shows the accuracy, whatever is beyond its edge.
            row = Markup('<tr><th scope="row">{} {}</th><td>{}</td>{}</tr>\n')
            rows.append(row.format(number, name, self.accuracies[number], Markup("").join(cells)))
        return Markup(
            '<h3>{}</h3>\n<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="confusion">\n'
            '<thead><tr><th scope="col">Class</th><th scope="col">Accuracy</th>{}</tr></thead>\n'
            "<tbody>\n{}</tbody></table></div>\n"
        ).format(self.title, f"Confusion of {self.title}", heads, Markup("").join(rows))

    def markdown(self) -> str:
        rows = [
            {
                "Class": f"{number} {name}",
                "Accuracy": accuracy,
                **{str(place): str(n) for place, n in enumerate(counts)},
            }
            for number, (name, counts, accuracy) in enumerate(
                zip(self.classes, self.counts, self.accuracies, strict=True)
            )
        ]
        return f"{escaped(self.title)}:\n\n{Table(pd.DataFrame(rows, dtype='str'), '').markdown()}"


@dataclass(frozen=True)
class Gallery(Block):
    """Small pictures beside each other, for the page alone.

    Attributes:
        pictures_of: What each shows, and the bytes of its JPEG file.
    """

    pictures_of: Sequence[tuple[str, bytes]]

    def html(self) -> Markup:
        one = Markup('<li><img src="data:image/jpeg;base64,{}" alt="Frames of {}"><span>{}</span></li>\n')
        shown = (one.format(b64encode(data).decode(), name, name) for name, data in self.pictures_of)
        return Markup('<ul class="gallery">\n{}</ul>\n').format(Markup("").join(shown))

    def markdown(self) -> str:
        return ""


@dataclass(frozen=True)
class Card:
    """One thing worth having, in short.

    Attributes:
        title: Its name.
        note: Beside the name.
        facts: Name and value of each; a value that is a dash is left out.
        summary: What it is made of.
        command: What to type to get it.
    """

    title: str
    note: str
    facts: Sequence[tuple[str, str]]
    summary: str
    command: str

    @property
    def known(self) -> list[tuple[str, str]]:
        """The facts that have a value."""
        return [(name, value) for name, value in self.facts if not value.startswith(MISSING)]


@dataclass(frozen=True)
class Cards(Block):
    """Cards beside each other."""

    cards: Sequence[Card]

    def html(self) -> Markup:
        fact = Markup("<dt>{}</dt><dd>{}</dd>\n")
        card = Markup(
            '<div class="card">\n<h3>{} <span class="muted">{}</span></h3>\n<dl>\n{}</dl>\n'
            '<code>{}</code>\n<code class="command">{}</code>\n</div>\n'
        )
        shown = (
            card.format(one.title, one.note, Markup("").join(fact.format(*pair) for pair in one.known), *end)
            for one in self.cards
            for end in ((one.summary, _command(one.command)),)
        )
        return Markup('<div class="cards">\n{}</div>\n').format(Markup("").join(shown))

    def markdown(self) -> str:
        return "\n".join(
            f"- {escaped(card.title)} ({escaped(card.note)}): "
            f"{escaped(', '.join(f'{name} {value}' for name, value in card.known))}; {code(card.command)}"
            for card in self.cards
        )


@dataclass(frozen=True)
class Charts(Block):
    """Charts beside each other.

    Attributes:
        charts: From the left.
        picture: File name, without suffix, of one picture of them all; by default each has one of
            its own under the chart's name.
    """

    charts: Sequence[Chart]
    picture: str | None = None

    def html(self) -> Markup:
        shown = Markup("").join(map(_figure, self.charts))
        return Markup('<div class="grid">\n{}</div>\n').format(shown) if len(self.charts) > 1 else shown

    def markdown(self) -> str:
        parts = []
        for name, charts in self.pictures().items():
            titles = escaped(", ".join(chart.title for chart in charts))
            parts.append(f"![{titles}]({name}.png)")
            parts += [escaped(" ".join(chart.notes)) for chart in charts if chart.notes]
        return "\n\n".join(parts)

    def figures(self) -> dict[str, dict[str, Any]]:
        return {chart.name: plotly_figure(chart) for chart in self.charts if not chart.empty}

    def pictures(self) -> dict[str, Sequence[Chart]]:
        if self.picture is not None:
            return {self.picture: self.charts}
        return {chart.name: (chart,) for chart in self.charts}


def _figure(chart: Chart) -> Markup:
    if chart.empty:
        drawing = Markup('<p class="warning">{}</p>\n').format(NOTHING)
    else:
        drawing = Markup('<div class="plot{}" data-figure="{}" role="img" aria-label="{}"></div>\n').format(
            "" if chart.size == "plain" else f" {chart.size}", chart.name, chart.title
        )
    notes = Markup("<figcaption>{}</figcaption>\n").format(kept_together(" ".join(chart.notes))) if chart.notes else ""
    return Markup("<figure>\n<h3>{}</h3>\n{}{}</figure>\n").format(chart.title, drawing, notes)


@dataclass(frozen=True)
class Beside(Block):
    """Two blocks, the second beside the first where the page is wide enough, else below it.

    Attributes:
        first: Takes most of the width.
        second: What belongs to it.
    """

    first: Block
    second: Block

    def html(self) -> Markup:
        return Markup('<div class="beside">\n{}{}</div>\n').format(self.first.html(), self.second.html())

    def markdown(self) -> str:
        return f"{self.first.markdown()}\n\n{self.second.markdown()}"

    def figures(self) -> dict[str, Mapping[str, Any]]:
        return {**self.first.figures(), **self.second.figures()}

    def pictures(self) -> dict[str, Sequence[Chart]]:
        return {**self.first.pictures(), **self.second.pictures()}

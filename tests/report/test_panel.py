"""A panel is one file: what is put into the folder is in the page, in the text and among the
pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.report import panels
from nas.report.page import compose
from nas.report.panel import all_panels
from nas.report.text import kept_together
from nas.runs.folder.run import Run

PANEL = '''
"""How long trainings took."""

from nas.report.blocks import Charts, Text
from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points
from nas.report.panel import Panel


class Seconds(Panel):
    title = "Time of trainings"
    place = 45

    def applies(self, run):
        return run.trials["seconds"].sum() > 0

    def blocks(self, run):
        dots = Points("trials", list(run.trials["trial"]), list(run.trials["seconds"]), Colour.TRIAL)
        plane = Plane(Axis("Trial"), Axis("Seconds"), [dots])
        return [Text(f"{run.trials['seconds'].sum():.1f} s in all."), Charts([Chart("seconds", "Seconds", [plane])])]
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "training_seconds.py").write_text(PANEL)
    monkeypatch.setattr(panels, "__path__", [*panels.__path__, str(tmp_path)])
    yield
    sys.modules.pop("nas.report.panels.training_seconds", None)


def test_a_panel_of_one_file_is_in_page_text_and_pictures(run: Run, added: None) -> None:
    report = compose(run)
    total = f"{run.trials['seconds'].sum():.1f} s in all."
    assert "<h2>Time of trainings</h2>" in report.html and 'data-figure="seconds"' in report.html
    assert f'<p class="plain">{kept_together(total)}</p>' in report.html
    assert f"## Time of trainings\n\n{total}\n\n![Seconds](seconds.png)" in report.markdown
    assert [chart.name for chart in report.pictures["seconds.png"]] == ["seconds"]
    run.trials["seconds"] = 0.0
    assert "Time of trainings" not in compose(run).markdown


def test_two_charts_of_one_name_are_refused(run: Run, added: None, tmp_path: Path) -> None:
    (tmp_path / "training_seconds.py").write_text(PANEL.replace('Chart("seconds"', 'Chart("progress"'))
    with pytest.raises(ValueError, match="two charts or pictures are named 'progress'"):
        compose(run)


def test_panels_stand_in_their_order(added: None) -> None:
    titles = [panel.title for panel in all_panels()]
    assert titles == [
        "", "Picks", "Why this one and not another",
            "Beside published networks of its size", "Accuracy against cost", "Front", "",
        "The picks, layer by layer", "The picks, class by class", "Over the limits", "Against random search",
        "Time of trainings", "How the search went", "Operators", "Choices that matter", "Data",
        "Clips that cannot be read", "What was not trained, and why",
        "Trainings that failed", "Predicted beside measured", "Limits", "How it was measured", "Where the time went",
        "How to repeat it", "Settings",
    ]  # fmt: skip

"""The pictures of pages are those of a script, and each stands on a page of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from screenshots import IMAGES, PANELS, TOOLS

from nas.report.panel import all_panels

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_started_as_its_page_says(name: str) -> None:
    page = (DOCS / "tools" / f"{name.replace('-', '_')}.md").read_text()
    command = TOOLS[name].command.replace(" --port {port}", "")
    assert any(command.format(path=path) in page for path in ("runs/mine", "runs/best", "best.onnx"))
    assert f"../images/{name.replace('-', '_')}.png" in page


def test_pictures_of_a_report_are_of_its_panels_and_shown() -> None:
    assert set(PANELS.values()) <= {panel.title for panel in all_panels()}
    page = (DOCS / "results.md").read_text()
    for name in ("report_desk.png", "report_phone.png", *PANELS):
        assert f"images/{name}" in page and (IMAGES / name).is_file()

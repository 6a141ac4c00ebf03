from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib
import pandas as pd
from PIL import Image

from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points
from nas.report.charts.for_picture import save_picture
from nas.report.reference_plot import draw_references


def test_one_chart_is_1600_and_several_are_2400_wide(everything: Chart, bars: Chart, tmp_path: Path) -> None:
    save_picture([everything], tmp_path / "one.png")
    save_picture([everything, bars], tmp_path / "two.png")
    for name, size in (("one", (1600, 1000)), ("two", (2400, 1000))):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size == size and len(image.convert("RGB").getcolors(1 << 20) or ()) > 100


def test_an_empty_chart_is_a_sentence(tmp_path: Path) -> None:
    empty = Chart("c", "C", [Plane(Axis("x"), Axis("y"), [Points("p", [], [], Colour.TRIAL)])])
    save_picture([empty], tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (1600, 1000)


def test_pictures_leave_the_process_as_it_was(bars: Chart, tmp_path: Path) -> None:
    def state() -> tuple[dict[str, object], list[object], set[str]]:
        # To read the backend is to choose one, which imports pyplot.
        names = (name for name in matplotlib.rcParams if name != "backend")
        settings: dict[str, object] = {name: matplotlib.rcParams[name] for name in names}
        return settings, [*warnings.filters], {"matplotlib.pyplot"} & sys.modules.keys()

    before = state()
    save_picture([bars], tmp_path / "bars.png")
    networks = {"network": ["x3d_s", "x3d_m", "$r"], "macs": [1e9, 2e9, 4e9], "latency_ms": [5.0, 8.0, 30.0]}
    draw_references(pd.DataFrame(networks), "cpu $x", tmp_path / "references.png")
    assert state() == before
    with Image.open(tmp_path / "references.png") as image:
        assert image.size == (1080, 720)

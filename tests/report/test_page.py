from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from nas.errors import NasError
from nas.report import page, write
from nas.report.page import compose
from nas.runs.folder.run import Run

PICTURES = ["pareto_macs.png", "pareto_activation.png", "pareto_memory.png", "pareto_latency.png"]
PICTURES += ["progress.png", "operators.png"]


def own_part(html: str) -> str:
    """The page without plotly.js, and without what keeps a number with its unit."""
    text = re.sub(r'<script id="plotly".*?</script>', "", html, count=1, flags=re.DOTALL)
    return text.replace("\N{NO-BREAK SPACE}", " ")


def figures_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script id="figures" type="text/plain">([A-Za-z0-9+/=]*)</script>', html)
    assert found
    return dict(json.loads(gzip.decompress(base64.b64decode(found[1])))["figures"])


def test_writes_the_files(run: Run, tmp_path: Path) -> None:
    paths = write(run, tmp_path / "new" / "out")
    pictures = [name for picture in PICTURES for name in (picture, picture.replace(".png", ".svg"))]
    names = ["report.html", "report.md", *pictures, "trials.csv", "front.csv"]
    assert paths == [tmp_path / "new" / "out" / name for name in names]
    assert all(path.stat().st_size > 1000 for path in paths)
    assert ElementTree.parse(paths[3]).getroot().tag.endswith("}svg") and b"<dc:date>" not in paths[3].read_bytes()
    assert [path.name for path in write(run)] == names[:-2]


def test_page_is_one_file(run: Run) -> None:
    html = compose(run).html
    assert len(html) < 3e6
    # plotly.js is packed; its licence stands in clear.
    assert html.count("plotly.js v") == 1 and "Licensed under the MIT license" in html
    packed = re.search(r'<script id="plotly" type="text/plain">([A-Za-z0-9+/=]+)</script>', html)
    assert packed and gzip.decompress(base64.b64decode(packed[1])).startswith(b"/**\n* plotly.js v")
    assert not re.search(r"(src|href)=|@import|url\(", own_part(html))


def test_page_of_5000_trials_has_less_than_3_megabytes(large: Run) -> None:
    html = compose(large).html
    assert len(html) < 3e6 and "5,000 trials as a table" in html
    packed = re.search(r'data-packed="([A-Za-z0-9+/=]+)"', html)
    assert packed and gzip.decompress(base64.b64decode(packed[1])).count(b"<tbody") == 5000


def test_page_and_markdown_say_the_result(run: Run) -> None:
    report = compose(run)
    for text in (own_part(report.html), report.markdown):
        assert "it reached 78.9 ± 2.5 % of 256 validation clips and 77.3 ± 2.6 % of 256 test clips" in text
        assert "chance is 8.3 %" in text
        assert "10⁹ multiply-adds of convolutions, linear layers and attention products" in text
        assert "under a budget of 100gflops on motion" in text
        assert "cpu-epyc9654.torch2.13.fp32.b1" in text
        assert "8 frames of 32\N{MULTIPLICATION SIGN}32 pixels, up to 6 epochs, on 1,024 clips" in text
        assert "Test accuracy (256 clips) took no part in any selection" in text
        assert "--pick 17 --out trial-17.yaml" in text


def test_figures_are_in_the_page(run: Run) -> None:
    text = own_part(compose(run).html)
    figures = figures_of(text)
    assert {f"{name}.png" for name in figures} == set(PICTURES)
    assert set(re.findall(r'data-figure="(\w+)"', text)) == set(figures)
    defined = set(re.findall(r"(--[a-z-]+):", text))
    assert set(re.findall(r"var\((--[a-z-]+)\)", json.dumps(figures))) <= defined


def test_text_of_the_run_is_escaped(run: Run) -> None:
    run.record = replace(run.record, data="<script>alert(1)</script>|", space="[x](http://y)", device='"><img src=x>')
    report = compose(run)
    assert "<script>alert" not in own_part(report.html) and "<img" not in own_part(report.html)
    assert "<script" not in report.markdown and "<img" not in report.markdown and "[x](http" not in report.markdown


def test_without_measurements(run: Run) -> None:
    missing = ["latency_ms", "latency_iqr_ms", "latency_p95_ms", "latency_ms_predicted", "peak_memory_bytes"]
    run.front[[*missing, "test_accuracy"]] = np.nan
    run.trials[["latency_ms_predicted", "test_accuracy"]] = np.nan
    report = compose(run)
    for text in (own_part(report.html), report.markdown):
        assert "No trial of the front has a measured latency." in text
        assert "No trial of the front has a measured peak memory." in text
        assert "was not evaluated on test" in text
        assert "took no part in any selection." not in text
        assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


@pytest.mark.parametrize("removed", [["front.csv"], ["front.csv", "trials.csv"]])
def test_interrupted_run(run: Run, removed: list[str]) -> None:
    for name in removed:
        (run.path / name).unlink()
    (run.path / "run.json").write_text("{}")
    report = compose(Run(run.path))
    # A record that says nothing is of accuracy and multiply-adds.
    pictures = [name for name in PICTURES if name != "pareto_activation.png"]
    assert list(report.pictures) == ([] if "trials.csv" in removed else pictures)
    text = own_part(report.html)
    assert "There is no front" in text
    assert ("No network was trained" in text) == ("trials.csv" in removed)


def test_one_trial(run: Run) -> None:
    run.trials = run.trials[run.trials["trial"] == 23]
    run.front = run.front[run.front["trial"] == 23]
    assert "accuracy (default) + knee + latency + memory" in own_part(compose(run).html)


def test_output_is_a_file(run: Run) -> None:
    with pytest.raises(NasError, match="is a file; allowed: a folder"):
        write(run, run.path / "run.json")


def test_templates_repeat_nothing_of_their_base() -> None:
    def rules(template: str) -> set[str]:
        text = (Path(page.__file__).parent / "templates" / template).read_text(encoding="utf-8")
        return {line.strip() for line in text.splitlines() if re.match(r"\s*[\w.:*#,> ]+\{[^%].*\}$", line)}

    for template in ("report.html.j2", "cost.html.j2"):
        assert rules(template) and not rules(template) & rules("base.html.j2")


def test_control_and_confirmation_are_told(run: Run) -> None:
    rows = [("search", 1, 0.25), ("search", 2, 0.5), ("random", 1, 0.125), ("random", 2, 0.625)]
    control = pd.DataFrame(rows, columns=["by", "trainings", "hypervolume"])
    control.assign(trial=[0, 1, 0, 1], seconds=[10, 20, 10, 20]).to_csv(run.path / "control.csv", index=False)
    (run.path / "run.json").write_text(json.dumps(run.record.document() | {"settings": {"confirm_seeds": 2}}))
    front = run.front.assign(seeds=[1] + [3] * 8, accuracy_se=0.01)
    front.to_csv(run.path / "front.csv", index=False)
    report = compose(Run(run.path))
    assert [chart.name for chart in report.pictures["control.png"]] == ["control_trainings", "control_seconds"]
    for text in (own_part(report.html), report.markdown):
        said = "At 2 trainings each: hypervolume 50.0 % by the search, 62.5 % by random: the search is not better"
        assert said in text
        assert "1 network of the front was trained with fewer than the 3 seeds asked for" in text
        assert "The front was selected on one training each and then trained again with further seeds" in text
        assert "What another of these dominates by the means over seeds has left it." in text
    figures = figures_of(report.html)
    assert [trace["y"] for trace in figures["control_trainings"]["data"]] == [[25.0, 50.0], [12.5, 62.5]]
    assert figures["control_seconds"]["data"][1]["x"] == [10.0, 20.0]


def test_a_report_needs_neither_torch_nor_what_trains() -> None:
    program = "import sys, nas.report; print([n for n in ('torch', 'ray', 'optuna', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

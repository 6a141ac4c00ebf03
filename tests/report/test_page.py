from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.errors import NasError
from nas.report import plots, write
from nas.runs.folder import Run


def own_part(page: Path) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)


def test_writes_the_files(run: Run, tmp_path: Path) -> None:
    paths = write(run, tmp_path / "new" / "out")
    names = ["report.html", "report.md", "pareto_macs.png", "pareto_latency.png", "pareto_memory.png"]
    assert paths == [tmp_path / "new" / "out" / name for name in names]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_page_is_one_file(run: Run) -> None:
    page = write(run)[0]
    assert page.parent == run.path
    assert page.read_text(encoding="utf-8").count("plotly.js v") == 1
    assert not re.search(r"(src|href)=|@import|url\(", own_part(page))


def test_page_and_markdown_say_the_result(run: Run) -> None:
    page, markdown, *_ = write(run)
    for text in (own_part(page), markdown.read_text(encoding="utf-8")):
        assert "trial 23 at 24.4 GFLOPs with 78.9 ± 2.5 % on validation, 77.3 ± 2.6 % on test" in text
        assert "chance is 8.3 %" in text
        assert "10⁹ multiply-adds of convolutions, linear layers and attention products" in text
        assert "under a budget of 100gflops on motion" in text
        assert "cpu-epyc9654.torch2.13.fp32.b1" in text
        assert "8 frames of 32\N{MULTIPLICATION SIGN}32 pixels, up to 6 epochs, on 1,024 clips" in text
        assert "Test accuracy (256 clips) took no part in any selection" in text
        assert "--pick 17 --out trial-17.yaml" in text


def test_figures_are_in_the_page(run: Run) -> None:
    text = own_part(write(run)[0])
    found = re.search(r'<script id="figures" type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    assert found
    figures = json.loads(found[1])
    assert set(figures) == {"pareto_macs", "pareto_latency", "pareto_memory", "progress", "operators"}
    assert set(re.findall(r'data-figure="(\w+)"', text)) == set(figures)
    defined = set(re.findall(r"(--[a-z-]+):", text))
    assert set(re.findall(r"var\((--[a-z-]+)\)", found[1])) <= defined


def test_text_of_the_run_is_escaped(run: Run) -> None:
    run.record = replace(run.record, data="<script>alert(1)</script>|")
    run.front["operators"] = "t2d*3"
    run.trials["operators"] = "t2d*3"
    page, markdown, *_ = write(run)
    assert "<script>alert" not in own_part(page)
    assert "<script" not in markdown.read_text(encoding="utf-8")


def test_without_measurements(run: Run) -> None:
    missing = ["latency_ms", "latency_iqr_ms", "latency_p95_ms", "latency_ms_predicted", "peak_memory_bytes"]
    run.front[[*missing, "test_accuracy"]] = np.nan
    run.trials["latency_ms_predicted"] = np.nan
    page, markdown, *_ = write(run)
    for text in (own_part(page), markdown.read_text(encoding="utf-8")):
        assert "No trial of the front has a measured latency." in text
        assert "No trial of the front has a measured peak memory." in text
        assert "not evaluated on test" in text
        assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_trainings_that_the_front_does_not_know_yet_are_named(run: Run) -> None:
    run.record = replace(run.record, front_of=len(run.trials) - 2)
    assert "2 further trainings are not part of it yet" in own_part(write(run)[0])
    run.record = replace(run.record, front_of=len(run.trials))
    assert "part of it yet" not in own_part(write(run)[0])


@pytest.mark.parametrize("removed", [["front.csv"], ["front.csv", "trials.csv"]])
def test_interrupted_run(run: Run, removed: list[str]) -> None:
    for name in removed:
        (run.path / name).unlink()
    (run.path / "run.json").write_text("{}")
    paths = write(Run(run.path))
    assert len(paths) == 5
    text = own_part(paths[0])
    assert "There is no front" in text
    assert ("No network was trained" in text) == ("trials.csv" in removed)


def test_one_trial(run: Run) -> None:
    run.trials = run.trials[run.trials["trial"] == 23]
    run.front = run.front[run.front["trial"] == 23]
    assert "knee + accuracy + latency + memory" in own_part(write(run)[0])


def test_output_is_a_file(run: Run) -> None:
    with pytest.raises(NasError, match="is a file; allowed: a folder"):
        write(run, run.path / "run.json")


def test_templates_repeat_nothing_of_their_base() -> None:
    def rules(template: str) -> set[str]:
        text = (Path(plots.__file__).parent / template).read_text(encoding="utf-8")
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
    page, markdown, *pictures = write(Run(run.path))
    assert pictures[-1].name == "control.png" and pictures[-1].stat().st_size > 1000
    for text in (own_part(page), markdown.read_text(encoding="utf-8")):
        said = "At 2 trainings each: hypervolume 50.0 % by the search, 62.5 % by random: the search is not better"
        assert said in text
        assert "1 network of the front was trained with fewer than the 3 seeds asked for" in text
        assert "The front was selected on one training each and then trained again with further seeds" in text
    found = re.search(r'<script id="figures" type="application/json">(.*?)</script>', own_part(page), flags=re.DOTALL)
    assert found
    figures = json.loads(found[1])
    assert [trace["y"] for trace in figures["control_trainings"]["data"]] == [[25.0, 50.0], [12.5, 62.5]]
    assert figures["control_seconds"]["data"][1]["x"] == [10.0, 20.0]

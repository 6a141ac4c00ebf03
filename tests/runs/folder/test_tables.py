from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from nas.profiler.computed.cost import cost
from nas.runs.folder.tables import trials_table, write_table
from nas.space import SearchSpace
from nas.trials.results import TrialResult


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    cells = ["=1+1", "+x", "-x", "@x", "out of memory", "t2d*3"]
    table = pd.DataFrame({"error": cells, "accuracy": [-0.5] * 6})
    write_table(tmp_path / "table.csv", table)
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert rows[1:] == ["'=1+1,-0.5", "'+x,-0.5", "'-x,-0.5", "'@x,-0.5", "out of memory,-0.5", "t2d*3,-0.5"]


def test_a_row_says_what_the_training_took_of_a_gpu() -> None:
    architecture = SearchSpace.load("tiny").sample(0)
    candidate = SimpleNamespace(index=0, architecture=architecture, cost=cost(architecture))
    proposer: Any = SimpleNamespace(
        candidates=[candidate], results={0: TrialResult("finished", 0.5, peak_bytes=12_345)}
    )
    (row,) = trials_table(proposer).to_dict("records")
    assert (row["trial"], row["accuracy"], row["peak_bytes"]) == (0, 0.5, 12_345)

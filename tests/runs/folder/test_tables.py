from __future__ import annotations

from pathlib import Path

import pandas as pd

from nas.runs.folder.tables import write_table


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    cells = ["=1+1", "+x", "-x", "@x", "out of memory", "t2d*3"]
    table = pd.DataFrame({"error": cells, "accuracy": [-0.5] * 6})
    write_table(tmp_path / "table.csv", table)
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert rows[1:] == ["'=1+1,-0.5", "'+x,-0.5", "'-x,-0.5", "'@x,-0.5", "out of memory,-0.5", "t2d*3,-0.5"]

from __future__ import annotations

import pytest

from nas.errors import NasError
from nas.report.panels.operators import Operators, operator_counts, operator_shares
from nas.runs.folder.run import Run


def test_operator_counts() -> None:
    assert operator_counts(["t2d*3 d2plus1d*2", "t2d", ""]) == {"t2d": 4, "d2plus1d": 2}
    with pytest.raises(NasError, match=r"at '\*3'"):
        operator_counts(["t2d *3"])


def test_operator_shares(run: Run) -> None:
    run.trials = run.trials[run.trials["state"] != "failed"].head(2).assign(operators=["t2d*3 tps", "t2d*4"])
    run.front = run.front.head(1).assign(operators=["tps*2 t2d*2"])
    shares = operator_shares(run)
    assert shares["all"].to_dict() == {"tps": 0.125, "t2d": 0.875}
    assert shares["front"].to_dict() == {"tps": 0.5, "t2d": 0.5}


def test_without_a_front_only_what_was_tried_is_shown(run: Run) -> None:
    run.front = run.front.head(0)
    assert list(operator_shares(run)) == ["all"]
    text, _, table = (block.markdown() for block in Operators().blocks(run))
    assert "23 trained networks." in text and "Front" not in table

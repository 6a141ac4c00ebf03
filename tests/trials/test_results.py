"""What passes between driver, trial and journal keeps what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nas.trials.results import Assignment, Report, TrialResult


def test_an_assignment_is_read_as_it_was_given() -> None:
    for given in (Assignment(3, {"stages": []}, (1e9, 2.0)), Assignment(0, {}, (1.0,), seed=7)):
        assert Assignment.of(given.config()) == given


@pytest.mark.parametrize(
    ("report", "result", "document"),
    [
        (
            Report(
                (0.25, 0.5), (2, 6), (2.00049, 1.5), True, 6, 12.5, 0.4, "node1", 7, val_called=(0, 1), test_called=(1,)
            ),
            TrialResult("finished", 0.5, 0.4, 6, 12.5, (0.25, 0.5), (2, 6), (2.0, 1.5), "node1", 7),
            {"state": "finished", "accuracy": 0.5, "test_accuracy": 0.4, "epochs": 6, "seconds": 12.5}
            | {"curve": [0.25, 0.5], "reached": [2, 6], "losses": [2.0, 1.5], "node": "node1", "peak_bytes": 7},
        ),
        (
            Report((0.25,), (2,), (2.5,), False, 2, 4.0),
            TrialResult("stopped", 0.25, None, 2, 4.0, (0.25,), (2,), (2.5,)),
            {"state": "stopped", "accuracy": 0.25, "epochs": 2, "seconds": 4.0, "curve": [0.25]}
            | {"reached": [2], "losses": [2.5]},
        ),
        (
            Report(error="too large", violation=0.5),
            TrialResult("failed", error="too large", violation=0.5),
            {"state": "failed", "error": "too large", "violation": 0.5},
        ),
    ],
)
def test_a_report_becomes_the_result_that_the_journal_keeps(
    report: Report, result: TrialResult, document: dict[str, Any]
) -> None:
    sent = report.to_ray()
    assert sent["done"] is report.last
    # Ray adds keys of its own.
    assert Report.of({**sent, "trial_id": "a", "time_this_iter_s": 1.0, "config": {"index": 3}}) == report
    assert report.result() == result and result.document() == document
    assert TrialResult.of(json.loads(json.dumps(document))) == result


def test_a_trial_that_has_not_said_anything_has_no_report() -> None:
    assert Report.of(None) is None and Report.of({}) is None and Report.of({"trial_id": "a"}) is None

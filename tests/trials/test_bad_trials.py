"""A search whose trainings go wrong in every way that there is, on real processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import nas
from nas.architecture.registry import ENVIRONMENT
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.measure import Measurement
from nas.report.page import compose
from nas.runs.folder.consistency import check_run
from nas.runs.stages import measuring
from nas.trials import tuning

SPACE = {
    "input": {"frames": 4, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [
        {
            "width": {"choice": [8, 16, 24, 32]},
            "layers": {"repeat": 1, "layer": {"op": "full3d", "temporal_kernel": {"choice": [1, 3]}}},
        }
    ],
}
# What stands for a user's operators: a trial goes wrong by its number, which is its seed here. The
# methods of the trial itself stay: Ray takes hold of them before a file is imported. What leaves
# the process alive comes first, and what is lost for good last: a process takes seconds to start.
BAD = """
import os, signal, time
from pathlib import Path
import torch
from nas.training.loop import Training

def bad(training, epoch=Training.epoch):
    match training.recipe.seed:
        case 0:
            raise KeyError("tubes")
        case 1:
            next(training.model.parameters()).data.fill_(float("nan"))
        case 2:
            torch.empty(1 << 55)
        case 4:
            Path(__file__).with_suffix(".hangs").touch()
            time.sleep(1000)
        case 5 if not (first := Path(__file__).with_suffix(".first")).exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case 6:
            os.kill(os.getpid(), signal.SIGKILL)
    return epoch(training)

if os.environ["NAS_TEST_DRIVER"] != str(os.getpid()):
    Training.epoch = bad
"""


def test_every_bad_training_is_a_result_and_the_search_ends_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    (tmp_path / "bad.py").write_text(BAD)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "bad.py"))
    monkeypatch.setenv("NAS_TEST_DRIVER", str(os.getpid()))
    latency = Latency(n=50, median=3.0, iqr=0.1, p90=3.1, p95=3.2, samples=[3.0])
    monkeypatch.setattr(measuring, "_measured", lambda *_: Measurement(latency, 1000, "a-machine", Environment(), []))
    # However slow this machine is, the hour is over when the one that hangs has begun.
    hangs = tmp_path / "bad.hangs"
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3601 * hangs.exists())
    monkeypatch.setattr(tuning, "time", clock)
    run = nas.search(
        tmp_path / "space.yaml",
        budget="20mflops",
        out=tmp_path / "run",
        trials=7,
        trial_timeout=3600.0,
        workers=1,
        quiet=True,
        epochs=1,
        proxy_frames=4,
        proxy_size=16,
        train_clips=24,
        val_clips=12,
        confirm_seeds=0,
    )
    found = {row["trial"]: (row["state"], row["failure"]) for row in run.trials.to_dict("records")}
    trained = ("finished", "")
    assert found == {
        0: ("failed", "error"),
        1: ("failed", "diverged"),
        2: ("failed", "memory"),
        3: trained,  # in the process in which the three before it failed
        4: ("failed", "timeout"),
        5: trained,  # in its second process
        6: ("failed", "lost"),
    }
    errors = dict(zip(run.trials["trial"], run.trials["error"], strict=True))
    assert errors[0] == "KeyError: 'tubes'" and "longer than the trial timeout" in errors[4]
    assert run.record.counts and (run.record.counts.trained, run.record.counts.failed) == (2, 5)
    assert check_run(run.path).problems == []
    text = compose(run).markdown
    assert "Trainings that failed" in text and "4: longer than the trial timeout" in text

"""`nas report`, beside a search and without one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from command_line import nas

BEFORE = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def test_events_name_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nas("report", str(BEFORE), "--out", str(tmp_path), "--json", monkeypatch=monkeypatch)
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["event"] == "report" and not event["running"] and event["trials"] > 0
    assert all(Path(path).is_file() for path in event["files"])
    nas("report", str(BEFORE), "--out", str(tmp_path), "--quiet", monkeypatch=monkeypatch)
    assert capsys.readouterr().out == ""


def test_watching_and_comparing_are_two_things(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nas("report", str(BEFORE), "--watch", "--compare", str(BEFORE), monkeypatch=monkeypatch, code=2)
    assert "does not go with --watch; allowed: one of them" in capsys.readouterr().err


def test_an_interruption_ends_the_watch_with_130(tmp_path: Path) -> None:
    folder = shutil.copytree(BEFORE, tmp_path / "run")
    (folder / "run.lock").touch()
    words = [sys.executable, "-m", "nas.cli.app", "report", str(folder), "--watch"]
    # Tests that a shell runs in the background have the signal ignored, and so would the command.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, preexec_fn=listening
    ) as watch:
        assert watch.stdout and watch.stderr
        assert "so far" in watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 130
        assert "interrupted; the page is as it was last written" in watch.stderr.read()

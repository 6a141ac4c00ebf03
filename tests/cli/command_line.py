"""What several files of this folder share."""

from __future__ import annotations

import sys

import pytest

from nas.cli.app import main


def nas(*arguments: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    """Runs the command in this process, and expects it to end with an exit code; what it prints is
    for `capsys`.
    """
    monkeypatch.setattr(sys, "argv", ["nas", *arguments])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == code

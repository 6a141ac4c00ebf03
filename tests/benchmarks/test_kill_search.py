"""The search that is killed is compared with one of the same code, or with none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "kill_search.py"


def _module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("benchmarks_kill_search", FILE)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("change", ["edited", "added", "renamed", "removed"])
def test_searches_of_two_states_of_the_code_are_not_compared(tmp_path: Path, change: str) -> None:
    script, (one, other) = _module(), (tmp_path / "one.py", tmp_path / "rooms" / "other.py")
    other.parent.mkdir()
    one.write_text("a = 1\n")
    other.write_text("b = 2\n")
    known = script.fingerprint(tmp_path)
    (tmp_path / "one.pyc").write_bytes(b"compiled")  # no source
    script.check_unchanged(known, tmp_path)
    if change == "edited":
        other.write_text("b = 3\n")
    elif change == "added":
        (tmp_path / "further.py").touch()
    elif change == "renamed":
        one.rename(tmp_path / "two.py")
    else:
        one.unlink()
    with pytest.raises(SystemExit, match=r"have changed since the search was left alone; allowed: a new folder"):
        script.check_unchanged(known, tmp_path)

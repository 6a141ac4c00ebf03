"""A family of small networks, and the lines of a table about one layer and one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nas.architecture import Architecture


def _architecture(modules: int = 2, width: int = 8, layers: int = 1, op: str = "d2plus1d") -> Architecture:
    layer: dict[str, Any] = {"op": op, "modules": modules} if op == "d2plus1d" else {"op": op}
    return Architecture.parse(
        {
            "input": {"frames": 4, "size": 16},
            "num_classes": 5,
            "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
            "stages": [{"width": width, "layers": [layer] * layers}],
        }
    )


@pytest.fixture
def architecture() -> Callable[..., Architecture]:
    """Makes one by its modules, width, number of layers and their operator."""
    return _architecture

"""Architectures whose tensors torch cannot count are refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from nas.architecture import Architecture, ArchitectureError
from nas.profiler.computed.cost import cost


@pytest.mark.parametrize(
    ("size", "layer", "words"),
    [
        (
            1_000_000,
            {"op": "full3d"},
            "^conv: from 1000000x1000000x1000000x3 to .* is too large to be counted; allowed: ",
        ),
        (
            32,
            {"op": "t2d", "heads": 1, "mlp_ratio": 1e300},
            "^t2d: from .* is too large to be counted; allowed: smaller",
        ),
    ],
)
def test_what_is_too_large_is_refused(size: int, layer: dict[str, Any], words: str) -> None:
    document = {
        "input": {"frames": size, "size": size},
        "stem": {"op": "conv", "kernel": [1, 3, 3]},
        "stages": [{"width": 8, "layers": [layer]}],
    }
    with pytest.raises(ArchitectureError, match=words):
        cost(Architecture.parse(document))

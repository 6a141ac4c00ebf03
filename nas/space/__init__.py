"""Search spaces: architecture documents with holes, and the ways to fill them."""

from nas.space.space import (
    MAX_DEPTH,
    MAX_DRAWS,
    MAX_EDITS,
    MAX_RANGE,
    MAX_REPEAT,
    PLAIN,
    Hole,
    Label,
    Params,
    SearchSpace,
    SpaceError,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_DRAWS",
    "MAX_EDITS",
    "MAX_RANGE",
    "MAX_REPEAT",
    "PLAIN",
    "Hole",
    "Label",
    "Params",
    "SearchSpace",
    "SpaceError",
]

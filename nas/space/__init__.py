"""Search spaces: architecture documents with holes, and the ways to fill them.

`space` holds what others use; `compile`, `operators` and `neighbourhood` turn a document into the
tree of `nodes`. Nothing here knows cost, training or Optuna.
"""

from nas.space.holes import Hole, Label, Params, SpaceError
from nas.space.space import SearchSpace

__all__ = ["Hole", "Label", "Params", "SearchSpace", "SpaceError"]

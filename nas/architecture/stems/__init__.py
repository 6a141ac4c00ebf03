"""Stems: from a clip to the first map. One file for each, without torch; `nas.models.stems` holds
the module of each under the same file name.
"""

from __future__ import annotations

from typing import Annotated

from nas.architecture.registry import Registry
from nas.architecture.stems.base import StemConfig

STEMS = Registry(StemConfig, __name__)
Stem = Annotated[StemConfig, STEMS]

__all__ = ["STEMS", "Stem", "StemConfig"]

"""How the time of a run is divided among its stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nas.runs.settings import Settings

CONFIRMATION = 0.25  # of a limited time, where the front is confirmed
BASELINES = 0.1  # of it, where the pick is held against published networks


@dataclass(frozen=True)
class Shares:
    """Seconds of each stage; None where the time is not limited.

    Attributes:
        search: To train candidates.
        control: For random search.
        confirmation: To train the front again.
        baselines: For published networks.
    """

    search: float | None = None
    control: float | None = None
    confirmation: float | None = None
    baselines: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that settings ask for."""
        time, share = settings.time, settings.control_share
        if time is None:
            return cls()
        confirmation = CONFIRMATION * time if settings.confirm_seeds else 0.0
        baselines = BASELINES * time if settings.baseline_names else 0.0
        left = time - confirmation - baselines
        return cls((1 - share) * left, share * left, confirmation, baselines)

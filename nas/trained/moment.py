"""What is told of a training while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas.trained.curves import CurveRow


@dataclass(frozen=True)
class Moment:
    """What is shown of a training that runs.

    Attributes:
        epoch: That is under way, from 1.
        share: Of the schedule that is done.
        loss: Mean loss of the epoch so far.
        clips_per_second: Since the session began, as in a `CurveRow`.
        seconds_left: Until the end of the schedule, as the last steps went.
        row: The epoch that has just ended, or None within one.
        best: The best epoch so far.
    """

    epoch: int
    share: float
    loss: float
    clips_per_second: float
    seconds_left: float
    row: CurveRow | None
    best: CurveRow | None


Show = Callable[[Moment], None]
Say = Callable[[str], None]

"""What of a proxy the time allows: how many epochs, how many networks, and up to which size.

Everything here follows from a device's pace, in plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.limits.pace import Pace
from nas.units import number

NETWORKS = 40  # that a search trains at least, where the time allows it
CEILING_SHARE = 1 / 20  # of the time, that no single training takes
USEFUL = 0.7  # of workers' time, that is in training and evaluation; the rest is Ray's start, and the driver's share
CHEAPER = 1.2  # times as many networks as of mean cost, as what is learnt is mostly cheap; 1.0 to 2.2 seen
SPARED = 2.0  # the same where a part is stopped at rungs; 1.7 to 3 seen
EPOCHS = (3, 30)  # of a proxy
TRAINING_SECONDS = 30.0  # of a training of mean cost at a nominal pace, where no time is given
PLACES = 16  # of a range of costs, for a mean over it
NARROWEST = 2.0  # a range of costs ends at least so many times above its begin


@dataclass(frozen=True)
class Effort:
    """What one training is.

    Attributes:
        frames, size: Of its input.
        rungs: Epochs after which it is evaluated; the last one ends it.
        clips: Of an epoch.
        batch: Clips of a step.
        evaluated: Clips that are evaluated at every rung.
        share: Multiply-adds of a proxy, of those at the target input.
    """

    frames: int
    size: tuple[int, int]
    rungs: tuple[int, ...]
    clips: int
    batch: int
    evaluated: int
    share: float

    def seconds(self, pace: Pace, macs: float) -> float:
        """Of a whole training of a network of so many multiply-adds at the target input."""
        return self.rungs[-1] * self._epoch(pace, macs) + len(self.rungs) * self._evaluation(pace, macs)

    def largest(self, pace: Pace, seconds: float) -> float:
        """Multiply-adds of the network whose whole training takes so long; 0 where none does."""
        least, one = self.seconds(pace, 0.0), self.seconds(pace, 1e9)
        return max(0.0, 1e9 * (seconds - least) / (one - least))

    def _epoch(self, pace: Pace, macs: float) -> float:
        steps = max(1, self.clips // self.batch)
        return steps * (pace.step_s + 3 * macs * self.share * self.batch * pace.mac_s)

    def _evaluation(self, pace: Pace, macs: float) -> float:
        return self.evaluated * macs * self.share * pace.mac_s


@dataclass(frozen=True)
class Time:
    """The time of a search.

    Attributes:
        whole: Seconds that were given.
        seconds: Of them, to train candidates.
        workers: Trainings at a time.
        wanted: Networks that are to be trained in it.
    """

    whole: float
    seconds: float
    workers: int
    wanted: int = NETWORKS

    def ceiling(self, effort: Effort, pace: Pace, low: float) -> float:
        """Multiply-adds beyond which a training takes too much of it, at least twice the lowest."""
        return max(effort.largest(pace, CEILING_SHARE * self.whole), NARROWEST * low)

    def networks(self, effort: Effort, pace: Pace, low: float, high: float) -> int:
        """How many networks are expected to be trained of those between two costs."""
        macs = np.geomspace(low, max(low, high), PLACES)
        mean = np.mean([effort.seconds(pace, float(each)) for each in macs])
        spared = SPARED if len(effort.rungs) > 1 else CHEAPER
        return int(spared * USEFUL * self.workers * self.seconds / mean)

    def reached(self, effort: Effort, pace: Pace, high: float) -> bool:
        """Whether networks of all sizes are trained."""
        return effort.largest(pace, CEILING_SHARE * self.whole) >= high

    def enough(self, effort: Effort, pace: Pace, low: float, high: float) -> bool:
        """Whether as many networks as are wanted are trained, of those sizes that are."""
        return self.networks(effort, pace, low, min(high, self.ceiling(effort, pace, low))) >= self.wanted


def planned(efforts: Sequence[Effort], pace: Pace, time: Time | None, low: float, high: float) -> Effort:
    """The most of some efforts that leave time for enough networks of all sizes; the least where
    the time allows none.

    Where none reaches the largest size, it is the geometric middle between the least and the most
    that leave time for enough networks: the least would leave the larger ones at chance, the most
    would leave them out.

    Args:
        efforts: In order, the least first.
        pace: Of the device.
        time: Of the search; None for one that is not limited, of which a training of mean cost
            takes half a minute at most.
        low, high: Multiply-adds of the cheapest and of the costliest networks that are searched.
    """
    if time is not None:
        reaching = [effort for effort in efforts if time.reached(effort, pace, high)]
        allowed = [effort for effort in reaching or efforts if time.enough(effort, pace, low, high)]
        if allowed and not reaching:
            least, most = (each.seconds(pace, high) for each in (allowed[0], allowed[-1]))
            allowed = [effort for effort in allowed if effort.seconds(pace, high) <= math.sqrt(least * most)]
    else:
        macs = (high - low) / math.log(high / low) if high > low else low
        allowed = [effort for effort in efforts if effort.seconds(pace, macs) <= TRAINING_SECONDS]
    return allowed[-1] if allowed else efforts[0]


def duration(seconds: float) -> str:
    """A time as `--time` takes it, rounded up: `8m`, `2h`."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes <= 90 else f"{math.ceil(minutes / 60)}h"


def gflops(macs: float) -> str:
    """Multiply-adds in a sentence."""
    return f"{number(macs / 1e9, 2)} GFLOPs"

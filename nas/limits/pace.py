"""How fast a device trains, as a line over multiply-adds: what a limit of time is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Pace:
    """How fast a trial trains on its device.

    Attributes:
        step_s: Seconds of a training step of any network.
        mac_s: Further seconds for every multiply-add of its forward and backward passes.
    """

    step_s: float
    mac_s: float

    @classmethod
    def nominal(cls, threads: int, on_gpu: bool) -> Pace:
        """That of no device, where the clock must decide nothing: 10 giga multiply-adds a second
        and thread of a CPU, 500 a second on a GPU.
        """
        return cls(0.0, 1 / 500e9 if on_gpu else 1 / (10e9 * threads))

    def shared(self, trials: int) -> Pace:
        """The pace of each of several trials on one GPU: they share what its kernels take, and each
        launches from cores of its own.
        """
        return replace(self, mac_s=trials * self.mac_s)

    @classmethod
    def fitted(cls, macs: Sequence[float], seconds: Sequence[float]) -> Pace:
        """The pace of some steps, by least squares of relative errors; neither number is below 0.

        Args:
            macs: Multiply-adds of each step, above 0.
            seconds: How long it took.
        """
        m, t = np.asarray(macs, float), np.asarray(seconds, float)
        (step, per_mac), *_ = np.linalg.lstsq(np.column_stack([1 / t, m / t]), np.ones(len(t)), rcond=None)
        if len(m) < 2 or step < 0 or per_mac <= 0:
            return cls(0.0, float(np.exp(np.log(t / m).mean())))
        return cls(float(step), float(per_mac))

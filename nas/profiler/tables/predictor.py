"""Predicts the latency of a network from a table of its layers.

What is printed as a prediction is one: the fit for a network that the table holds as a whole leaves
that network out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nas.architecture import Architecture
from nas.errors import NasError
from nas.pareto.gaussian_process import Array
from nas.profiler.tables.prediction import LayerRegression, Overhead, Prediction
from nas.profiler.tables.rows import Row, Workload, joined, part_workloads
from nas.profiler.tables.table import Table

FEWEST = 8  # measured layers of an operator that a regression of its own needs
FOREIGN = 0.3  # standard deviation, in logarithms, of layers of one operator about those of all others


class _Times:
    """Times of layers of one kind, kernels or launching: as measured, or from those of the same
    operator, which is fitted when an unknown layer first needs it.

    Attributes:
        known: Milliseconds by key.
    """

    def __init__(self, rows: Sequence[Row], ms: Sequence[float]) -> None:
        self.known = {row.workload.key: time for row, time in zip(rows, ms, strict=True)}
        self._layers: dict[str, list[Workload]] = {}
        for row in rows:
            self._layers.setdefault(row.workload.op, []).append(row.workload)
        self._regressions: dict[str, LayerRegression] = {}
        self._interpolated: dict[str, tuple[float, float]] = {}

    def of(self, layers: Sequence[Workload]) -> list[tuple[float, float]]:
        """Milliseconds of layers and their standard deviations in logarithms, 0 for what was
        measured.
        """
        self._interpolate([layer for layer in layers if layer.key not in self.known])
        return [
            (self.known[layer.key], 0.0) if layer.key in self.known else self._interpolated[layer.key]
            for layer in layers
        ]

    def _interpolate(self, unknown: Sequence[Workload]) -> None:
        groups: dict[str, dict[str, Workload]] = {}
        for workload in unknown:
            if workload.key not in self._interpolated:
                # An operator that was hardly met is judged by its size, among all others.
                own = len(self._layers.get(workload.op, ())) >= FEWEST
                groups.setdefault(workload.op if own else "", {})[workload.key] = workload
        for op, group in groups.items():
            if op not in self._regressions:
                layers = self._layers[op] if op else [each for layers in self._layers.values() for each in layers]
                options = [each.options if op else {} for each in layers]
                ms = [self.known[each.key] for each in layers]
                self._regressions[op] = LayerRegression(_numbers(layers), options, ms)
            options = [workload.options if op else {} for workload in group.values()]
            times, deviations = self._regressions[op].predict(_numbers(group.values()), options)
            for key, mean, deviation in zip(group, times, deviations, strict=True):
                self._interpolated[key] = float(mean), math.hypot(deviation, 0 if op else FOREIGN)


class Predictor:
    """Predicts latencies from a table as it is now.

    Where the host of a GPU launches, a network takes the longer of two sums: that of the kernels,
    while the host is ahead, or that of launching, while the GPU waits.

    Attributes:
        device: Of the table.
        overhead: What was fitted to the networks of the table whose layers are all in it.

    Raises:
        NasError: The table holds too few layers.
    """

    def __init__(self, table: Table) -> None:
        if len(table.layers) < 2:
            raise NasError(
                f"latency table of {table.device!r} holds {len(table.layers)} layers, too few to predict from; "
                f"allowed: at least 2"
            )
        self.device = table.device
        launched = [row for row in table.layers if row.launch_ms]
        self._times = [_Times(table.layers, [row.ms for row in table.layers])]
        if len(launched) >= 2:
            self._times.append(_Times(launched, [row.launch_ms for row in launched]))
        # Sum over the layers and latency, of each network whose layers are all known.
        self._networks = {
            row.workload.key: (
                max(sum(n * times.known[key] for key, n in row.workload.layers()) for times in self._times),
                row.ms,
            )
            for row in table.networks
            if all(key in times.known for key, _ in row.workload.layers() for times in self._times)
        }
        self.overhead = self._fitted("")
        self._left_out: dict[str, Overhead] = {}

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicts one architecture: layers of the table as measured, others from those of the same
        operator. A time of the whole network that the table may hold is not used.
        """
        layers = part_workloads(architecture)
        found = self._longer(layers)
        overhead, key = self.overhead, joined(layers).key
        if key in self._networks:
            if key not in self._left_out:
                self._left_out[key] = self._fitted(key)
            overhead = self._left_out[key]
        return overhead.predict([ms for ms, _ in found], [deviation for _, deviation in found])

    def parts_ms(self, architecture: Architecture) -> list[float]:
        """Returns milliseconds of each part, in the order of `Architecture.parts`, without the
        overhead of a network; of a GPU those of the longer of both sums.
        """
        return [ms for ms, _ in self._longer(part_workloads(architecture))]

    def _longer(self, layers: Sequence[Workload]) -> list[tuple[float, float]]:
        return max((times.of(layers) for times in self._times), key=lambda each: sum(ms for ms, _ in each))

    def _fitted(self, left_out: str) -> Overhead:
        """The overhead as all networks but one tell it."""
        rest = [times for key, times in self._networks.items() if key != left_out]
        return Overhead.fit([total for total, _ in rest], [ms for _, ms in rest])


def _numbers(layers: Iterable[Workload]) -> Array:
    return np.array([layer.numbers for layer in layers], dtype=float)

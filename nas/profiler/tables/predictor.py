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


class Predictor:
    """Predicts latencies from a table as it is now; operators are fitted when an unknown layer
    first needs them.

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
        self._ms = {row.workload.key: row.ms for row in table.layers}
        self._layers: dict[str, list[Row]] = {}
        for row in table.layers:
            self._layers.setdefault(row.workload.op, []).append(row)
        # Sum over the layers and latency, of each network whose layers are all known.
        self._networks = {
            row.workload.key: (sum(n * self._ms[key] for key, n in row.workload.layers()), row.ms)
            for row in table.networks
            if all(key in self._ms for key, _ in row.workload.layers())
        }
        self.overhead = self._fitted("")
        self._left_out: dict[str, Overhead] = {}
        self._regressions: dict[str, LayerRegression] = {}
        self._interpolated: dict[str, tuple[float, float]] = {}

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicts one architecture: layers of the table as measured, others from those of the same
        operator. A time of the whole network that the table may hold is not used.
        """
        layers = part_workloads(architecture)
        self._interpolate([layer for layer in layers if layer.key not in self._ms])
        found = [
            (self._ms[layer.key], 0.0) if layer.key in self._ms else self._interpolated[layer.key] for layer in layers
        ]
        overhead, key = self.overhead, joined(layers).key
        if key in self._networks:
            if key not in self._left_out:
                self._left_out[key] = self._fitted(key)
            overhead = self._left_out[key]
        return overhead.predict([ms for ms, _ in found], [deviation for _, deviation in found])

    def _fitted(self, left_out: str) -> Overhead:
        """The overhead as all networks but one tell it."""
        rest = [times for key, times in self._networks.items() if key != left_out]
        return Overhead.fit([total for total, _ in rest], [ms for _, ms in rest])

    def _interpolate(self, unknown: Sequence[Workload]) -> None:
        groups: dict[str, dict[str, Workload]] = {}
        for workload in unknown:
            if workload.key not in self._interpolated:
                # An operator that was hardly met is judged by its size, among all others.
                own = len(self._layers.get(workload.op, ())) >= FEWEST
                groups.setdefault(workload.op if own else "", {})[workload.key] = workload
        for op, group in groups.items():
            if op not in self._regressions:
                rows = self._layers[op] if op else [row for rows in self._layers.values() for row in rows]
                options = [row.workload.options if op else {} for row in rows]
                numbers = _numbers(row.workload for row in rows)
                self._regressions[op] = LayerRegression(numbers, options, [row.ms for row in rows])
            options = [workload.options if op else {} for workload in group.values()]
            ms, deviations = self._regressions[op].predict(_numbers(group.values()), options)
            for key, mean, deviation in zip(group, ms, deviations, strict=True):
                self._interpolated[key] = float(mean), math.hypot(deviation, 0 if op else FOREIGN)


def _numbers(layers: Iterable[Workload]) -> Array:
    return np.array([layer.numbers for layer in layers], dtype=float)

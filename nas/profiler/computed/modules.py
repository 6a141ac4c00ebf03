"""Cost of any module with some inputs, traced whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Self

from torch import nn

from nas.models.network import Network
from nas.profiler.computed.operations import Work
from nas.profiler.computed.parts import part_label
from nas.profiler.computed.recorder import Trace
from nas.profiler.computed.results import Cost, LayerCost, OperatorCost, operator_rows, peak, totals, unknown_operators
from nas.profiler.computed.tracing import trace


@dataclass(frozen=True, eq=False)
class ModuleCost(Cost):
    """Cost of any module with some inputs."""

    module: nn.Module
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    inference: Trace

    @classmethod
    def of(cls, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Self:
        inference = trace(module, args, kwargs)
        parameters = list(module.parameters())
        return cls(
            **totals(work for _, work in inference.calls),
            params=sum(p.numel() for p in parameters),
            inference_bytes=peak(inference.log),
            parameter_bytes=sum(p.nbytes for p in parameters),
            module=module,
            args=args,
            kwargs=kwargs,
            inference=inference,
        )

    @cached_property
    def _saved(self) -> dict[str, int]:
        saved: dict[str, int] = defaultdict(int)
        for nbytes, path in trace(self.module, self.args, self.kwargs, training=True).saved.values():
            saved[path] += nbytes
        return saved

    @property
    def activation_bytes(self) -> int:
        return sum(self._saved.values())

    @cached_property
    def step_bytes(self) -> int:
        return peak(trace(self.module, self.args, self.kwargs, training=True, backward=True).log)

    @cached_property
    def modules(self) -> tuple[LayerCost, ...]:
        """A row for every module that does or has something itself, in the order of their names."""
        works: dict[str, list[Work]] = defaultdict(list)
        for path, work in self.inference.calls:
            works[path].append(work)
        alive = _peaks_by_path(self.inference)
        rows = []
        for path, part in self.module.named_modules():
            params = sum(p.numel() for p in part.parameters(recurse=False))
            if works[path] or params or self._saved.get(path):
                rows.append(
                    LayerCost(
                        path=path,
                        op=type(part).__name__,
                        shape="x".join(map(str, self.inference.shapes.get(path, ()))),
                        **totals(works[path]),
                        params=params,
                        activation_bytes=self._saved.get(path, 0),
                        inference_bytes=alive.get(path, 0),
                    )
                )
        return tuple(rows)

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        return self.modules

    @cached_property
    def operators(self) -> tuple[OperatorCost, ...]:
        return operator_rows(work for _, work in self.inference.calls)

    @cached_property
    def unknown(self) -> dict[str, int]:
        return unknown_operators(work for _, work in self.inference.calls)


class GatedCost(ModuleCost):
    """A network whose layers take the map of the stem as well, traced whole; rows are those of its
    parts.
    """

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        rows = []
        assert isinstance(self.module, Network)
        for part in self.module.architecture.parts():
            inside = f"parts.{part.path.replace('.', '_')}"
            found = [row for row in self.modules if f"{row.path}.".startswith(f"{inside}.")]
            rows.append(
                LayerCost(
                    path=part.path,
                    op=part_label(part),
                    shape=str(part.output),
                    **totals(found),
                    params=sum(row.params for row in found),
                    activation_bytes=sum(row.activation_bytes for row in found),
                    inference_bytes=max(row.inference_bytes for row in found),
                )
            )
        return tuple(rows)


def _peaks_by_path(result: Trace) -> dict[str, int]:
    """The most bytes that live while each module runs."""
    live = list(accumulate((n for _, n in result.log), initial=0))
    peaks: dict[str, int] = {}
    marks = result.marks or [(0, "")]  # what TorchScript runs has no paths
    ends = [position for position, _ in marks[1:]] + [len(result.log)]
    for (begin, path), end in zip(marks, ends, strict=True):
        peaks[path] = max(peaks.get(path, 0), *live[begin : end + 1])
    return peaks

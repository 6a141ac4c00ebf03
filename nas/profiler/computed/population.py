"""Costs of many candidates of a search space at once.

A candidate is a row of whole numbers, one for each hole of the space: the position of its value, or
-1 where the hole is not active. Its parts stand in slots: the stem, the downsampling and the layers
of each stage, the head. What stands in a slot depends on few of the holes, so every slot has a
table from their values to a part, which grows as rows come up; a population is looked up slot by
slot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.profiler.computed.cost import Kind, kind_of, record, step_record
from nas.space import Hole, Label, SearchSpace

Codes = NDArray[np.int16]
Figures = NDArray[np.int64]

_STAGE = re.compile(r"(?:^|\.)stages\.(\d+)(?:\.(.+))?$")
_LAYER = re.compile(r"layers\.(\d+)\.")
_HEAD = re.compile(r"(?:^|\.)head(?:\.|$)")
SUMS = ("macs", "params", "elementwise", "bytes_moved", "parameter_bytes")
_RECORD = (*SUMS, "input_bytes", "inference_peak")
_STEP = (
    "input_bytes",
    "output_bytes",
    "keeps_input",
    "keeps_output",
    "saved_bytes",
    "held_bytes",
    "forward_peak",
    "backward_peak",
    "backward_peak_beside",
    "gradient_bytes",
)


@dataclass
class _Slot:
    """A place where a part may stand, with all parts that were met there.

    Attributes:
        columns: Holes that decide what stands there.
        keys, rows: Hashes of their values, ascending, and the row of `kinds` of each.
        kinds: Parts; None where the candidate has no part there.
        records, steps: Their figures in the order of `_RECORD` and `_STEP`; the first row is that
            of no part.
    """

    columns: NDArray[np.intp]
    keys: NDArray[np.uint64]
    rows: NDArray[np.intp]
    kinds: list[Kind | None]
    records: Figures
    steps: Figures


class Population:
    """Prices rows of codes of one space; every figure equals that of `nas.cost` of the candidate."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._column = {hole.name: column for column, hole in enumerate(space.holes)}
        self._position = [{label: i for i, label in enumerate(hole.values)} for hole in space.holes]
        # A sum of values times random odd numbers: two keys of a table agree by chance once in
        # 10^19.
        self._weights = np.random.default_rng(0).integers(0, 2**64, len(space.holes), np.uint64) | np.uint64(1)
        self._slots = {path: self._slot(path) for path in self._paths()}

    def codes(self, candidates: Sequence[Mapping[str, Label]]) -> Codes:
        """Params of candidates as (holes, candidates)."""
        codes = np.full((len(self.space.holes), len(candidates)), -1, np.int16)
        for row, params in enumerate(candidates):
            for name, label in params.items():
                column = self._column[name]
                codes[column, row] = self._position[column][label]
        return codes

    def params(self, code: Codes) -> dict[str, Label]:
        """The params of one candidate from its codes."""
        return {h.name: h.values[value] for h, value in zip(self.space.holes, code, strict=True) if value >= 0}

    def cost(self, codes: Codes, training: bool = False) -> dict[str, Figures]:
        """Prices candidates.

        Args:
            codes: (holes, candidates).
            training: What concerns training as well; parts that are new then take several times as
                long.

        Returns:
            macs, params, elementwise, bytes_moved, parameter_bytes and inference_bytes, and with
            `training` activation_bytes and step_bytes, each (candidates).

        Raises:
            ArchitectureError: A candidate cannot be built.
        """
        found = self._lookup(codes)
        records = [slot.records[rows] for slot, rows in found]
        sums = np.sum([figures[:, : len(SUMS)] for figures in records], axis=0)
        clip = records[0][:, _RECORD.index("input_bytes")]
        peak = records[0][:, _RECORD.index("inference_peak")].copy()
        for figures in records[1:]:
            np.maximum(peak, clip + figures[:, _RECORD.index("inference_peak")], out=peak)
        priced = {name: sums[:, i] for i, name in enumerate(SUMS)} | {"inference_bytes": peak}
        return priced | _training(self._steps(found)) if training else priced

    def _steps(self, found: Sequence[tuple[_Slot, NDArray[np.intp]]]) -> list[Figures]:
        for slot, _ in found:
            fresh = [kind for kind in slot.kinds[len(slot.steps) :]]
            slot.steps = np.vstack([slot.steps, *(_row(step_record(kind), _STEP) for kind in fresh if kind)])
        return [slot.steps[rows] for slot, rows in found]

    def _paths(self) -> list[str]:
        """Every place where a candidate may have a part, in the order of a network."""
        depths: dict[int, int] = {}

        def longest(root: int) -> Callable[[Hole], Label]:
            def choose(hole: Hole) -> Label:
                if hole.name.endswith("repeat"):
                    return max(hole.values, key=lambda label: label if isinstance(label, int) else 0)
                return hole.values[min(root, len(hole.values) - 1)]

            return choose

        options = max(len(hole.values) for hole in self.space.holes)
        for root in range(options):
            for stage, count in enumerate(self.space.depths(longest(root))):
                depths[stage] = max(depths.get(stage, 0), count)
        paths = ["stem"]
        for stage, count in sorted(depths.items()):
            paths += [f"stages.{stage}.downsample", *(f"stages.{stage}.layers.{i}" for i in range(count))]
        return [*paths, "head"]

    def _slot(self, path: str) -> _Slot:
        columns = [column for name, column in self._column.items() if self._decides(name, path)]
        empty = np.zeros((1, len(_RECORD)), np.int64), np.zeros((1, len(_STEP)), np.int64)
        return _Slot(np.array(columns, np.intp), np.empty(0, np.uint64), np.empty(0, np.intp), [None], *empty)

    def _decides(self, hole: str, path: str) -> bool:
        """Whether a hole can decide what stands at a path; where its name does not tell, it is
        taken to.
        """
        if _HEAD.search(hole):
            return path == "head"
        found = _STAGE.search(hole)
        if not found or not found[2] or hole[: found.start(1) - 1] in self._column:  # there, labels stand for stages
            return True
        if path == "stem":
            return found[1] == "0" and not found[2].startswith("layers")  # the first width is the stem's
        stage, inside = int(found[1]), found[2]
        at = len(self._column) if path == "head" else int(path.split(".")[1])
        if not inside.startswith("layers."):
            return stage <= at  # width and downsampling: the shapes of all that follows
        if stage != at:
            return False
        own = _LAYER.match(inside)
        aligned = f"{hole[: found.start(2)]}layers.repeat" in self._column  # each layer's holes bear its number
        return not (own and aligned) or path.endswith(f".layers.{own[1]}")

    def _lookup(self, codes: Codes) -> list[tuple[_Slot, NDArray[np.intp]]]:
        """For every slot the row of each candidate's part."""
        return [(slot, self._rows(path, slot, codes)) for path, slot in self._slots.items()]

    def _rows(self, path: str, slot: _Slot, codes: Codes) -> NDArray[np.intp]:
        keys = np.zeros(codes.shape[1], np.uint64)
        for column in slot.columns:
            keys += codes[column].astype(np.uint64) * self._weights[column]
        at = np.searchsorted(slot.keys, keys)
        known = at < len(slot.keys)
        known[known] = slot.keys[at[known]] == keys[known]
        if not known.all():
            fresh, first = np.unique(keys[~known], return_index=True)
            for key, candidate in zip(fresh, np.flatnonzero(~known)[first], strict=True):
                self._learn(path, slot, key, self.params(codes[:, candidate]))
            at = np.searchsorted(slot.keys, keys)
        return slot.rows[at]

    def _learn(self, path: str, slot: _Slot, key: np.uint64, params: Mapping[str, Label]) -> None:
        """Puts the part that a candidate has at a place into the place's table."""
        part = next((part for part in self.space.decode(params).parts() if part.path == path), None)
        kind = None if part is None else kind_of(part)
        if kind not in slot.kinds:
            assert kind is not None
            slot.records = np.vstack([slot.records, _row(record(kind), _RECORD)])
            slot.kinds.append(kind)
        at = int(np.searchsorted(slot.keys, key))
        slot.keys = np.insert(slot.keys, at, key)
        slot.rows = np.insert(slot.rows, at, slot.kinds.index(kind))


def _row(figures: object, names: Sequence[str]) -> Figures:
    return np.array([getattr(figures, name) for name in names], np.int64)


def _training(steps: Sequence[Figures]) -> dict[str, Figures]:
    """`PartsCost.activation_bytes` and `.step_bytes` for many candidates; a row of zeros is no
    part.
    """
    fields = [dict(zip(_STEP, figures.T, strict=True)) for figures in steps]
    stem = fields[0]
    # What the next part is, seen from each one: the first that follows and is one.
    wanted: list[Figures] = [np.zeros_like(stem["input_bytes"])]
    for part in reversed(fields[1:]):
        wanted.append(np.where(part["input_bytes"] > 0, part["keeps_input"], wanted[-1]))
    kept = [part["keeps_output"] | following for part, following in zip(fields, reversed(wanted), strict=True)]
    saved = stem["keeps_input"] * stem["input_bytes"]
    later = sum(part["gradient_bytes"] for part in fields)
    logits = np.where(kept[-1] > 0, 0, fields[-1]["output_bytes"])
    earlier = stem["input_bytes"].copy()
    peak = np.zeros_like(earlier)
    before, before_keeps = np.zeros_like(earlier), np.ones_like(earlier)  # the clip is kept by whoever made it
    for k, (part, keeps) in enumerate(zip(fields, kept, strict=True)):
        there = part["input_bytes"] > 0
        later = later - part["gradient_bytes"]
        own = part["input_bytes"] if k == 0 else 0
        beside = part["backward_peak_beside"] + part["input_bytes"] - own
        backward = np.where(before_keeps > 0, beside, part["backward_peak"])
        step = np.maximum(earlier + part["forward_peak"] - own, earlier + later + backward + logits)
        peak = np.where(there, np.maximum(peak, step), peak)
        earlier = earlier + part["held_bytes"] + np.where(there, before, 0)
        saved = saved + part["saved_bytes"] + keeps * part["output_bytes"]
        before = np.where(there, keeps * part["output_bytes"], before)
        before_keeps = np.where(there, part["keeps_output"], before_keeps)
    return {"activation_bytes": saved, "step_bytes": peak}

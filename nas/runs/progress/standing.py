"""How a search stands while it runs: what its terminal shows and its events carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.limits.objectives import Objectives
from nas.limits.volume import VolumeScale
from nas.pareto.front import non_dominated
from nas.trials.proposer import Proposer

BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", "_.:-=+*#"  # of a line of bars, the second where a terminal has letters only


@dataclass(frozen=True)
class Standing:
    """What a search has found so far, and what became of its proposals.

    Attributes:
        front: Numbers of the candidates on the front of accuracy and the costs that are known
            before measuring, by the first cost; without those at chance, unless all are.
        best: Of each objective, the candidate of the front that is best in it; empty without one.
        volumes: Hypervolume after even shares of the trainings, the last after all; a share of
            what a perfect network at the least cost so far would have.
        running: Candidates that were proposed and have no result yet.
        done: Candidates that have a result, failures included.
        failed: Of these.
        proposed: Proposals in all.
        rejected: Of these, over the budget or impossible to build.
        unreached: Inside the budget and out of reach.
        duplicates: Proposed again.
    """

    front: tuple[int, ...]
    best: tuple[int, ...]
    volumes: tuple[float, ...]
    running: int
    done: int
    failed: int
    proposed: int
    rejected: int
    unreached: int
    duplicates: int

    @classmethod
    def of(cls, proposer: Proposer, chance: float, moments: int = 1) -> Self:
        """How a search stands.

        Args:
            proposer: Of the search.
            chance: Accuracy of guessing.
            moments: For how many of its moments the hypervolume is wanted, the last one included.
        """
        results, objectives = proposer.results, proposer.gate.objectives
        trained = [i for i, result in results.items() if result.accuracy is not None]
        rows = [(results[i].accuracy, *proposer.candidates[i].costs) for i in trained]
        points = np.array(rows, float).reshape(-1, len(objectives.names))
        front = _front(points, chance, objectives)
        scale = VolumeScale.of(points[:, 1:], chance, objectives)
        ends = sorted({math.ceil(len(points) * (k + 1) / moments) for k in range(moments)})
        losses = points * np.where(objectives.maximise, -1.0, 1.0)
        on = [int(front[losses[front, column].argmin()]) for column in range(len(objectives.names)) if len(front)]
        return cls(
            front=tuple(trained[place] for place in front),
            best=tuple(trained[place] for place in on),
            volumes=tuple(scale.share(points[:end]) for end in ends if len(points)),
            running=len(proposer.candidates) - len(results),
            done=len(results),
            failed=len(results) - len(trained),
            proposed=proposer.proposed,
            rejected=proposer.rejected,
            unreached=proposer.unreached,
            duplicates=proposer.duplicates,
        )

    @property
    def fates(self) -> str:
        """What became of the proposals, in a line."""
        said = f"{self.running} running, {self.done} done, {self.failed} failed; {self.proposed:,} proposed, of which"
        return f"{said} {self.rejected:,} rejected, {self.unreached:,} out of reach, {self.duplicates:,} repeated"


def _front(points: np.ndarray, chance: float, objectives: Objectives) -> np.ndarray:
    """The places of what is on the front, by the first cost."""
    if not len(points):
        return np.zeros(0, int)
    learnt = np.flatnonzero(points[:, 0] > chance)
    places = learnt if len(learnt) else np.arange(len(points))
    front = places[non_dominated(points[places], objectives.maximise)]
    return front[np.argsort(points[front, 1], kind="stable")]


def sparkline(values: Sequence[float], ramp: str = BLOCKS) -> str:
    """Numbers from 0 on as bars in one line, the largest as the highest bar.

    Args:
        values: None below 0.
        ramp: Bars from the lowest to the highest.
    """
    most = max(values, default=0.0) or 1.0
    return "".join(ramp[min(len(ramp) - 1, int(len(ramp) * value / most))] for value in values)

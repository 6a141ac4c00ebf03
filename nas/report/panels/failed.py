"""The trainings that came to nothing, and why."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Facts, Text
from nas.report.panel import Panel
from nas.report.text import listed
from nas.runs.folder.run import Run

# By the kind of a failure; see `nas.trials.results.Failure`.
_KINDS = {
    "memory": "out of memory",
    "diverged": "diverged",
    "error": "an exception",
    "timeout": "longer than the trial timeout",
    "lost": "process lost twice",
}
_UNKNOWN = "failed"  # by a version that did not tell kinds apart
FEW = 10  # that are shown unfolded


class Failed(Panel):
    """The trainings that failed, each with its kind and what was said."""

    title = "Trainings that failed"
    place = 72

    def applies(self, run: Run) -> bool:
        return bool((run.trials["state"] == "failed").any())

    def blocks(self, run: Run) -> Sequence[Block]:
        failed = run.trials[run.trials["state"] == "failed"]
        kinds = failed["failure"].map(lambda kind: _KINDS.get(kind, _UNKNOWN))
        counts = listed([f"{count} {kind}" for kind, count in kinds.value_counts().items()])
        rows = [
            (f"{trial}: {kind}", error)
            for trial, kind, error in zip(failed["trial"], kinds, failed["error"], strict=True)
        ]
        said = f"They count as trainings, and the sampler learns from them where they lie: {counts}."
        return [
            Text(said),
            Facts(rows, ("Trial", "What was said"), f"{len(rows)} trainings" if len(rows) > FEW else ""),
        ]

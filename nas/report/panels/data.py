"""The clips that accuracies are of."""

from __future__ import annotations

from collections.abc import Sequence

from nas.data.strips import read_strips
from nas.report.blocks import Block, Facts, Gallery, Text
from nas.report.panel import Panel
from nas.report.text import percent
from nas.report.trials import clips_used, data_text
from nas.runs.folder.run import Run


class Data(Panel):
    """Classes, the clips that a training used with frames of some, and what makes accuracies
    doubtful.
    """

    title = "Data"
    place = 65

    def applies(self, run: Run) -> bool:
        return bool(run.record.classes or run.record.clips)

    def blocks(self, run: Run) -> Sequence[Block]:
        record = run.record
        said = data_text(record) if record.data_description else f"{len(record.classes)} classes"
        said += "."
        if used := clips_used(record):
            said += f" Each training used {used} clips."
        if record.chance is not None:
            said += f" Guessing is right in {percent(record.chance)} %."
        doubts = record.doubts or ("No doubts about it were noted.",)
        rows = [(str(number), name) for number, name in enumerate(record.classes)]
        names = Facts(rows, ("Class", "Name"), f"The {len(rows)} classes")
        found: list[Block] = [Text(said), *(Text(doubt) for doubt in doubts), *([names] if record.classes else [])]
        if strips := read_strips(run.path, len(record.classes)):
            first = f" The first {len(strips)} classes are shown." if len(strips) < len(record.classes) else ""
            found.append(Text(f"Frames of a training clip of each class, as trainings read it.{first}", "note"))
            found.append(Gallery([(f"{label} {record.classes[label]}", data) for label, data in strips.items()]))
        return found

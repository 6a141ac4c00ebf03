"""How accuracy and cost were found, and what the figures do not say."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Text
from nas.report.panel import Panel
from nas.report.trials import clip_text, trained
from nas.runs.folder.run import Run
from nas.units import plural


class Method(Panel):
    """How the figures of the report were found."""

    title = "How it was measured"
    place = 80

    def applies(self, run: Run) -> bool:
        return len(trained(run)) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        return [Text(text) for text in _sentences(run)]


def _sentences(run: Run) -> list[str]:
    record = run.record
    clips = {split: f"{count:,} clips" for split, count in record.clips.items() if count}
    said = []
    if record.proxy:
        said.append(
            f"Each network was trained as a proxy of itself: {clip_text(record.proxy)}, up to "
            f"{plural(record.proxy.epochs, 'epoch')}"
            + (f", on {clips['train']}" if "train" in clips else "")
            + "; accuracy is of the last epoch trained, so a trial stopped early may show less than it could reach."
        )
    if record.target:
        said.append(f"Costs, latency and memory are those of the target input: {clip_text(record.target)}.")
    of = {split: f" ({clips[split]})" if split in clips else "" for split in ("val", "test")}
    selected = (
        f"Validation accuracy{of['val']} is what the search selected on, so the best of many is flattered by luck."
    )
    if run.trials["test_accuracy"].notna().any():
        selected += f" Test accuracy{of['test']} took no part in any selection."
    else:
        selected += " No network was evaluated on clips that took no part in the selection."
    said.append(selected)
    several = bool((run.front["seeds"] > 1).any())
    error = "\N{PLUS-MINUS SIGN} is one standard error"
    if several:
        said.append(
            "The front was selected on one training each and then trained again with further seeds, with networks that "
            "one training each could not tell from it; accuracy is the mean over all of them, the first included, "
            "which the selection still flatters a little. What the means dominate left the front, and picks are chosen "
            "by means."
        )
        said.append(
            f"{error}: over the seeds of a network, the luck of training, itself estimated from few; or that of a "
            "share of so many clips, the luck of which clips there are; whichever is larger."
        )
    elif "val" in clips:
        said.append(f"{error} of a share of so many clips; it leaves out the luck of training.")
    return said

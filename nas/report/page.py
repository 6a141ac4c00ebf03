"""Writes the report of a run: `report.html` (one file), `report.md` and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nas.errors import NasError
from nas.report import plots, tables
from nas.report.template import render
from nas.runs.control import comparison
from nas.runs.folder import Run
from nas.runs.record import ClipShape
from nas.units import plural

CONTROL_PICTURE = "![Hypervolume of the search and of random search](control.png)"


def write(run: Run, out: Path | None = None) -> list[Path]:
    """Writes `report.html`, `report.md`, `pareto_macs.png`, `pareto_latency.png` and
    `pareto_memory.png`.

    A run with a control has `control.png` too. An interrupted run gives a report too, which says
    what is missing.

    Args:
        run: The run.
        out: The folder to write into, made if needed; by default the run's own.

    Returns:
        The files, the page first.

    Raises:
        NasError: `out` is a file.
    """
    folder = out if out is not None else run.path
    if folder.exists() and not folder.is_dir():
        raise NasError(f"output {str(folder)!r} is a file; allowed: a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(f"output {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder") from None
    pareto = plots.pareto_plots(run)
    pictures = [folder / f"{plot.name}.png" for plot in pareto]
    for plot, path in zip(pareto, pictures, strict=True):
        plots.save_png(plot, path)
    if len(run.control):
        pictures.append(folder / "control.png")
        plots.save_control_png(run, pictures[-1])
    texts = _texts(run)
    page, markdown = folder / "report.html", folder / "report.md"
    page.write_text(_html(run, pareto, texts), encoding="utf-8")
    markdown.write_text(_markdown(run, pareto, texts), encoding="utf-8")
    return [page, markdown, *pictures]


def _texts(run: Run) -> dict[str, Any]:
    """The sentences that the page and the Markdown share."""
    record = run.record
    return {
        "title": f"{record.space or 'a search space'} on {record.data or 'unknown data'}",
        "searched": _searched(run),
        "best": _best(run),
        "missing": _missing(run),
        "picks": _picks(run),
        "picks_note": _picks_note(run),
        "how": _how(run),
        "front_note": _front_note(run),
        "disturbed": tables.disturbances(run),
        "control": comparison(run.control) if len(run.control) else "",
    }


def _searched(run: Run) -> str:
    record, count = run.record, len(tables.trained(run))
    budget = f"under a budget of {record.budget}" if record.budget else "without a budget"
    text = f"Searched the space {record.space or 'unknown'} {budget} on {record.data or 'unknown data'}"
    if record.data_description:
        text += f" ({record.data_description.rstrip('.')})"
    device = record.device or "an unnamed device"
    taken = f" in {tables.duration(record.wall_s)}" if record.wall_s else ""
    busy = ""
    if record.slot_s:
        busy = f" While it searched, workers spent {record.step_s / record.slot_s:.0%} of the time in training steps."
    return f"{text}. {plural(count, 'network')} trained{taken} on {device}.{busy}"


def _best(run: Run) -> str:
    """The one sentence that a reader came for."""
    every = run.front if len(run.front) else tables.known(run)
    if every.empty:
        return "No network was trained, so there is no result."
    row = every.sort_values(["accuracy", "macs"], ascending=[False, True]).iloc[0]
    if math.isnan(row["test_accuracy"]):
        test = "not evaluated on test"
    else:
        test = f"{tables.accuracy_text(run, row, 'test')} on test"
    chance = run.record.chance
    guess = f"; chance is {tables.percent(chance)} %" if chance is not None else ""
    return (
        f"Best found: trial {row['trial']} at {tables.number(row['macs'] / 1e9)} GFLOPs with "
        f"{tables.accuracy_text(run, row, 'val')} on validation, {test}{guess}."
    )


def _missing(run: Run) -> list[str]:
    """What a reader has to know before trusting the front."""
    if run.front.empty:
        reason = "the run ended before its front was measured" if len(run.trials) else "nothing was trained"
        return [f"There is no front: {reason}. The run may be continued by nas search --resume."]
    absent = []
    front_of = run.record.front_of
    later = 0 if front_of is None else len(run.trials) - front_of
    if later > 0:
        is_not = "training is not" if later == 1 else "trainings are not"
        absent.append(
            f"{later} further {is_not} part of it yet: the front is as it was before they began. "
            "nas search --resume goes on."
        )
    stopped = int((run.front["state"] == "stopped").sum())
    if stopped:
        was = "trial of the front was" if stopped == 1 else "trials of the front were"
        absent.append(f"{stopped} {was} stopped early, with an accuracy of fewer epochs than the others.")
    asked = 1 + (run.record.settings.confirm_seeds if run.record.settings else 0)
    fewer = int((run.front["seeds"] < asked).sum())
    if fewer:
        was = "network of the front was" if fewer == 1 else "networks of the front were"
        absent.append(
            f"{fewer} {was} trained with fewer than the {asked} seeds asked for: the fewer, the more the selection "
            "flatters an accuracy."
        )
    for column, meaning in (
        ("latency_ms", "latency"),
        ("peak_memory_bytes", "peak memory"),
        ("test_accuracy", "test accuracy"),
    ):
        count = int(run.front[column].isna().sum())
        if count == len(run.front):
            absent.append(f"No trial of the front has a measured {meaning}.")
        elif count:
            absent.append(f"{count} of {len(run.front)} trials of the front have no measured {meaning}.")
    return absent


def _picks(run: Run) -> list[dict[str, Any]]:
    """One card per trial that a pick means: its names, the facts in short and the command to export
    it.
    """
    cards = []
    texts = tables.front_table(run).set_index("Trial")
    for trial, names in tables.picks(run).items():
        row = run.front[run.front["trial"] == trial].iloc[0]
        text = texts.loc[str(trial)]
        facts = [
            ("validation", f"{text['Accuracy, validation (%)']} %"),
            ("test", f"{text['Accuracy, test (%)']} %"),
            ("multiply-adds", f"{tables.number(row['macs'] / 1e9)} GFLOPs"),
            ("parameters", f"{tables.number(row['params'] / 1e6)} M"),
            ("latency", f"{text['Latency, median (ms)']} ms"),
            ("peak memory", f"{tables.number(row['peak_memory_bytes'] / 1e6)} MB"),
        ]
        cards.append(
            {
                "names": " + ".join(names),
                "trial": trial,
                "facts": [(name, value) for name, value in facts if not value.startswith(tables.MISSING)],
                "operators": tables.operators_text(row["operators"]),
                "command": tables.export_command(run, trial),
            }
        )
    return cards


def _picks_note(run: Run) -> str:
    measured = bool(run.front["peak_memory_bytes"].notna().any())
    memory = "the lowest measured peak memory" if measured else "the least activation memory"
    return (
        "Of the front: knee is the best balance of accuracy and the logarithm of multiply-adds, accuracy the best on "
        f"validation, latency the lowest measured median, memory {memory}."
    )


def _how(run: Run) -> list[str]:
    proxy, target, clips = run.record.proxy, run.record.target, run.record.clips
    said = []
    if proxy:
        said.append(
            f"Each network was trained as a proxy of itself: {_clip_shape(proxy)}"
            + f", up to {plural(proxy.epochs, 'epoch')}"
            + (f", on {clips['train']:,} clips" if "train" in clips else "")
            + "; accuracy is of the last epoch trained, so a trial stopped early shows less than it could reach."
        )
    if target:
        said.append(f"Costs, latency and memory are those of the target input: {_clip_shape(target)}.")
    of_val, of_test = (f" ({clips[split]:,} clips)" if split in clips else "" for split in ("val", "test"))
    said.append(
        f"Validation accuracy{of_val} is what the search selected on, so the best of many is flattered by luck. "
        f"Test accuracy{of_test} took no part in any selection."
    )
    several = bool((run.front["seeds"] > 1).any())
    if several:
        said.append(
            "The front was selected on one training each and then trained again with further seeds; accuracy is the "
            "mean over all of them, the first included, which the selection still flatters a little. What the means "
            "dominate left the front, and picks are chosen by means."
        )
    sign, of_clips = "\N{PLUS-MINUS SIGN} is one standard error", "of a share of so many clips; it leaves out"
    if several:
        said.append(
            f"{sign} over seeds where a network was trained with several: the luck of training, itself estimated from "
            "few and without the luck of which clips there are. Elsewhere, where it is shown, it is that of a share of "
            "so many clips."
        )
    elif "val" in clips:
        said.append(f"{sign} {of_clips} the luck of training.")
    return said


def _clip_shape(shape: ClipShape) -> str:
    return f"{shape.frames} frames of {tables.size(list(shape.size))} pixels"


def _front_note(run: Run) -> str:
    names = {"macs": "multiply-adds", "activation_bytes": "activation memory", "params": "parameters"}
    goals = [names.get(goal, goal.replace("_", " ")) for goal in run.record.objectives]
    over = f" in {_listed(goals)}" if goals else ""
    return f"No other trial is at least as good as one of these{over} and better in one."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _html(run: Run, pareto: list[plots.ParetoPlot], texts: dict[str, Any]) -> str:
    figures = {plot.name: plots.pareto_figure(plot) for plot in pareto if not plot.empty}
    if len(tables.trained(run)):
        figures |= {"progress": plots.progress_figure(run), "operators": plots.operators_figure(run)}
    if len(run.control):
        figures |= {"control_trainings": plots.control_figure(run, "trainings")}
        figures |= {"control_seconds": plots.control_figure(run, "seconds")}
    return render(
        "report.html.j2",
        **texts,
        nothing=plots.NOTHING,
        gflops_note=tables.GFLOPS_NOTE,
        pareto=pareto,
        figures=figures,
        front=tables.front_table(run),
        counts=tables.counts_rows(run),
        settings=tables.settings_rows(run),
    )


def _markdown(run: Run, pareto: list[plots.ParetoPlot], texts: dict[str, Any]) -> str:
    front = tables.front_table(run)
    shares = tables.operator_shares(run).map(tables.percent)[::-1]
    shares.insert(0, "Operator", shares.index)
    parts = [
        f"# {_escaped(texts['title'])}",
        f"**{_escaped(texts['best'])}**",
        _escaped(texts["searched"]),
        *(f"> {_escaped(text)}" for text in texts["missing"]),
        "## Picks" if texts["picks"] else "",
        "\n".join(f"- {card['names']}: trial {card['trial']}, `{card['command']}`" for card in texts["picks"]),
        texts["picks_note"] if texts["picks"] else "",
        "## Accuracy against cost",
        tables.GFLOPS_NOTE,
        *("\n\n".join([f"![{plot.title}]({plot.name}.png)", " ".join(plot.notes)]).strip() for plot in pareto),
        "## Front" if len(front) else "",
        _front_text(front, texts),
        "\n".join(f"- {_escaped(text)}" for text in texts["disturbed"]),
        *(["## Against random search", texts["control"], CONTROL_PICTURE] if texts["control"] else []),
        "## Operators",
        _markdown_table(shares.rename(columns={"front": "Front (% of layers)", "all": "All trained (% of layers)"})),
        "## How it was measured",
        *texts["how"],
        "## Candidates" if tables.counts_rows(run) else "",
        "\n".join(f"- {count} {meaning}" for count, meaning in tables.counts_rows(run)),
        "## Settings",
        _markdown_table(pd.DataFrame(tables.settings_rows(run), columns=["Setting", "Value"])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_text(front: pd.DataFrame, texts: dict[str, Any]) -> str:
    if front.empty:
        return ""
    commands = front.assign(Export=[f"`{command}`" for command in front["Export"]])
    return f"{texts['front_note']}\n\n{_markdown_table(commands)}"


def _markdown_table(table: pd.DataFrame) -> str:
    rows = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(_escaped(str(cell)) for cell in row) + " |" for row in rows)


def _escaped(text: str) -> str:
    """Text of the run cannot open a tag or end a table's cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")

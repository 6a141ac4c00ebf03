"""The answer, and what a reader has to know before trusting it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from nas.limits.metrics import DEFAULT_PICK, METRICS
from nas.report.blocks import Block, Text
from nas.report.differences import (
    Difference,
    best_baseline,
    best_of_control,
    held_against,
    next_best,
    paired,
    split_of,
)
from nas.report.front import how_to_go_on
from nas.report.panel import Panel
from nas.report.text import listed, percent
from nas.report.trials import (
    USES,
    Row,
    accuracy_text,
    clip_text,
    clips_used,
    data_text,
    judged_as_measured,
    known,
    trained,
)
from nas.runs.folder.record import workers_busy
from nas.runs.folder.run import Run
from nas.runs.selection.picks import by_accuracy, choose
from nas.runs.selection.ranking import clearly_above, uncertainty
from nas.units import duration, plural

_MEASURED = ("latency_ms", "peak_memory_bytes")


class Headline(Panel):
    """The best network in a sentence, what was searched, and what is missing."""

    title = ""
    place = 0

    def blocks(self, run: Run) -> Sequence[Block]:
        doubtful = [f"Accuracies are doubtful: {doubt}." for doubt in run.record.doubts]
        warnings = [Text(text, "warning") for text in [*doubtful, *missing(run)]]
        lead, *rest = answer(run)
        return [Text(lead, "lead"), *(Text(text) for text in rest), *warnings, Text(searched(run), "note")]


def best(run: Run) -> str:
    """What `answer` says, in one text."""
    return " ".join(answer(run))


def answer(run: Run) -> list[str]:
    """The sentences that a reader came for: which network, how good as what, how costly where, how
    sure that is and what it beats.
    """
    record = run.record
    if _none_is_known_to_keep(run):
        return [_none_keeps(run)]
    every = known(run)
    every = run.front if len(run.front) else every[~every["trial"].isin(run.over["trial"])]
    if every.empty:
        return ["No network was trained, so there is no result."]
    row = run.row(choose(every, DEFAULT_PICK, run.objectives))
    clear = clearly_above(pd.DataFrame([row]), record.chance, record.clips.get("val"))[0]
    luck = "" if clear or record.chance is None else " This is not clearly better than guessing."
    said = [f"{_name(run)}: trial {row['trial']}.", _accuracy(run, row), f"{_cost(run, row)}{luck}"]
    return [text for text in [*said, _beats(run, row) if clear else ""] if text]


def _beats(run: Run, row: Row) -> str:
    """What the pick is better than, by how much, and how sure that is; empty where nothing is."""
    over = []
    if run.record.chance is not None:
        above = float(row["accuracy"]) - run.record.chance
        over.append(("guessing", Difference(above, _error(run, row))))
    if (other := next_best(run)) is not None and len(run.front):
        over.append((f"trial {other['trial']}, the next on the front", paired(run, row, other)))
    if (random := best_of_control(run)) is not None:
        over.append((f"the best of {plural(random['trainings'], 'random training')}", paired(run, row, random)))
    said = [each.text(name) for name, each in over]
    published = _published(run, row)
    known = any(each.interval for _, each in over) or "(" in published
    brackets = " In brackets an interval of about 95 %." if known else ""
    sentences = [f"On validation, it is {listed(said)}." if said else "", published]
    return " ".join(sentence for sentence in sentences if sentence) + brackets if any(sentences) else ""


def _published(run: Run, row: Row) -> str:
    """What the best of the published networks is behind by; empty where none was trained."""
    if (baseline := best_baseline(run)) is None or not len(run.front):
        return ""
    where = {"test": "test", "val": "validation"}[split_of(run)]
    others = f", the best of {len(run.baselines)} published networks" if len(run.baselines) > 1 else ", published and"
    name = f"{baseline.name}{others} cut to the multiply-adds of the pick and trained as it was"
    return f"On {where}, it is {held_against(run, row, baseline).text(name)}."


def _error(run: Run, row: Row) -> float:
    """The standard error of a network's accuracy; nan where it is unknown."""
    error = float(uncertainty(pd.DataFrame([row]), run.record.clips.get("val"))[0])
    return error if error or run.record.clips.get("val") else math.nan


def _none_is_known_to_keep(run: Run) -> bool:
    """Whether there are networks over a limit, and none of which it is known that it keeps them."""
    if len(run.front) or run.over.empty:
        return False
    return judged_as_measured(run) or len(run.over) == len(trained(run))


def _name(run: Run) -> str:
    """What the network of the headline is."""
    limits = run.budget and run.record.budget  # limits that are not known here are not judged
    if run.front.empty and judged_as_measured(run):
        return f"No network is known to keep {limits} as measured; the most accurate so far"
    if run.front.empty:
        return "The most accurate network so far"
    if len(trained(run)) == 1:
        return "The only network trained"
    seeds = run.row(choose(run.front, DEFAULT_PICK, run.objectives))["seeds"] if len(run.front) else 1
    mean = f", by the mean of {seeds:.0f} trainings" if seeds > 1 else ""
    return "The most accurate network found" + (f" that keeps {limits}" if limits else "") + mean


def _accuracy(run: Run, row: Row) -> str:
    """The accuracy in a sentence that says what it is of."""
    record = run.record
    if record.proxy:
        how = [clip_text(record.proxy)]
        how += [] if math.isnan(row["epochs"]) else [plural(round(row["epochs"]), "epoch")]
        how += [plural(clips, "training clip")] if (clips := record.clips.get("train")) else []
        said = f"Trained as a proxy of itself ({', '.join(how)}), it reached"
    else:
        said = "It reached"
    of = {split: f" of {clips:,} {words} clips" for split, words in USES.items() if (clips := record.clips.get(split))}
    said += f" {accuracy_text(run, row, 'val')}{of.get('val', ' on validation')}"
    if math.isnan(row["test_accuracy"]):
        said += ", and was not evaluated on test"
    else:
        said += f" and {accuracy_text(run, row, 'test')}{of.get('test', ' on test')}"
    said += "." if record.chance is None else f"; chance is {percent(record.chance)} %."
    return said + _luckier(run, row)


def _luckier(run: Run, row: Row) -> str:
    """That networks which were trained once had more than the mean of a pick, and why that decides
    nothing; empty where there are none.
    """
    if row["seeds"] <= 1 or run.front.empty:
        return ""
    every = known(run)
    every = every[~every["trial"].isin(run.over["trial"])]
    once = every[(every["seeds"] == 1) & (every["accuracy"] > row["accuracy"])]
    if once.empty:
        return ""
    most = by_accuracy(once, run.objectives).to_dict("records")[0]
    others = f" and {plural(len(once) - 1, 'other')}" if len(once) > 1 else ""
    return (
        f" Of those trained once, trial {most['trial']} with {percent(most['accuracy'])} %{others} had more; the best "
        "of many single trainings is lucky, so they are not compared with means."
    )


def _cost(run: Run, row: Row) -> str:
    """The cost in a sentence that says what it is of, as measured where it was."""
    record = run.record
    figures = [METRICS["macs"].figure(row["macs"])]
    measured = [METRICS[name] for name in _MEASURED if not math.isnan(row.get(name, math.nan))]
    others = [metric for metric in run.objectives.costs if metric.name not in ("macs", *_MEASURED)]
    figures += [f"{metric.title} {metric.figure(row[metric.name])}" for metric in others if metric.name in row]
    figures += [f"{metric.title} {metric.figure(row[metric.name])}" for metric in measured]
    said = f"{'The network itself' if record.proxy else 'It'} costs {listed(figures)}"
    said += f" at {clip_text(record.target)}" if record.target else ""
    said += f", latency and memory as measured on {record.device or 'an unnamed device'}" if len(measured) == 2 else ""
    same = (
        record.proxy
        and record.target
        and (record.proxy.frames, record.proxy.size)
        == (
            record.target.frames,
            record.target.size,
        )
    )
    other = record.proxy and record.target and not same
    return said + ("; its accuracy there was not measured." if other else ".")


def _none_keeps(run: Run) -> str:
    """The lead of a run all of whose measured networks break a limit."""
    nearest = run.over.loc[run.over["trial"] == run.nearest()].to_dict("records")[0]
    count = len(known(run))
    are = "the only network trained is" if count == 1 else f"of {count} networks trained, {len(run.over)} are"
    return (
        f"No network is known to keep {run.record.budget}: {are} over a limit. The nearest is trial "
        f"{nearest['trial']} with {accuracy_text(run, nearest, 'val')} on validation: {nearest['breaks']}."
    )


def searched(run: Run) -> str:
    """What was searched, where and for how long."""
    record = run.record
    budget = f"under a budget of {record.budget}" if record.budget else "without a budget"
    said = f"Searched the space {record.space or 'unknown'} {budget} on {data_text(record)}"
    used = clips_used(record)
    said += f"; each training used {used} clips of these" if used and len(trained(run)) else ""
    said += f". {plural(len(trained(run)), 'network')} trained on {record.device or 'an unnamed device'}"
    said += f"; the whole run took {duration(record.wall_s)}." if record.wall_s else "."
    if record.slot_s:
        said += f" {workers_busy(record.step_s, record.slot_s)}."
    return said


def missing(run: Run) -> list[str]:
    """What is not there, or not as it should be."""
    record, front = run.record, run.front
    if run.running:
        return [
            f"The search is going on: {_ended(run)} so far, and this page loads itself again. What the front costs is "
            "measured when all is trained."
        ]
    if _none_is_known_to_keep(run):
        unmeasured = len(trained(run)) - len(run.over)
        if record.front_of == len(run.trials) or not unmeasured:
            return how_to_go_on(run)
        were = "further network was" if unmeasured == 1 else "further networks were"
        return [f"{unmeasured} {were} not measured yet. nas search --resume goes on."]
    if front.empty:
        unknown = len(trained(run)) and judged_as_measured(run)
        limits = " Whether a network keeps the limits as measured is not known." if unknown else ""
        return [f"There is no front: {_no_front(run)}.{limits} The run may be continued by nas search --resume."]
    absent = []
    later = len(run.trials) - (len(run.trials) if record.front_of is None else record.front_of)
    if later > 0:
        are = "training is" if later == 1 else "trainings are"
        absent.append(
            f"{later} further {are} not part of the front yet: it is as it was before they began. "
            "nas search --resume goes on."
        )
    stopped = int((front["state"] == "stopped").sum())
    if stopped:
        were = "trial of the front was" if stopped == 1 else "trials of the front were"
        absent.append(f"{stopped} {were} stopped early, with an accuracy of fewer epochs than a whole training has.")
    asked = 1 + (record.settings.confirm_seeds if record.settings else 0)
    fewer = int((front["seeds"] < asked).sum())
    if fewer:
        were = "network of the front was" if fewer == 1 else "networks of the front were"
        absent.append(
            f"{fewer} {were} trained with fewer than the {asked} seeds asked for: the fewer, the more the selection "
            "flatters an accuracy."
        )
    figures = {
        "latency_ms": "measured latency",
        "peak_memory_bytes": "measured peak memory",
        "test_accuracy": "test accuracy",
    }
    absent += [_absence(front, column, words) for column, words in figures.items() if front[column].isna().any()]
    return absent


def _ended(run: Run) -> str:
    """How many trainings have come to their end, of how many."""
    of = f" of {run.record.trials:,}" if run.record.trials else ""
    return f"{plural(len(run.trials), 'training')}{of}"


def _no_front(run: Run) -> str:
    """Why there is none, and no network is known to be over a limit."""
    if len(trained(run)):
        return "the trained networks were not measured yet"
    if count := len(run.trials):
        errors = [error for error in run.trials["error"] if error]
        first = f"; the first: {errors[0].rstrip('.')}" if errors else ""
        return f"{'the training' if count == 1 else f'all {count} trainings'} failed{first}"
    counts = run.record.counts
    lost = counts.rejected + counts.unreached + counts.duplicates if counts else 0
    if counts and counts.proposed and lost == counts.proposed:
        return f"none of {plural(counts.proposed, 'proposed network')} was inside the budget and could be built"
    return "nothing was trained"


def _absence(front: pd.DataFrame, column: str, words: str) -> str:
    count = int(front[column].isna().sum())
    if count == len(front):
        return f"No trial of the front has a {words}."
    return f"{count} of {len(front)} trials of the front have no {words}."

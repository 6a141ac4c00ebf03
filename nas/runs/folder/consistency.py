"""Whether the files of a run folder agree with each other: what `nas check` says."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nas.architecture import Architecture, load
from nas.errors import NasError, one_line
from nas.resources import drafts
from nas.runs.folder.confirmations import CONFIRMATIONS, read_confirmations
from nas.runs.folder.measurements import MEASUREMENTS, all_measurements
from nas.runs.folder.record import RECORD
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS
from nas.runs.selection.control import CONTROL, CURVES, RANDOM, SEARCH
from nas.runs.selection.ranking import front_of
from nas.trials.answers import ANSWERS, read_answers
from nas.trials.results import STUDY, TrialResult
from nas.units import plural

NAMED = 5  # trials that a sentence lists
SAME = 1e-9  # relative: what reading a number from a table may change
ROUNDED = 1e-6  # an accuracy in float32 beside one in float64


@dataclass
class Findings:
    """What came of a check.

    Attributes:
        problems: What disagrees, a sentence each.
        notes: What is as an interruption leaves it, and a resumed search mends.
        trials: Candidates that have a result.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trials: int = 0

    def found(self, trials: Iterable[object], sentence: Callable[[str], str]) -> None:
        """Takes a problem down if there are trials that have it."""
        if listed := list(trials):
            more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
            self.problems.append(sentence(", ".join(map(str, listed[:NAMED])) + more))

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Takes a problem down of what cannot be read."""
        try:
            yield
        except NasError as error:
            self.problems.append(str(error))


@dataclass
class _Journal:
    """What a journal says of candidates, by number: the hash of each, and the results of those that
    have one.
    """

    hashes: dict[int, str] = field(default_factory=dict)
    results: dict[int, TrialResult] = field(default_factory=dict)


def check_run(folder: Path) -> Findings:
    """Compares the files of a run folder with its journal and with each other; changes nothing.

    Args:
        folder: Of a run, finished or interrupted.

    Raises:
        NasError: It is no run, or one of a newer version.
    """
    run, findings = Run(folder), Findings()
    for path in drafts(folder):
        findings.notes.append(f"{str(path)!r} is a draft of a process that was killed; a resumed search removes it")
    with findings.refusals():
        _check_front(run, findings)
    with findings.refusals():
        journal = _journal(folder, findings)
        findings.trials = len(journal.results)
        _check_trials(run, journal, findings)
        _check_further(run, journal, findings)
        if (folder / CONTROL).is_dir():
            _check_control(run, journal, _journal(folder / CONTROL, findings), findings)
    return findings


def _whole(path: Path, findings: Findings) -> list[str]:
    """The whole lines of a file that grows by lines."""
    if not path.exists():
        return []
    *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if rest:
        findings.notes.append(f"the last line of {str(path)!r} is torn; a resumed search drops it")
    return lines


def _journal(folder: Path, findings: Findings) -> _Journal:
    """Reads the journal line by line, as what stands there twice shows in no study.

    Raises:
        NasError: It is none.
    """
    path, journal = folder / STUDY, _Journal()
    where = repr(str(path))
    index_of: dict[int, int] = {}
    documents: dict[int, Any] = {}
    told: Counter[int] = Counter()
    try:
        for line in _whole(path, findings):
            entry = json.loads(line)
            trial, attributes = entry.get("trial_id", -1), entry.get("user_attr", {})
            if "architecture" in attributes:
                documents[trial] = attributes["architecture"]
            if "index" in attributes:
                index_of[trial] = attributes["index"]
            if "result" in attributes:
                told[trial] += 1
                journal.results[index_of[trial]] = TrialResult.of(attributes["result"])
        for trial, index in index_of.items():
            journal.hashes[index] = Architecture.parse(documents[trial]).hash
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NasError(
            f"journal {where} cannot be read ({one_line(error)}); allowed: the {STUDY} of `nas search`, as it wrote it"
        ) from None
    numbers = list(index_of.values())
    if numbers != list(range(len(numbers))):
        findings.problems.append(f"the candidates of journal {where} are not numbered 0 to {len(numbers) - 1} in order")
    twice = [index_of[trial] for trial, count in told.items() if count > 1]
    findings.found(twice, lambda trials: f"journal {where} has two results of trial {trials}")
    first: dict[str, int] = {}
    repeated = [f"{index} (as {first[each]})" for index, each in journal.hashes.items() if _again(first, each, index)]
    findings.found(repeated, lambda trials: f"journal {where} proposes a network again as trial {trials}")
    return journal


def _again(first: dict[str, int], hash_: str, index: int) -> bool:
    return first.setdefault(hash_, index) != index


def _check_trials(run: Run, journal: _Journal, findings: Findings) -> None:
    """`trials.csv`, the architecture files and the counts of `run.json` against the journal."""
    table, results = run.trials, journal.results
    rows: Sequence[Mapping[Any, Any]] = table.to_dict("records")
    findings.found(_repeated(table["trial"]), lambda trials: f"{TRIALS} has two rows of trial {trials}")
    known = [row for row in rows if row["trial"] in results]
    unknown = [row["trial"] for row in rows if row["trial"] not in results]
    findings.found(unknown, lambda trials: f"{TRIALS} has trial {trials}, of which {STUDY} knows no result")
    other = [row["trial"] for row in known if not _same(row, results[row["trial"]], journal.hashes[row["trial"]])]
    findings.found(other, lambda trials: f"{TRIALS} and {STUDY} say different things of trial {trials}")
    missing = sorted(results.keys() - set(table["trial"]))
    record, whole = run.record, run.record.front_of == len(results)
    if missing and whole:
        findings.found(missing, lambda trials: f"{TRIALS} lacks trial {trials}, whose result {STUDY} has")
    elif missing:
        findings.notes.append(f"{TRIALS} does not have the last {plural(len(missing), 'result')} of {STUDY} yet")
    if record.counts and whole and record.counts.trained + record.counts.failed != len(results):
        findings.problems.append(
            f"{RECORD} counts {record.counts.trained + record.counts.failed} trials, and {STUDY} has {len(results)}"
        )
    wrong = [row["trial"] for row in known if not _is_of(run.path / "architectures" / f"{row['trial']}.yaml", row)]
    findings.found(wrong, lambda trials: f"architectures/ has no file, or another network, of trial {trials}")


def _same(row: Mapping[Any, Any], result: TrialResult, hash_: str) -> bool:
    figures = ((row[name], getattr(result, name)) for name in ("accuracy", "test_accuracy", "epochs", "seconds"))
    return (row["state"], row["hash"]) == (result.state, hash_) and all(_equal(*pair) for pair in figures)


def _equal(one: float, other: float | None) -> bool:
    return math.isnan(one) if other is None else math.isclose(one, other, rel_tol=SAME)


def _is_of(path: Path, row: Mapping[Any, Any]) -> bool:
    try:
        return path.is_file() and load(path).hash == row["hash"]
    except NasError:
        return False


def _repeated(numbers: pd.Series[Any]) -> list[Any]:
    return sorted(set(numbers[numbers.duplicated()]))


def _check_front(run: Run, findings: Findings) -> None:
    """`front.csv` against itself and the trials with their means."""
    front = run.front
    if front.empty:
        return
    findings.found(_repeated(front["trial"]), lambda trials: f"{FRONT} has two rows of trial {trials}")
    kept = front_of(front, run.objectives)
    dominated = sorted(set(front["trial"]) - set(kept["trial"]))
    findings.found(dominated, lambda trials: f"{FRONT} has trial {trials}, which another one of it dominates")
    means: dict[Any, Mapping[Any, Any]] = {row["trial"]: row for row in run.confirmed().to_dict("records")}
    other = [row["trial"] for row in front.to_dict("records") if not _mean_of(row, means.get(row["trial"]))]
    findings.found(other, lambda trials: f"{FRONT} has other figures of trial {trials} than {TRIALS} and further seeds")


def _mean_of(row: Mapping[Any, Any], means: Mapping[Any, Any] | None) -> bool:
    """Whether a row of the front says what is known; it may be older than the last seeds."""
    if means is None or row["hash"] != means["hash"]:
        return False
    return bool(row["seeds"] != means["seeds"] or math.isclose(row["accuracy"], means["accuracy"], rel_tol=SAME))


def _check_further(run: Run, journal: _Journal, findings: Findings) -> None:
    """`confirm.csv`, `measurements.jsonl` and `answers.jsonl` against the journal."""
    further = [tuple(line.split(",")[:2]) for line in _whole(run.path / CONFIRMATIONS, findings)[1:]]
    twice = [f"{trial} (repeat {repeat})" for (trial, repeat), count in Counter(further).items() if count > 1]
    findings.found(twice, lambda trials: f"{CONFIRMATIONS} has two rows of trial {trials}")
    _whole(run.path / MEASUREMENTS, findings)
    _check_answers(run.path, journal, findings)
    known = {str(index) for index in journal.results}
    for name, numbers in (
        (CONFIRMATIONS, {trial for trial, *_ in further}),
        (MEASUREMENTS, {str(trial) for trial, _ in all_measurements(run.path)}),
    ):
        findings.found(
            sorted(numbers - known),
            lambda trials, name=name: f"{name} has trial {trials}, of which {STUDY} knows no result",  # type: ignore[misc]
        )


def _check_answers(folder: Path, journal: _Journal, findings: Findings) -> None:
    """`answers.jsonl` against the journal and `confirm.csv`: the share of right answers is the
    accuracy.
    """
    _whole(folder / ANSWERS, findings)
    further = read_confirmations(folder)
    told = {(index, 0): each.accuracy for index, each in journal.results.items() if each.state == "finished"}
    told |= zip(zip(further["trial"], further["repeat"], strict=True), further["accuracy"], strict=True)
    other = [
        f"{each.trial} (repeat {each.repeat})"
        for each in read_answers(folder)
        if not _is_told(told.get((each.trial, each.repeat)), each.right("val").mean())
    ]
    findings.found(other, lambda trials: f"{ANSWERS} gives another accuracy than is known of trial {trials}")


def _is_told(accuracy: float | None, given: float) -> bool:
    return accuracy is not None and math.isclose(accuracy, given, abs_tol=ROUNDED)


def _check_control(run: Run, journal: _Journal, control: _Journal, findings: Findings) -> None:
    """`control.csv` against both journals, once both searches have come to their end, and the
    control's own answers.
    """
    _check_answers(run.path / CONTROL, control, findings)
    if not run.record.searched or run.record.front_of != len(journal.results):
        return
    for by, results in ((SEARCH, journal.results), (RANDOM, control.results)):
        listed = run.control.loc[run.control["by"] == by, "trial"].tolist()
        if listed != sorted(results):
            findings.problems.append(
                f"{CURVES} has {plural(len(listed), 'training')} of {by}, and its journal {len(results)}"
            )

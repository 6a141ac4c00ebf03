"""The journal by itself: what waits for the disk, and what an unfinished file is cut to."""

import json
import os
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.study import Study

from nas.errors import NasError
from nas.trials.journal import Journal, naming_journal

FLOAT: dict[str, BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}


def opened(path: Path) -> tuple[Journal, Study]:
    journal = Journal(path)
    return journal, optuna.create_study(study_name="one", storage=JournalStorage(journal), load_if_exists=True)


def decide(study: Study) -> int:
    trial = study.ask(FLOAT)
    trial.set_user_attr("index", trial.number)
    return trial.number


def numbers(path: Path) -> list[int]:
    return [trial.number for trial in opened(path)[1].trials]


def test_what_is_written_together_waits_for_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, study = opened(tmp_path / "study.log")
    waits = list[int]()
    monkeypatch.setattr(os, "fsync", waits.append)
    with journal.together():
        decide(study)
        assert study.trials[0].user_attrs == {"index": 0} and not waits
    assert len(waits) == 1
    decide(study)
    assert len(waits) == 4  # the trial, its parameter and its index
    assert numbers(tmp_path / "study.log") == [0, 1]
    assert opened(tmp_path / "study.log")[1].trials[0].params == study.trials[0].params


def test_what_another_line_follows_is_not_read_from_the_beginning(tmp_path: Path) -> None:
    """Only lines that are new are parsed, or each proposal would take as long as all before it."""
    journal, study = opened(tmp_path / "study.log")
    for _ in range(3):
        with journal.together():
            decide(study)
    read, loads = list[bytes](), json.loads

    def load(line: bytes) -> object:
        read.append(line)
        return loads(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "loads", load)
        study.trials  # noqa: B018
        study.set_user_attr("seen", True)
    assert len(read) == 1


def test_nothing_is_kept_of_what_was_broken_off(tmp_path: Path) -> None:
    journal, study = opened(tmp_path / "study.log")
    decide(study)
    with pytest.raises(KeyboardInterrupt), journal.together():
        study.ask(FLOAT)
        raise KeyboardInterrupt
    study.tell(0, 0.5)  # what is known of others is still written, and read
    assert study.trials[0].value == 0.5
    again = opened(tmp_path / "study.log")[1]
    assert [trial.value for trial in again.trials] == [0.5]


@pytest.mark.parametrize(("lines", "left"), [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1), (5, 0), (6, 0), (7, 0)])
def test_an_unfinished_proposal_is_cut_off(tmp_path: Path, lines: int, left: int) -> None:
    """Trial 0 is decided and told, in lines 3 to 6, and trial 1 decided, in lines 7 to 9; a half of
    the line after the last one that is kept stays.
    """
    path = tmp_path / "study.log"
    _, study = opened(path)
    study._storage.set_study_system_attr(study._study_id, "named", True)
    decide(study)
    study.tell(0, 0.5)
    decide(study)
    written = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["op_code"] for line in written] == [0, 3, 4, 5, 8, 6, 4, 5, 8]
    kept = len(written) - lines
    path.write_text("".join(written[:kept]) + ("" if kept == len(written) else written[kept][:5]))
    assert numbers(path) == list(range(left))
    assert decide(opened(path)[1]) == left


def test_results_that_follow_an_unfinished_proposal_are_kept(tmp_path: Path) -> None:
    """As a disk leaves it that was full for a moment."""
    path = tmp_path / "study.log"
    _, study = opened(path)
    decide(study)
    study.ask()
    study.tell(0, 0.5)
    assert [trial.value for trial in opened(path)[1].trials] == [0.5, None]


def test_nothing_is_written_where_nothing_happened(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "study.log")
    before = (tmp_path / "study.log").read_bytes()
    with journal.together():
        pass
    assert (tmp_path / "study.log").read_bytes() == before


def test_a_line_of_another_program_is_refused_and_nothing_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    decide(opened(path)[1])
    lines = path.read_bytes().splitlines(keepends=True)
    written = b"".join([*lines[:-1], b'{"op_code":4,nonsense}\n', lines[-1]])
    path.write_bytes(written)
    with pytest.raises(NasError, match=r"journal .* cannot be read"), naming_journal(path):
        opened(path)
    assert path.read_bytes() == written

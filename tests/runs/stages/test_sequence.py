"""The stages of a search with trainings that are only pretended: time, interruptions, what is
resumed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import nas
from nas.data.unreadable import Unreadable, read_unreadable
from nas.errors import Interrupted
from nas.limits.pace import Pace
from nas.locks import locked
from nas.profiler.computed.cost import cost
from nas.profiler.measured.device import available_cores, device_name
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.measure import Measurement
from nas.resources import drafts
from nas.runs.folder.measurements import append_measurement, read_measurements
from nas.runs.folder.record import PHASES, RunRecord, write_record
from nas.runs.planning import plan
from nas.runs.search import resume
from nas.runs.stages import measuring, sequence, session
from nas.trials.queue import QueueSearcher
from nas.trials.results import Report
from nas.trials.tuning import Outcome, Place

BEFORE = Path(__file__).parents[1] / "run_of_version_0.1"
SPACE = {
    "input": {"frames": 4, "size": 32},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [{"width": {"choice": [8, 16, 32]}, "layers": [{"op": "full3d", "kernel": {"choice": [1, 3]}}]}],
}
SMALL: dict[str, Any] = {
    "train_clips": 24,
    "val_clips": 12,
    "workers": 1,
    "quiet": True,
    "confirm_seeds": 0,
    "baselines": "none",
}


@dataclass
class Phase:
    """What `run_trials` was asked for."""

    searcher: Any
    parameters: dict[str, Any]
    seconds: float | None


class Trainings:
    """Stands for Ray: trains what is suggested in no time, and passes 20 seconds by the clock of
    `nas.runs.stages.sequence`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.phases, self.count = 0.0, list[Phase](), 2
        self.lost = 0  # processes that are lost before their training begins
        self.interrupts: Callable[[int], bool] = lambda phase: False
        for module in (sequence, session):
            monkeypatch.setattr(module, "run_trials", self.trained)
            monkeypatch.setattr(module, "clock", SimpleNamespace(monotonic=lambda: self.now))

    def trained(
        self,
        trainable: Any,
        parameters: Any,
        place: Place,
        searcher: Any,
        scheduler: Any = None,
        samples: int | None = None,
        seconds: float | None = None,
        trial_seconds: float | None = None,
    ) -> Outcome:
        self.phases.append(Phase(searcher, parameters, seconds))
        for number in range(self.count if samples is None else samples):
            config = searcher.suggest(str(number))
            if not isinstance(config, dict):
                break
            if self.lost:
                self.lost -= 1
                searcher.on_trial_complete(str(number), None, error=True)
                continue
            accuracy = 0.5 + 10 ** config["costs"][0] / 1e9
            result = Report(curve=(accuracy,), epochs=3, seconds=10.0).to_ray()
            searcher.on_trial_result(str(number), result)
            searcher.on_trial_complete(str(number), result)
        self.now += 20
        return Outcome(self.interrupts(len(self.phases)), 15.0, 20.0)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    monkeypatch.setattr(plan, "measured_pace", lambda *_, **__: Pace(0.0, 1e-10))
    return Trainings(monkeypatch)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured: that takes processes of its own."""
    monkeypatch.setattr(sequence, "measure_front", lambda *_: None)


def search(folder: Path, **options: Any) -> nas.Run:
    folder.parent.mkdir(exist_ok=True)
    return nas.search(space_file(folder.parent), out=folder, **{"budget": "20mflops", **SMALL, **options})


def device() -> str:
    """What is measured on here."""
    return device_name(torch.device("cpu"), "fp32", 1, available_cores())


def measurement(ms: float, *flags: str, on: str | None = None) -> Measurement:
    """A network that takes so long, on a machine that was disturbed if there are flags."""
    latency = Latency(n=50, median=ms, iqr=0.1, p90=ms, p95=ms + 1, samples=[ms])
    return Measurement(latency, 1000, on or device(), Environment(), list(flags))


class Clock:
    """Stands for the measuring of networks: their milliseconds, one after the other.

    Attributes:
        taken: The multiply-adds of what was measured, in order, and the patience.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Measurement) -> None:
        self.answers, self.taken = list(answers), list[tuple[float, float]]()
        monkeypatch.setattr(measuring, "_measured", self.measured)
        monkeypatch.setattr(sequence, "latency_predictor", lambda *_: None)

    def measured(self, plan: Any, architecture: Any, patience: float) -> Measurement:
        self.taken.append((cost(architecture).macs, patience))
        return self.answers.pop(0)


def space_file(folder: Path) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


def test_time_that_was_spent_before_an_interruption_is_not_given_again(
    tmp_path: Path, trainings: Trainings, measured: None
) -> None:
    trainings.interrupts = lambda phase: phase == 1
    with pytest.raises(Interrupted, match="interrupted after 2 candidates, which are kept; allowed: nas search --resu"):
        search(tmp_path / "run", time=100, control="random:0.4")
    resume(tmp_path / "run", quiet=True)
    # 20 of the search's 60 seconds had passed; the control gets its 40.
    assert [phase.seconds for phase in trainings.phases] == [60, 40, 40]
    resume(tmp_path / "run", quiet=True)
    assert len(trainings.phases) == 3  # it has come to its end
    resume(tmp_path / "run", time=50, quiet=True)
    assert [phase.seconds for phase in trainings.phases[3:]] == [30, 20]


def test_every_phase_says_what_it_took_in_all_sessions(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    trainings.interrupts = lambda phase: phase == 1
    with pytest.raises(Interrupted):
        search(tmp_path / "run", trials=4, control="random:0.5", confirm_seeds=1)
    first = nas.Run(tmp_path / "run").record.phases_s
    assert first["training"] == 20 and first["planning"] > 0 and "random control" not in first
    record = resume(tmp_path / "run", quiet=True).record
    assert {name: record.phases_s[name] for name in ("training", "random control", "confirming")} == {
        "training": 20.0,
        "random control": 20.0,
        "confirming": 20.0,
    }
    assert record.phases_s["planning"] > first["planning"] and set(record.phases_s) <= set(PHASES)


def test_what_ray_tried_twice_takes_no_place_of_another(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    trainings.lost = 1
    assert len(search(tmp_path / "run", trials=3).trials) == 3
    assert len(trainings.phases) == 2


def test_an_interrupted_control_does_not_search_again(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    trainings.interrupts = lambda phase: phase == 2
    with pytest.raises(Interrupted):
        search(tmp_path / "run", time=40, control="random:0.5")
    resume(tmp_path / "run", quiet=True)
    # Both had spent their 20 seconds by then, so neither goes on.
    assert [phase.seconds for phase in trainings.phases] == [20, 20]


def test_the_control_proposes_by_a_seed_of_its_own(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    search(tmp_path / "run", trials=4, control="random:0.5", sampler="random", budget="100gflops")
    ours, control = (phase.searcher.proposer for phase in trainings.phases)
    assert [c.architecture.hash for c in ours.candidates] != [c.architecture.hash for c in control.candidates]


def test_another_machine_goes_on_with_the_same_proxies(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tmp_path / "run", trials=2)
    monkeypatch.setattr(plan, "EPOCHS", (1, 2))
    monkeypatch.setattr(plan, "PROXY_SIDES", (24, 32))
    resume(tmp_path / "run", trials=4, quiet=True)
    first, second = (phase.parameters["proxy"] for phase in trainings.phases)
    assert (second.frames, second.size, second.rungs) == (first.frames, first.size, first.rungs)
    with pytest.raises(nas.NasError, match=r"out .* holds a run already"):
        search(tmp_path / "run", trials=2)


def test_more_confirmations_may_be_asked_for(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    finished = search(tmp_path / "run", trials=2)
    resume(finished.path, confirm_seeds=1, quiet=True)
    assert [type(phase.searcher) for phase in trainings.phases][1:] == [QueueSearcher]


def test_published_networks_are_cut_to_the_pick_as_measured(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dearest, which is the most accurate, is too slow, so another one is the pick."""
    Clock(monkeypatch, measurement(3.0), measurement(3.0), measurement(200.0))
    run = search(tmp_path / "run", trials=3, budget="20mflops,100ms", baselines="x3d_xs")
    pick = run.row(run.pick_trial())
    assert pick["latency_ms"] == 3.0 and pick["accuracy"] < run.trials["accuracy"].max()
    (baseline,) = nas.Run(run.path).baselines
    # Who writes the report takes the record from here, and writes it again.
    assert run.record == nas.Run(run.path).record and run.record.phases_s["published networks"] > 0
    assert baseline.name == "x3d_xs" and 0.5 * pick["macs"] < baseline.macs <= pick["macs"]
    assert len(trainings.phases) == 2
    resume(run.path, quiet=True)
    assert len(trainings.phases) == 2


def test_what_is_too_slow_as_measured_is_not_confirmed(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    folder = search(tmp_path / "run", trials=3).path
    document = json.loads((folder / "run.json").read_text())
    document["settings"] |= {"budget": "20mflops,100ms", "confirm_seeds": 1}
    (folder / "run.json").write_text(json.dumps(document))
    for i in range(3):
        append_measurement(folder, i, measurement(200.0))
    trainings.phases.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "latency_predictor", lambda *_: None)
        resume(folder, quiet=True)
    assert not trainings.phases


def test_an_interruption_anywhere_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sequence.ProxyData, "read", interrupted)
    with pytest.raises(Interrupted, match=r"allowed: nas search --resume .*run"):
        search(tmp_path / "run", trials=2)


def test_what_cannot_be_written_or_gone_on_with_is_refused(
    tmp_path: Path, trainings: Trainings, measured: None
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        nas.NasError, match=r"out '.*file/run' cannot be made \('.*file' is no folder\); allowed: a new"
    ):
        nas.search(space_file(tmp_path), out=tmp_path / "file" / "run", trials=2, budget="20mflops", **SMALL)
    with pytest.raises(nas.NasError, match=r"storage '.*file' is a file; allowed: a folder, or a URI"):
        search(tmp_path / "run", trials=2, storage=str(tmp_path / "file"))
    folder = search(tmp_path / "run", trials=2).path
    whole = json.loads((folder / "run.json").read_text())
    for change, message in (
        (
            {"settings": {**whole["settings"], "colour": "blue"}},
            "has no settings that this version reads; allowed: the file as nas",
        ),
        ({"proxy": {}}, "has no proxy that this version reads"),
        ({"classes": ["a", "b"]}, r"data 'motion' has other classes than run .* \(12, and 2 before\)"),
    ):
        (folder / "run.json").write_text(json.dumps(whole | change))
        with pytest.raises(nas.NasError, match=message):
            resume(folder, quiet=True)


def test_a_run_of_the_version_before_goes_on(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    folder = Path(shutil.copytree(BEFORE, tmp_path / "run"))
    before = nas.Run(folder)
    more = resume(folder, trials=5, quiet=True)
    proposer = trainings.phases[0].searcher.proposer
    assert len(more.trials) == len(proposer.candidates) == 5
    assert more.trials["hash"].tolist()[:3] == before.trials["hash"].tolist()
    assert more.trials["accuracy"].tolist()[:3] == before.trials["accuracy"].tolist()
    recipe = asdict(trainings.phases[0].parameters["proxy"].recipe)
    assert before.record.proxy  # what recipes have learnt since is as it was without
    assert {name: recipe[name] for name in before.record.proxy.recipe} == before.record.proxy.recipe
    record = more.record
    assert record.counts and record.counts.trained == 5 and record.wall_s > before.record.wall_s
    assert record.step_s == before.record.step_s + 15


def test_a_run_goes_on_from_any_folder(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_data(path: str, seed: int, allow_outside: bool) -> Any:
        opened.append(path)
        return motion("motion", seed=seed, allow_outside=allow_outside)

    motion = plan.open_data
    monkeypatch.setattr(plan, "open_data", open_data)
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    (tmp_path / "videos" / "walk" / "a.mp4").touch()  # a folder without any is refused before it is opened
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = search(Path("runs", "mine").resolve(), trials=1, data="videos").path
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume(folder, trials=2, quiet=True)
    assert opened == [str(tmp_path / "videos")] * 2
    assert nas.Run(folder).record.data == "videos"

    # The version before kept paths as they were given: they are looked for where the run was
    # started as far as its folder tells.
    document = json.loads((folder / "run.json").read_text())
    document["settings"]["data"] = "videos"
    (folder / "run.json").write_text(json.dumps(document))
    resume(folder, trials=3, quiet=True)
    assert opened[2:] == [str(tmp_path / "videos")]
    document["settings"]["data"] = "films"
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(nas.NasError, match=r"data 'films' of run '.*mine' are not there; allowed: the data where they"):
        resume(folder, trials=3, quiet=True)


def test_a_neighbourhood_goes_on_from_the_space_of_its_run(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is around a network hangs on the operators that there are; those of the run are in its
    `space.yaml`.
    """
    first = search(tmp_path / "space", trials=1)
    around = first.path / "architectures" / "0.yaml"
    folder = nas.search(around=around, edits=2, out=tmp_path / "run", trials=1, budget="20mflops", **SMALL).path
    monkeypatch.setattr(nas.SearchSpace, "around", None)
    assert len(resume(folder, trials=2, quiet=True).trials) == 2


def test_a_folder_with_other_files_is_no_run_folder(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    folder = tmp_path / "run"
    (folder / "architectures").mkdir(parents=True)
    (folder / ".DS_Store").touch()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(nas.NasError, match=r"out '.*run' holds other files, such as 'thesis.tex'; allowed: a new fold"):
        search(folder, trials=1)
    assert sorted(path.name for path in folder.iterdir()) == [".DS_Store", "architectures", "thesis.tex"]
    # What a search leaves that was cut off before its record was written is no hindrance.
    (folder / "thesis.tex").rename(folder / "space.yaml")
    assert len(search(folder, trials=1).trials) == 1


def test_two_resumptions_at_a_time_are_refused(tmp_path: Path, trainings: Trainings, measured: None) -> None:
    folder = search(tmp_path / "run", trials=1).path
    (folder / ".trials.csv.4242").touch()  # of a killed process
    with locked(folder), pytest.raises(nas.NasError, match=r"run '.*run' is being written by process \d+ on "):
        resume(folder, trials=2, quiet=True)
    assert drafts(folder)
    assert len(resume(folder, trials=2, quiet=True).trials) == 2 and not drafts(folder)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_a_sentence(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    def full(*_: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if wrapped:
                raise RuntimeError("a trial failed") from error
            raise

    monkeypatch.setattr(sequence, "write_table", full)
    with pytest.raises(
        nas.NasError, match=r"cannot be written on \(No space left on device\); allowed: more room .* --resume"
    ):
        search(tmp_path / "run", trials=1)
    monkeypatch.setattr(sequence, "write_unreadable", full)  # before there is a record
    with pytest.raises(nas.NasError, match=r"cannot be written on .*; allowed: more room there, and then the same sea"):
        search(tmp_path / "other", trials=1)


def test_a_run_without_a_limit_of_latency_predicts_none(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_measured", lambda *_: measurement(3.0))
    run = search(tmp_path / "run", trials=3)
    assert (run.front["latency_ms"] == 3.0).all() and run.front["latency_ms_predicted"].isna().all()
    assert run.trials["latency_ms_predicted"].isna().all()


def test_a_resumed_run_keeps_whether_a_list_may_name_videos_outside(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[bool] = []

    def open_data(path: str, seed: int, allow_outside: bool) -> Any:
        allowed.append(allow_outside)
        return motion("motion", seed=seed)

    motion = plan.open_data
    monkeypatch.setattr(plan, "open_data", open_data)
    folder = search(tmp_path / "run", trials=1, allow_outside=True).path
    resume(folder, trials=2, quiet=True)
    assert allowed == [True, True]

    # A run of before that choice can go on with a list whose videos are elsewhere.
    document = json.loads((folder / "run.json").read_text())
    del document["settings"]["allow_outside"]
    (folder / "run.json").write_text(json.dumps(document))
    resume(folder, trials=3, quiet=True)
    resume(folder, trials=4, quiet=True, allow_outside=True)
    assert allowed[2:] == [False, True]


@pytest.mark.parametrize(("name", "value"), [("address", "192.0.2.1:6379"), ("storage", "s3://somebody/else")])
def test_a_run_folder_names_no_cluster_and_no_storage(
    tmp_path: Path, trainings: Trainings, measured: None, name: str, value: str
) -> None:
    folder = search(tmp_path / "run", trials=1).path
    document = json.loads((folder / "run.json").read_text())
    document["settings"][name] = value
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(nas.NasError, match=f"was started with {name} '{value}', .*; allowed: the same with --{name} "):
        resume(folder, trials=2, quiet=True)


LOAD = "other processes used 1.90 of the 2 cores measured on"


def test_measurements_are_kept_where_no_network_keeps_the_limit(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy grows with multiply-adds here, so every network is on the front."""
    clock = Clock(monkeypatch, measurement(41.0), measurement(52.5), measurement(60.0))
    run = search(tmp_path / "run", trials=3, budget="20mflops,30ms")
    assert run.front.empty and not (run.path / "best.yaml").exists()
    assert run.over["breaks"].tolist() == ["41.0 ms > 30 ms", "52.5 ms > 30 ms", "60.0 ms > 30 ms"]
    assert len(read_measurements(run.path, device())) == 3 and len(clock.taken) == 3
    assert str(run.reaching()) == "20mflops,41ms"
    with pytest.raises(
        nas.NasError, match=r"no network that keeps 20mflops,30ms as measured; .*--budget 20mflops,41ms"
    ):
        run.pick("accuracy")

    # The advice works on what is trained: nothing is trained or measured again.
    wider = resume(run.path, budget="20mflops,55ms", quiet=True)
    assert wider.front["latency_ms"].tolist() == [41.0, 52.5] and wider.over["breaks"].tolist() == ["60.0 ms > 55 ms"]
    assert len(clock.taken) == 3 and len(trainings.phases) == 1
    assert nas.load(wider.path / "best.yaml").hash == wider.front["hash"].iloc[1]
    # A narrower one too, and the search may go on under it.
    clock.answers = [measurement(40.0)] * 2
    narrower = resume(run.path, budget="20mflops,41ms", trials=5, quiet=True)
    assert len(narrower.trials) == 5 and (narrower.front["latency_ms"] <= 41.0).all()
    assert narrower.record.budget == "20mflops,41ms"


def test_limits_that_are_computed_can_be_changed_too(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, *[measurement(3.0)] * 3)
    run = search(tmp_path / "run", trials=3)
    least = run.front["macs"].min() / 1e6
    narrower = resume(run.path, budget=f"{least + 0.001:.3f}mflops", quiet=True)
    assert len(narrower.front) == 1 and len(narrower.over) == 2 and len(clock.taken) == 3


def test_a_disturbed_measurement_is_taken_again_before_it_decides(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = measurement(41.0, LOAD)
    clock = Clock(monkeypatch, flagged, measurement(20.0, LOAD), flagged, measurement(29.0), flagged)
    run = search(tmp_path / "run", trials=3, budget="20mflops,30ms")
    # The second is inside however disturbed; of the two others one is inside as measured again.
    costs, patience = zip(*clock.taken, strict=True)
    assert patience == (0.0, 0.0, 0.0, 5.0, 5.0) and costs == (*costs[:3], costs[0], costs[2])
    assert run.front["latency_ms"].tolist() == [29.0, 20.0] and run.front["flags"].tolist() == ["", LOAD]
    assert run.over["breaks"].tolist() == ["41.0 ms > 30 ms"] and run.over["flags"].tolist() == [LOAD]
    # The machine may be quiet now: what was disturbed and decided is measured again, nothing else.
    clock.answers = [measurement(25.0)]
    again = resume(run.path, quiet=True)
    assert again.front["latency_ms"].tolist() == [29.0, 20.0, 25.0] and len(clock.taken) == 6


def predicting(patch: pytest.MonkeyPatch) -> None:
    """A latency of 1 ms per million multiply-adds is predicted."""

    def predict(architecture: Any) -> Any:
        ms = cost(architecture).macs / 1e6
        return SimpleNamespace(ms=ms, low=ms / 2, high=2 * ms)

    patch.setattr(sequence, "latency_predictor", lambda *_: SimpleNamespace(predict=predict))


def test_the_front_is_of_measured_latency(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy grows with multiply-adds: as predicted all are on the front. The one with the fewest
    is the slowest as measured, twice since the first time was disturbed.
    """
    clock = Clock(monkeypatch, measurement(25.0, LOAD), measurement(12.0), measurement(20.0), measurement(30.0))
    predicting(monkeypatch)
    run = search(tmp_path / "run", trials=3, budget="40ms")
    assert run.record.objectives == ("accuracy", "latency_ms")
    first, second, third, again = (macs for macs, _ in clock.taken)
    assert first == again < second < third and clock.taken[3][1] == 5.0
    assert run.front["macs"].tolist() == [second, third] and run.front["latency_ms"].tolist() == [12.0, 20.0]
    assert run.front["latency_ms_predicted"].tolist() == pytest.approx([second / 1e6, third / 1e6])
    assert len(run.trials["latency_ms"].dropna()) == 3
    # What is resumed is of the same objectives, whatever its limits are then.
    document = json.loads((run.path / "run.json").read_text())
    assert document["objectives"] == ["accuracy", "latency_ms"]
    clock.answers = [measurement(50.0)] * 2
    more = resume(run.path, budget="1gflops", trials=5, quiet=True)
    assert more.record.objectives == ("accuracy", "latency_ms") and len(more.trials) == 5


def test_a_network_over_a_limit_of_memory_as_measured_leaves_the_front(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed, all keep the limit; as measured the one that takes most does not. A busy machine
    disturbs times and not memory, so nothing is measured again.
    """
    peaks = [replace(measurement(3.0, LOAD), peak_memory_bytes=peak) for peak in (4_000_000, 5_000_000, 7_000_000)]
    Clock(monkeypatch, *peaks)
    run = search(tmp_path / "run", trials=3, budget="6mb-inference", objectives="accuracy,inference-memory,params")
    assert run.front["peak_memory_bytes"].tolist() == [4e6, 5e6]
    assert (run.trials["inference_memory_bytes"] < 6e6).all()
    assert run.over["breaks"].tolist() == ["7.00 MB > 6 MB"]


def test_an_accuracy_that_is_asked_for_is_judged_on_what_was_trained(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is proposed and trained as without it; front and picks are of what reaches it."""
    Clock(monkeypatch, *[measurement(3.0)] * 3)
    free = search(tmp_path / "free", trials=3)
    accuracies = sorted(free.front["accuracy"])
    least = (accuracies[0] + accuracies[1]) / 2
    Clock(monkeypatch, *[measurement(3.0)] * 2)
    run = search(tmp_path / "run", trials=3, budget=f"20mflops,accuracy>={least:.6f}")
    assert run.record.objectives == ("accuracy", "macs")
    assert run.trials["hash"].tolist() == free.trials["hash"].tolist()
    assert sorted(run.front["accuracy"]) == accuracies[1:] and len(run.trials["latency_ms"].dropna()) == 2
    assert len(run.over) == 1 and run.over["breaks"].iloc[0].startswith("accuracy ")
    assert run.pick_trial() == free.pick_trial() and run.pick_trial("knee") in run.front["trial"].tolist()


def test_objectives_that_are_none_are_refused_at_once(tmp_path: Path, trainings: Trainings) -> None:
    with pytest.raises(nas.NasError, match=r"objective 'speed' is unknown; allowed: accuracy and one to three of macs"):
        search(tmp_path / "run", trials=1, objectives="accuracy,speed")
    assert not (tmp_path / "run").exists()


def test_what_was_measured_before_an_interruption_is_kept(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Measurement:
        if clock.answers:
            return clock.measured(*_)
        raise KeyboardInterrupt

    clock = Clock(monkeypatch, measurement(3.0))
    monkeypatch.setattr(measuring, "_measured", interrupted)
    with pytest.raises(Interrupted):
        search(tmp_path / "run", trials=3)
    clock.answers = [measurement(4.0), measurement(5.0)]
    run = resume(tmp_path / "run", quiet=True)
    assert run.front["latency_ms"].tolist() == [3.0, 4.0, 5.0] and len({macs for macs, _ in clock.taken}) == 3


def test_figures_of_one_machine_are_not_those_of_another(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, measurement(3.0), measurement(4.0))
    folder = search(tmp_path / "run", trials=2).path
    assert nas.Run(folder).record.device == device()
    trainings.interrupts = lambda phase: True
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(plan.Plan, "device_name", "another")
        with pytest.raises(Interrupted):
            resume(folder, trials=4, quiet=True)
        moved = nas.Run(folder)
        assert moved.record.device == "another" and moved.front.empty and moved.trials["latency_ms"].isna().all()
        assert not (folder / "best.yaml").exists()
    trainings.interrupts = lambda phase: False
    clock.answers = [measurement(5.0), measurement(6.0)]
    assert {3.0, 4.0} <= set(resume(folder, quiet=True).trials["latency_ms"])  # nothing is lost


def test_what_happens_is_told_as_events(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch, measurement(41.0, LOAD), measurement(20.0))
    events: list[Mapping[str, Any]] = []
    search(tmp_path / "run", trials=2, quiet=False, on_event=events.append)
    told = [event for event in events if event["event"] not in ("note", "busy")]
    assert [event["event"] for event in told] == ["plan", "trained", "trained", "measured", "measured"]
    assert told[0]["run"] == str(tmp_path / "run")
    assert [(event["trial"], event["done"], event["of"]) for event in told[1:3]] == [(0, 1, 2), (1, 2, 2)]
    assert (told[3]["latency_ms"], told[3]["flags"]) == (41.0, [LOAD])
    assert told[3]["text"].endswith(f"takes 41.0 ms, disturbed: {LOAD}")
    assert json.dumps(events) and capsys.readouterr().out == ""


def test_doubtful_data_is_told_and_refused_where_that_is_asked_for(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = "1 file of train and val in val only"
    doubtful = replace(plan.open_data("motion"), doubts=(doubt,))
    monkeypatch.setattr(plan, "open_data", lambda *_, **__: doubtful)
    events: list[Mapping[str, Any]] = []
    run = search(tmp_path / "run", trials=1, on_event=events.append)
    assert run.record.doubts == (doubt,)
    assert [event["text"] for event in events if event["event"] == "warning"] == [f"warning: {doubt}"]
    with pytest.raises(nas.NasError, match=f"is doubtful: {doubt}; allowed: data without, or a search without strict"):
        search(tmp_path / "strict", trials=1, strict=True)
    assert not (tmp_path / "strict").exists()


def test_a_clip_that_cannot_be_read_is_refused_where_that_is_asked_for(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (Unreadable("train", "a/1.mp4", "it is empty"),)
    monkeypatch.setattr(sequence.ProxyData, "unreadable", property(lambda _: broken))
    assert len(search(tmp_path / "run", trials=1).trials) == 1
    with pytest.raises(nas.NasError, match=r"1 clip of data 'motion' cannot be read, listed in .*unreadable\.csv"):
        search(tmp_path / "strict", trials=1, strict=True)
    assert read_unreadable(tmp_path / "strict") == broken
    assert len(search(tmp_path / "strict", trials=1).trials) == 1  # and no list is in the way of another try


def test_what_an_interruption_cuts_off_is_in_the_time_of_its_phase(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        trainings.now += 7
        raise KeyboardInterrupt

    monkeypatch.setattr(sequence, "measure_front", interrupted)
    with pytest.raises(Interrupted):
        search(tmp_path / "run", trials=1, confirm_seeds=1)
    phases = nas.Run(tmp_path / "run").record.phases_s
    assert {name: phases[name] for name in ("training", "confirming", "measuring")} == {
        "training": 20.0,
        "confirming": 20.0,
        "measuring": 7.0,
    }


def test_what_a_kill_cuts_off_is_in_the_time_up_to_the_last_note(
    tmp_path: Path, trainings: Trainings, measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, float]] = []

    def written(record: RunRecord, folder: Path) -> None:
        seen.append(record.phases_s)
        write_record(record, folder)

    monkeypatch.setattr(session, "write_record", written)
    taken: Any = QueueSearcher.on_trial_complete

    def complete(self: object, *given: Any, **named: Any) -> None:
        trainings.now += 3
        taken(self, *given, **named)

    monkeypatch.setattr(QueueSearcher, "on_trial_complete", complete)
    search(tmp_path / "run", trials=1, confirm_seeds=2)
    assert [phases["confirming"] for phases in seen if "confirming" in phases][:3] == [3.0, 6.0, 26.0]

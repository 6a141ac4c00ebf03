import csv
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from image_checkpoints import saved, vit_architecture
from image_networks import ViT
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

import nas.trained.train as module
from nas.architecture import Architecture
from nas.errors import Interrupted, NasError
from nas.locks import locked
from nas.models.convolution import lay_out_channels_last
from nas.trained.folder import load_model
from nas.trained.moment import Moment
from nas.trained.outcome import TEST, VALIDATION
from nas.trained.plan import Plan
from nas.trained.train import resume, train
from nas.training.workers import Workers

EXACT = ("epoch", "steps", "loss", "rate", "accuracy")  # of a row of the curve; the others are times


def silent(text: str) -> None:
    pass


def curve(folder: str | Path) -> list[tuple[str, ...]]:
    with (Path(folder) / "curves.csv").open() as file:
        return [tuple(row[name] for name in EXACT) for row in csv.DictReader(file)]


def full_curve(plan: Plan) -> list[dict[str, str]]:
    with (Path(plan.settings.out) / "curves.csv").open() as file:
        return list(csv.DictReader(file))


def killer(steps: int) -> Callable[[Moment], None]:
    """Breaks a training off after so many steps, without a word to it."""
    left = iter(range(steps - 1))

    def show(moment: Moment) -> None:
        if next(left, None) is None:
            raise RuntimeError("killed")

    return show


def test_a_training_leaves_the_best_and_the_last_network(plan: Callable[..., Plan]) -> None:
    made = plan(epochs=8)
    model = train(made, say=silent)
    folder = Path(made.settings.out)
    rows = curve(folder)
    assert [row[:2] for row in rows] == [(str(n), str(5 * n)) for n in range(1, 9)]
    best = max(rows, key=lambda row: float(row[4]))
    figures = model.record.figures
    assert figures[VALIDATION].value == float(best[4]) and figures[VALIDATION].clips == 10
    assert figures[TEST].clips == 6 and figures[TEST].value == 1
    assert model.record.provenance.epochs == float(best[0]) and model.classes == ("dark", "bright")
    last = load_model(folder / "last").record
    assert last.figures[VALIDATION].value == float(rows[-1][4]) and last.provenance.epochs == 8


def test_the_curve_is_in_an_event_file_too(plan: Callable[..., Plan]) -> None:
    made = plan()
    train(made, say=silent)
    (path,) = (Path(made.settings.out) / "tensorboard").iterdir()
    content, found = path.read_bytes(), []
    while content:  # length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        content = content[16 + length :]
    losses = [(step, value) for tag, step, value in found if tag == "loss"]
    assert losses == [(int(row[1]), pytest.approx(float(row[2]))) for row in curve(made.settings.out)]


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, Any]:
    """Settings of a training of joint filters in two stages, an epoch each."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "{epochs: 9, ema: 0.9, stages: [{size: 0.5, fixed: [spatial]}, {frames: 0.5, fixed: [temporal]}]}"
    )
    network = {
        "input": {"frames": 2, "size": 8},
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
        "stages": [{"width": 4, "layers": [{"op": "joint_filter"}]}],
        "head": {"op": "mean"},
    }
    return {"recipe": str(recipe), "architecture": Architecture.parse(network)}


@pytest.mark.parametrize(("steps", "staged"), [(1, False), (5, False), (13, False), (5, True), (8, True)])
def test_a_killed_training_goes_on_bit_for_bit(
    steps: int, staged: bool, stages: dict[str, Any], plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also twice, and where the state is older than the kill: one is written every second step."""
    alone, killed = (plan(name, **(stages if staged else {})) for name in ("alone", "killed"))
    train(alone, say=silent)
    calls = iter(range(1000))
    monkeypatch.setattr(module, "SAVE_SECONDS", -1)
    write = module.write_state
    monkeypatch.setattr(module, "write_state", lambda *args: next(calls) % 2 and write(*args))
    with pytest.raises(RuntimeError, match="killed"):
        train(killed, killer(steps), silent)
    torch.manual_seed(7)
    with pytest.raises(RuntimeError, match="killed"):
        resume(killed.settings.out, killer(2), silent)
    monkeypatch.setattr(module, "write_state", write)
    resume(killed.settings.out, say=silent)
    assert curve(killed.settings.out) == curve(alone.settings.out)
    for name in ("model.safetensors", "last/model.safetensors"):
        found, expected = (load_file(Path(each.settings.out) / name) for each in (killed, alone))
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_killed_training_goes_on_with_kernels_laid_out_as_a_gpu_wants_them(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, killed, where = plan("alone"), plan("killed"), list[torch.device]()

    def as_on_a_gpu(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        where.append(device)
        lay_out_channels_last(network)
        return network

    monkeypatch.setattr(module, "placed", as_on_a_gpu)
    monkeypatch.setattr(module, "SAVE_SECONDS", -1)
    train(alone, say=silent)
    with pytest.raises(RuntimeError, match="killed"):
        train(killed, killer(7), silent)
    resume(killed.settings.out, say=silent)
    assert where == [torch.device("cpu")] * 3 and curve(killed.settings.out) == curve(alone.settings.out)
    found, expected = (load_file(Path(each.settings.out) / "last/model.safetensors") for each in (killed, alone))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_ctrl_c_keeps_all_steps_and_says_how_to_go_on(plan: Callable[..., Plan]) -> None:
    alone, stopped = plan("alone"), plan("stopped")
    train(alone, say=silent)
    shown = iter(range(100))
    folder = stopped.settings.out

    def interrupt(moment: Moment) -> None:
        if next(shown) == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=f"stopped after 7 steps, which are kept; go on with .*--resume {folder}"):
        train(stopped, interrupt, silent)
    assert load_model(Path(folder) / "last").record.provenance.epochs == 7 / 5
    said: list[str] = []
    resume(folder, say=said.append)
    assert said[0] == "goes on after 7 steps" and curve(folder) == curve(alone.settings.out)


def test_workers_that_see_other_states_do_not_begin(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two finds the state of the second step, or none."""
    made = plan(epochs=None, time=60.0)
    folder = Path(made.settings.out)
    monkeypatch.setattr(module, "SAVE_SECONDS", -1)
    with pytest.raises(RuntimeError, match="killed"):
        train(made, killer(2), silent)

    @dataclass(frozen=True)
    class First(Workers):
        other: int = 0  # what the second one tells

        def gathered(self, value: torch.Tensor) -> list[torch.Tensor]:
            return [value, torch.tensor(self.other)]

        def agreed(self, value: float) -> float:
            raise AssertionError("nothing is laid out before")

    def begin(folder: Path, other: int) -> module.Session:
        return module.Session(made, folder, silent, First(0, 2, other))

    assert begin(folder, 2).training.steps_done == 2
    for seen, other, words in (
        (folder, 1, ("after 2 steps", "after 1 step")),
        (folder, -1, ("after 2 steps", "without a state")),
        (folder / "empty", 2, ("without a state", "after 2 steps")),
    ):
        message = (
            "worker 0 finds training '{}' {} and worker 1 {}; allowed: a folder on a disk that shows every machine"
        )
        with pytest.raises(NasError, match=message.format(seen, *words)):
            begin(seen, other)


def test_ctrl_c_within_an_epoch_of_small_clips_leaves_a_network_for_whole_ones(
    plan: Callable[..., Plan], stages: dict[str, Any]
) -> None:
    """The last network is the one whose statistics are those of whole clips, and the training goes
    on with its own, bit for bit.
    """
    alone, stopped = plan("alone", **stages), plan("stopped", **stages)
    train(alone, say=silent)
    folder, shown = Path(stopped.settings.out), iter(range(100))

    def interrupt(moment: Moment) -> None:
        if next(shown) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped after 2 steps"):
        train(stopped, interrupt, silent)
    session = module.Session(stopped, folder, silent)
    expected, left = session.training.settled().state_dict(), load_file(folder / "last" / "model.safetensors")
    assert all(torch.equal(left[name], expected[name]) for name in left)
    state = session.training.evaluated.state_dict()
    means = [name for name in left if name.endswith("running_mean")]
    assert means and not any(torch.equal(left[name], state[name]) for name in means)
    resume(folder, say=silent)
    assert curve(folder) == curve(alone.settings.out)
    for name in ("model.safetensors", "last/model.safetensors"):
        found, whole = (load_file(Path(each.settings.out) / name) for each in (stopped, alone))
        assert all(torch.equal(found[key], whole[key]) for key in whole)


def test_a_training_that_has_ended_is_not_trained_again(plan: Callable[..., Plan]) -> None:
    made = plan()
    train(made, say=silent)
    before, folder = curve(made.settings.out), Path(made.settings.out)
    resume(folder, show=killer(1), say=silent)
    assert curve(folder) == before
    assert all(TEST in load_model(each).record.figures for each in (folder, folder / "last"))


def test_patience_ends_a_training(plan: Callable[..., Plan]) -> None:
    made = plan(epochs=40, patience=2)
    said: list[str] = []
    train(made, say=said.append)
    rows = [float(row[4]) for row in curve(made.settings.out)]
    assert said[-1] == "ended: no better accuracy for 2 epochs"
    assert len(rows) < 40 and rows.index(max(rows)) == len(rows) - 3


def test_patience_waits_until_every_stage_has_had_its_turn(
    plan: Callable[..., Plan], stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No epoch is better than the first, the third would be the end, and the turn has two."""
    monkeypatch.setattr(module, "accuracy", lambda *_, **__: 0.5)
    made = plan(epochs=8, patience=2, **stages)
    train(made, say=silent)
    assert len(curve(made.settings.out)) == 4


def test_a_time_without_room_for_every_stage_is_refused(
    plan: Callable[..., Plan], stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 s two steps of each stage take 4; an epoch of each has 10 steps, and the first 5."""
    Clock(monkeypatch, 1, 1)
    with pytest.raises(NasError, match=r"time 8 s ends before every stage .* its turn; allowed: about 14 s and more"):
        train(plan("short", epochs=None, time=8.0, **stages), say=silent)
    Clock(monkeypatch, 1, 1)
    made = plan(epochs=None, time=14.0, **stages)
    train(made, say=silent)
    assert [row[1] for row in curve(made.settings.out)] == ["5", "10"]


def test_a_schedule_is_laid_out_to_end_with_the_time(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only steps (1 s, 2 s after the 20th) and evaluations (2 s) move. Four steps
    and one to warm up are timed first, beside an evaluation by a batch of all clips.
    """
    now, steps = [0.0], [0]
    step, evaluate = module.Training.step, module.accuracy

    def slow_step(training: module.Training) -> float | None:
        steps[0] += 1
        now[0] += 1 if steps[0] <= 20 else 2
        return step(training)

    def slow_accuracy(*arguments: Any, **named: Any) -> float:
        now[0] += 2
        return evaluate(*arguments, **named)

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.Training, "step", slow_step)
    monkeypatch.setattr(module, "accuracy", slow_accuracy)
    made = plan(time=100.0)
    said: list[str] = []
    train(made, say=said.append)
    # 93 s are left after 5 steps and an evaluation; five steps and an evaluation are 7 s.
    assert said[0].startswith("66 steps, 13.2 epochs: a step takes 1,000 ms and an evaluation 2.00 s")
    rows = curve(made.settings.out)
    assert 95 <= float(full_curve(made)[-1]["seconds"]) <= 110
    assert int(rows[-1][1]) < 60  # fewer, as steps became slower
    assert float(rows[-1][3]) < 0.05 * made.recipe.lr


def test_timing_steps_takes_little_of_a_short_time(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 5 s and an evaluation none: a tenth of 20 s is over with the first timed step,
    so 10 s are left, for two steps; four timed steps would have taken more than all.
    """
    now, step = [0.0], module.Training.step

    def slow_step(training: module.Training) -> float | None:
        now[0] += 5
        return step(training)

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.Training, "step", slow_step)
    said: list[str] = []
    train(plan(time=20.0), say=said.append)
    assert said[0].startswith("2 steps, 0.400 epochs: a step takes 5,000 ms")
    assert now[0] == 20


class Clock:
    """Only steps move it, and an evaluation not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, planned: float, real: float) -> None:
        """Steps take `planned` seconds while the schedule is laid out, `real` ones after that."""
        self.now, self.step = 0.0, planned
        step, lay_out = module.Training.step, module.Session._lay_out

        def slow(training: module.Training) -> float | None:
            self.now += self.step
            return step(training)

        def lay(session: module.Session) -> None:
            lay_out(session)
            self.step = real

        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module.Training, "step", slow)
        monkeypatch.setattr(module.Session, "_lay_out", lay)


def test_a_schedule_that_ends_before_its_time_ends_the_training(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 5 s two go to timing, and 3 are left: three steps, which take 1.5 s in the end."""
    Clock(monkeypatch, 1, 0.5)
    made = plan(epochs=None, time=5.0)
    said: list[str] = []
    train(made, say=said.append)
    assert [row[:2] for row in curve(made.settings.out)] == [("1", "3")]
    assert said[-1] == "ended: the schedule's end"


def test_time_that_ends_within_an_epoch_leaves_an_evaluated_network(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 61 s in place of 1 s: at the first look at the clock the time is over."""
    Clock(monkeypatch, 1, 61)
    made = plan(epochs=None, time=20.0)
    model = train(made, say=silent)
    rows = curve(made.settings.out)
    assert [row[:2] for row in rows] == [("1", "2")]
    assert model.record.figures[VALIDATION].value == float(rows[0][4])


def test_the_micro_batch_of_the_beginning_is_kept(plan: Callable[..., Plan]) -> None:
    """The one that a real step found, which may be smaller than the computed one."""
    made = replace(plan(), micro_batch=2)
    with pytest.raises(RuntimeError, match="killed"):
        train(made, killer(1), silent)
    assert module.planned(made.settings.out).micro_batch == 2


def test_a_training_that_cannot_begin_leaves_the_folder_to_the_next(plan: Callable[..., Plan]) -> None:
    with pytest.raises(NasError, match="no_vectors"):
        train(plan(classes="no_vectors.safetensors"), say=silent)
    train(plan(epochs=1), say=silent)


def test_a_folder_has_one_training_and_one_writer(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made = plan()
    train(made, say=silent)
    with pytest.raises(NasError, match="has a training already; allowed: --resume, or another folder"):
        train(made)
    with locked(Path(made.settings.out)), pytest.raises(NasError, match="is being written by"):
        resume(made.settings.out)
    with pytest.raises(NasError, match="has no training; allowed: one that `nas train` wrote"):
        resume(tmp_path / "nothing")


def test_a_trained_network_is_where_another_begins(plan: Callable[..., Plan]) -> None:
    first = plan("first")
    train(first, say=silent)
    said: list[str] = []
    second = plan("second", init=first.settings.out, epochs=1)
    train(second, say=said.append)
    assert "from a checkpoint of nas" in second.describe()
    assert "new: 0" in said[0] and float(curve(second.settings.out)[0][4]) >= 0.5


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            torch.OutOfMemoryError("full"),
            "a step of 8 clips does not fit into the memory of cpu; allowed: --batch auto",
        ),
        (math.nan, "loss nan of epoch 0 is no finite number; allowed: a recipe with a lower learning rate"),
    ],
)
def test_a_step_that_fails_is_told(
    failure: Exception | float, message: str, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(training: module.Training) -> float:
        if isinstance(failure, Exception):
            raise failure
        return failure

    monkeypatch.setattr(module.Training, "step", fail)
    with pytest.raises(NasError, match=message):
        train(plan(), say=silent)


def test_image_weights_begin_a_training_and_what_they_lack_learns_faster(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """T2D over a small ViT: the recipe's factor of 10 is on the rates of the temporal branches, of
    the stem's norm, which this ViT lacks, and of the head.
    """
    init = saved(ViT(), "vit timm", tmp_path)
    video = vit_architecture({"op": "t2d"}, {}, "mean")
    made = plan(init=str(init), epochs=1, source=("vit", None, None), architecture=video, resize=None)
    assert "from image weights" in made.describe() and made.recipe.new_lr == 10
    session = module.Session(made, tmp_path / "out", silent)
    rates = {
        name: group["lr"] / made.recipe.lr
        for group in session.training.optimizer.param_groups
        for name, parameter in session.model.named_parameters()
        if any(parameter is member for member in group["params"])
    }
    fast = {name for name, factor in rates.items() if factor == 10}
    assert set(rates.values()) == {1, 10} and fast == set(session.new) | {
        n for n in rates if n.startswith("parts.head")
    }
    assert any("alpha" in name for name in fast) and not any(name.endswith("stem.conv.weight") for name in fast)

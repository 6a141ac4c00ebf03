"""Published networks beside the pick: their size, their trainings, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.architecture import load
from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.runs.folder.baselines import BASELINES, FOLDER, append_training, read_baselines, read_trainings
from nas.runs.settings import Settings
from nas.runs.stages.baseline_trainings import Baseline, cut_to, training_of, trainings
from nas.runs.stages.confirm import OVERHEAD
from nas.trials.answers import AnswerBook
from nas.trials.results import Report

LIKE = load("x3d_xs").resized(8, 64, 12)


def baseline(name: str) -> Baseline:
    return Baseline(name, load(name), 10, 20, 0.5)


def test_they_are_as_large_as_the_pick_with_its_clips_and_classes() -> None:
    (cut,), left_out = cut_to(20e6, ["x3d_xs"], LIKE, (4, (32, 32)))
    assert left_out == {}
    assert cut.architecture.input == LIKE.input
    assert cut.architecture.num_classes == 12
    assert 0.75 * 20e6 < cut.macs <= 20e6
    assert (cut.macs, cut.params) == (cost(cut.architecture).macs, cost(cut.architecture).params)
    assert cut.share == cut.params / cost(LIKE).params < 1


def test_what_cannot_be_so_small_or_take_the_clips_is_left_out_with_the_reason() -> None:
    found, left_out = cut_to(1.0, ["x3d_xs", "timesformer_b"], LIKE, (8, (36, 36)))
    assert found == []
    assert left_out["x3d_xs"] == "its smallest cut has more multiply-adds"
    assert "does not divide the input's height 36" in left_out["timesformer_b"]


def test_first_seeds_come_before_second_ones_and_what_is_done_is_left_out() -> None:
    both = [baseline("x3d_xs"), baseline("x3d_s")]
    queue = trainings(both, 2, 7, 10.0)
    assert [(each.label, each.seed) for each in queue] == [
        ("x3d_xs seed 1", 500_007),
        ("x3d_s seed 1", 500_007),
        ("x3d_xs seed 2", 500_008),
        ("x3d_s seed 2", 500_008),
    ]
    assert {each.seconds for each in queue} == {10 * OVERHEAD}
    left = trainings(both, 2, 7, 10.0, {(both[0].architecture.hash, 0), (both[1].architecture.hash, 1)})
    assert [each.label for each in left] == ["x3d_s seed 1", "x3d_xs seed 2"]


def written(folder: Path, pick: str, *accuracies: float, name: str = "x3d_xs", first: int = 0) -> None:
    """Trainings of a baseline that was cut to a pick, with four validation clips each."""
    (folder / FOLDER).mkdir(exist_ok=True)
    for number, (planned, accuracy) in enumerate(
        zip(trainings([baseline(name)], len(accuracies), 0, 1.0), accuracies, strict=True), first
    ):
        report = Report(curve=(accuracy,), test_accuracy=0.25, epochs=1, seconds=1.0)
        called = [int(clip < 4 * accuracy) for clip in range(4)]
        AnswerBook(folder / FOLDER, {"val": [1] * 4}).add(number, planned.repeat, {"val": called})
        append_training(folder, training_of(planned, report, number, pick))


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert read_trainings(tmp_path) == [] == read_baselines(tmp_path, "a")
    (first, second) = trainings([baseline("x3d_xs")], 2, 0, 1.0)
    kept = [
        training_of(first, Report(curve=(0.5, 0.75), test_accuracy=0.5, epochs=6, seconds=20.0), 0, "a"),
        training_of(second, Report(curve=(0.25,), epochs=6, seconds=21.0), 1, "a"),
    ]
    for training in kept:
        append_training(tmp_path, training)
    assert read_trainings(tmp_path) == kept
    assert (kept[0].name, kept[0].hash, kept[0].accuracy) == ("x3d_xs", load("x3d_xs").hash, 0.75)
    assert kept[1] == replace(kept[1], test_accuracy=None, repeat=1, seed=500_001)


def test_a_spoiled_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "a", 0.5)
    path = tmp_path / BASELINES
    path.write_text(path.read_text().replace(",0.5,", ",half,"))
    with pytest.raises(NasError, match=r"baselines.csv' has a row whose accuracy is not allowed"):
        read_trainings(tmp_path)


def test_results_are_means_over_seeds_of_what_was_cut_to_the_pick(tmp_path: Path) -> None:
    """Of .5 and .75 the mean is .625, and its error .125."""
    written(tmp_path, "a", 0.25)
    written(tmp_path, "b", 0.5, 0.75, first=1)
    (result,) = read_baselines(tmp_path, "b")
    assert (result.name, result.seeds) == ("x3d_xs", 2)
    assert (result.accuracy, result.accuracy_se) == pytest.approx((0.625, 0.125))
    assert (result.test_accuracy, result.test_accuracy_se) == (0.25, 0.0)
    assert [each.right("val").sum() for each in result.answers] == [2, 3]
    assert read_baselines(tmp_path, "a")[0].accuracy == 0.25
    assert read_baselines(tmp_path, "c") == []


def test_answers_that_give_another_accuracy_are_left_out(tmp_path: Path) -> None:
    written(tmp_path, "a", 0.5)
    path = tmp_path / BASELINES
    path.write_text(path.read_text().replace(",0.5,", ",0.75,"))
    assert read_baselines(tmp_path, "a")[0].answers == ()


def test_names_are_checked_before_anything_begins() -> None:
    assert Settings().baseline_names == ("x3d_m", "r2plus1d_18", "vov3d_m", "pst_t")
    assert Settings.of(baselines="x3d_s, pst_t").baseline_names == ("x3d_s", "pst_t")
    assert Settings.of(confirm_seeds=0).baseline_names == ()
    with pytest.raises(nas.NasError, match="baseline 'x3d' is unknown; allowed: none, or davit_t, "):
        Settings.of(baselines="x3d")
    with pytest.raises(nas.NasError, match="baselines 'x3d_s' with init are not allowed"):
        Settings.of(baselines="x3d_s", init="weights.safetensors")

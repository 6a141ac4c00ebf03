"""Published networks beside the pick: their size, their trainings, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.architecture import load
from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.runs.baseline_trainings import Baseline, cut_to, training_of, trainings
from nas.runs.baselines import BASELINES, append_training, read_baselines, read_trainings
from nas.runs.confirm import OVERHEAD
from nas.runs.settings import Settings
from nas.trials.results import Report

LIKE = load("x3d_xs").resized(8, 64, 12)


def baseline(name: str) -> Baseline:
    return Baseline(name, load(name), 10, 20, 0.5)


def test_they_are_as_large_as_the_pick_with_its_clips_and_classes() -> None:
    (cut,) = cut_to(20e6, ["x3d_xs"], LIKE)
    assert cut.architecture.input == LIKE.input
    assert cut.architecture.num_classes == 12
    assert 0.75 * 20e6 < cut.macs <= 20e6
    assert (cut.macs, cut.params) == (cost(cut.architecture).macs, cost(cut.architecture).params)
    assert cut.share == cut.params / cost(LIKE).params < 1


def test_what_cannot_be_so_small_is_left_out() -> None:
    assert cut_to(1.0, ["x3d_xs"], LIKE) == []


def test_first_seeds_come_before_second_ones_and_what_is_done_is_left_out() -> None:
    both = [baseline("x3d_xs"), baseline("x3d_s")]
    queue = trainings(both, 2, 7, 10.0)
    assert [(each.label, each.seed) for each in queue] == [
        ("x3d_xs seed 1", 500_007),
        ("x3d_s seed 1", 500_008),
        ("x3d_xs seed 2", 500_009),
        ("x3d_s seed 2", 500_010),
    ]
    assert {each.seconds for each in queue} == {10 * OVERHEAD}
    left = trainings(both, 2, 7, 10.0, {(both[0].architecture.hash, 0), (both[1].architecture.hash, 1)})
    assert [(each.label, each.seed) for each in left] == [("x3d_s seed 1", 500_008), ("x3d_xs seed 2", 500_009)]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert read_trainings(tmp_path) == []
    (first, second) = trainings([baseline("x3d_xs")], 2, 0, 1.0)
    kept = [
        training_of(first, Report(curve=(0.5, 0.75), test_accuracy=0.5, epochs=6, seconds=20.0)),
        training_of(second, Report(curve=(0.25,), epochs=6, seconds=21.0)),
    ]
    for training in kept:
        append_training(tmp_path, training)
    assert read_trainings(tmp_path) == kept
    assert (kept[0].name, kept[0].hash, kept[0].accuracy) == ("x3d_xs", load("x3d_xs").hash, 0.75)
    assert kept[1] == replace(kept[1], test_accuracy=None, repeat=1, seed=500_001)


def test_a_spoiled_file_is_refused(tmp_path: Path) -> None:
    (planned,) = trainings([baseline("x3d_xs")], 1, 0, 1.0)
    append_training(tmp_path, training_of(planned, Report(curve=(0.5,), epochs=1, seconds=1.0)))
    path = tmp_path / BASELINES
    path.write_text(path.read_text().replace("0.5", "half"))
    with pytest.raises(NasError, match=r"baselines.csv' has a row whose accuracy is not allowed"):
        read_trainings(tmp_path)


def test_names_are_checked_before_anything_begins() -> None:
    assert Settings().baseline_names == ("x3d_m", "r2plus1d_18", "vov3d_m", "timesformer_b")
    assert Settings.of(baselines="x3d_s, pst_t").baseline_names == ("x3d_s", "pst_t")
    assert Settings.of(confirm_seeds=0).baseline_names == ()
    with pytest.raises(nas.NasError, match="baseline 'x3d' is unknown; allowed: none, or davit_t, "):
        Settings.of(baselines="x3d")
    with pytest.raises(nas.NasError, match="baselines 'x3d_s' with init are not allowed"):
        Settings.of(baselines="x3d_s", init="weights.safetensors")


def test_results_are_means_over_seeds_of_the_last_cut(tmp_path: Path) -> None:
    """Of .5 and .7 the mean is .6 and its error .1; what was cut to an earlier pick is left out."""
    for name, accuracies in (("x3d_s", (0.9,)), ("x3d_xs", (0.5, 0.7))):
        planned = trainings([replace(baseline("x3d_xs"), architecture=load(name))], 2, 0, 1.0)
        for each, accuracy in zip(planned, accuracies, strict=False):
            append_training(tmp_path, training_of(each, Report(curve=(accuracy,), test_accuracy=0.25, epochs=1)))
    (result,) = read_baselines(tmp_path)
    assert (result.name, result.seeds, result.answers) == ("x3d_xs", 2, ())
    assert (result.accuracy, result.accuracy_se) == pytest.approx((0.6, 0.1))
    assert (result.test_accuracy, result.test_accuracy_se) == (0.25, 0.0)

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.trained.scores import Scores, Share, calibration_error, confusion_matrix, in_top, standard_error

CLASSES = ("a", "b", "c")
# Five clips of three classes; the third and the last are wrong.
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.75, 0.05], [0.35, 0.4, 0.25]])
LABELS = np.array([0, 1, 1, 1, 0])


def test_standard_error() -> None:
    assert standard_error(0.5, 100) == pytest.approx(0.05)
    assert math.isnan(standard_error(0.5, math.nan))


def test_share_and_its_standard_error() -> None:
    """3 of 4: sqrt(0.75 * 0.25 / 4)."""
    share = Share.of(np.array([True, True, False, True]))
    assert share and (share.value, share.clips) == (0.75, 4)
    assert share.standard_error == pytest.approx(0.21650635, abs=1e-8)
    assert Share.of_value(0.75, 4) == share
    assert str(share) == "75.0 ± 21.7 %"
    assert str(Share.of(np.array([True, True]))) == "100 % of 2"
    assert Share.of(np.array([], bool)) is None


def test_confusion_has_classes_in_rows_and_answers_in_columns() -> None:
    matrix = confusion_matrix(LABELS, PROBABILITIES.argmax(1), 3)
    assert matrix.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]


def test_calibration_error_of_a_small_table() -> None:
    """Bins of 1/15: .7 in bin 11, .8 and .75 in bin 12, .6 in bin 9, .4 in bin 6: gaps .3, .2 and
    .25 together, .6, .4, over five clips.
    """
    assert calibration_error(PROBABILITIES, LABELS) == pytest.approx((0.3 + (0.2 + 0.25) + 0.6 + 0.4) / 5)


def test_calibration_error_sums_within_a_bin_before_it_takes_the_absolute_value() -> None:
    """Two bins: confidences .6 (right) and .8 (wrong) share the upper one: |1 - 1.4| / 2."""
    probabilities = np.array([[0.6, 0.4], [0.8, 0.2]])
    assert calibration_error(probabilities, np.array([0, 1]), bins=2) == pytest.approx(0.2)


def test_calibration_error_of_a_confidence_on_a_bin_s_edge() -> None:
    """1 of 2 belongs to the lower of two bins: .5 (wrong) and .7 (right) do not share one."""
    probabilities = np.array([[0.5, 0.5], [0.7, 0.3]])
    assert calibration_error(probabilities, np.array([1, 0]), bins=2) == pytest.approx((0.5 + 0.3) / 2)


def test_certain_and_right_is_calibrated() -> None:
    assert calibration_error(np.eye(3), np.arange(3)) == 0


def test_top_counts_the_first_of_equal_classes() -> None:
    probabilities = np.array([[0.4, 0.4, 0.2]] * 3)
    assert in_top(probabilities, np.arange(3), 1).tolist() == [True, False, False]
    assert in_top(probabilities, np.arange(3), 2).tolist() == [True, True, False]


def test_scores() -> None:
    scores = Scores.of(PROBABILITIES, LABELS, CLASSES)
    assert scores.top1.value == pytest.approx(3 / 5)
    assert scores.top5 is None  # of three classes it says nothing
    assert scores.class_mean == pytest.approx((1 / 2 + 2 / 3) / 2)
    a, b, c = scores.per_class
    assert a.accuracy and (a.accuracy.value, a.accuracy.clips, a.mistaken_for) == (0.5, 2, "b")
    assert a.accuracy.standard_error == pytest.approx((0.25 / 2) ** 0.5)
    assert b.accuracy and b.precision and (b.accuracy.value, b.precision.value) == pytest.approx((2 / 3, 2 / 3))
    assert (c.accuracy, c.precision, c.mistaken_for) == (None, None, None)


def test_top_five_of_six_classes() -> None:
    probabilities = np.tile([0.3, 0.25, 0.2, 0.15, 0.06, 0.04], (2, 1))
    scores = Scores.of(probabilities, np.array([4, 5]), tuple("abcdef"))
    assert (scores.top1.value, scores.top5 and scores.top5.value) == (0, 0.5)

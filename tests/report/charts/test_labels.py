from __future__ import annotations

from nas.report.charts.labels import Box, label_box, overlap


def test_a_label_stands_beside_its_dot() -> None:
    assert label_box((100, 50), "top right", "knee") == Box(106, 56, 134, 72)
    assert label_box((100, 50), "bottom left", "knee") == Box(66, 28, 94, 44)


def test_labels_that_touch_do_not_overlap() -> None:
    one = Box(0, 0, 10, 10)
    assert overlap(one, Box(9, 9, 20, 20)) and overlap(Box(2, 2, 3, 3), one)
    assert not overlap(one, Box(10, 0, 20, 10)) and not overlap(one, Box(0, 10, 10, 20))

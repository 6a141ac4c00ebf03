from __future__ import annotations

from nas.report.charts.chart import Place
from nas.report.charts.labels import Box, Drawing, best_place, label_box, overlap, rule_box


def test_a_label_stands_beside_its_dot() -> None:
    assert label_box((100, 50), "top right", "knee") == Box(106, 56, 134, 72)
    assert label_box((100, 50), "bottom left", "knee") == Box(66, 28, 94, 44)


def test_the_text_of_a_line_stands_beside_it() -> None:
    boxes = [rule_box(100, (-20, 196), share, "budget") for share in (0, 0.5, 1)]
    assert boxes == [Box(52, -20, 94, -4), Box(52, 80, 94, 96), Box(52, 180, 94, 196)]
    assert rule_box(100, (-20, 196), 0, "budget", right=True) == Box(106, -20, 148, -4)


def test_the_pixels_that_two_boxes_share() -> None:
    one = Box(0, 0, 10, 10)
    assert overlap(one, Box(9, 8, 20, 20)) == 2 and overlap(Box(2, 2, 3, 3), one) == 1
    assert overlap(one, Box(10, 0, 20, 10)) == 0 and overlap(one, Box(0, 10, 10, 20)) == 0


def test_a_label_goes_where_it_covers_least() -> None:
    plot = Box(0, 0, 340, 220)
    first: Place = "bottom right"

    def place(*marks: Box, x: float = 100) -> str:
        return best_place("knee", first, [Drawing((x, 100), plot, marks)])

    dot = Box(110, 80, 118, 88)  # within the label at the bottom right, which is from 106, 78 to 134, 94
    assert place() == first
    assert place(dot) == "top left"
    assert place(dot, Box(70, 110, 90, 111)) == "bottom left"
    everywhere = [dot, Box(70, 110, 90, 120), Box(70, 80, 90, 90), Box(110, 110, 113, 113)]
    assert place(*everywhere) == "top right"  # covers 9 pixels and not 64
    assert place(x=330) == "top left"  # beyond the right end there are tick labels of another chart


def test_a_label_at_the_left_end_stays_in_the_plot() -> None:
    dot = Box(12, 80, 20, 88)
    assert best_place("memory", "bottom right", [Drawing((5, 100), Box(0, 0, 340, 220), [dot])]) == "top right"


def test_a_label_is_free_in_all_sizes_if_it_can_be() -> None:
    desk = Drawing((100, 100), Box(0, 0, 340, 220), [Box(70, 110, 90, 120)])
    phone = Drawing((60, 80), Box(0, 0, 200, 180), [Box(70, 60, 80, 70)])
    assert best_place("knee", "bottom right", [desk]) == "bottom right"
    assert best_place("knee", "bottom right", [phone]) == "top left"
    assert best_place("knee", "bottom right", [desk, phone]) == "bottom left"

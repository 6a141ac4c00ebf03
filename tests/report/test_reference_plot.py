from __future__ import annotations

from nas.report.reference_plot import family_colours


def test_families_have_a_colour_and_the_single_are_grey() -> None:
    colours = family_colours(["x3d_s", "r3d_18", "vivit_b", "x3d_m", "vivit_l", "x3d_l"])
    assert colours[0] == colours[3] == colours[5] == "#0072B2"
    assert colours[2] == colours[4] == "#D55E00"
    assert colours[1] == "#8C8C8C"

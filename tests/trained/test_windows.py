from __future__ import annotations

from collections.abc import Iterator

import pytest

from nas.errors import NasError
from nas.trained.windows import Window, sample_times, slide


def numbered(count: int, rate: float = 10.0, first: float = 0.0) -> Iterator[tuple[float, int]]:
    """Frame i is the number i, shown from first + i / rate."""
    return ((first + i / rate, i) for i in range(count))


def places(windows: Iterator[Window[int]]) -> list[tuple[float, float]]:
    return [(round(each.start, 6), round(each.end, 6)) for each in windows]


def test_times_are_the_middles_of_equal_parts() -> None:
    assert sample_times(3, 2, 4, None) == pytest.approx([3.25, 3.75, 4.25, 4.75])


def test_times_at_a_distance_lie_in_the_middle() -> None:
    assert sample_times(3, 2, 4, 0.5) == pytest.approx([3.25, 3.75, 4.25, 4.75])
    assert sample_times(3, 2, 2, 0.4) == pytest.approx([3.8, 4.2])


def test_a_distance_that_does_not_fit_falls_back_to_equal_parts() -> None:
    assert sample_times(0, 1, 2, 3.0) == pytest.approx([0.25, 0.75])


def test_windows_of_a_video_that_they_divide() -> None:
    """4 s at 10 frames per second; windows of 2 s, one every second."""
    windows = list(slide(numbered(40), 2, 1, 4))
    assert [(each.start, each.end) for each in windows] == [(0, 2), (1, 3), (2, 4)]
    assert [each.pictures for each in windows] == [(2, 7, 12, 17), (12, 17, 22, 27), (22, 27, 32, 37)]


def test_the_last_window_ends_with_the_video() -> None:
    assert places(slide(numbered(47), 2, 1.5, 4)) == [(0, 2), (1.5, 3.5), (2.7, 4.7)]


def test_a_short_video_is_one_window() -> None:
    (window,) = slide(numbered(8), 2, 1, 4)
    assert (window.start, round(window.end, 6), window.pictures) == (0, 0.8, (1, 3, 5, 7))


def test_one_frame_and_none() -> None:
    (window,) = slide(numbered(1), 2, 1, 3)
    assert (window.start, window.end, window.pictures) == (0, 0, (0, 0, 0))
    assert list(slide(numbered(0), 2, 1, 3)) == []


def test_steps_longer_than_windows_leave_out_what_lies_between() -> None:
    windows = list(slide(numbered(50), 1, 2, 2))
    assert [(each.start, each.end) for each in windows] == [(0, 1), (2, 3), (4, 5)]
    assert [each.pictures for each in windows] == [(2, 7), (22, 27), (42, 47)]


def test_times_count_from_the_first_frame() -> None:
    assert places(slide(numbered(40, first=123.4), 2, 1, 4)) == [(0, 2), (1, 3), (2, 4)]


def test_a_variable_frame_rate_goes_by_time() -> None:
    """Frames 0 to 3 at once, then one that stays for 1 s: at each time the one that is shown."""
    frames = [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3), (1.3, 4)]
    (window,) = slide(iter(frames), 2.3, 1, 4)
    assert window.pictures == (2, 3, 4, 4)  # at .2875, .8625, 1.4375, 2.0125 of 2.3 s
    windows = list(slide(iter(frames), 1.0, 1.0, 2))
    assert windows[0].pictures == (2, 3)


def test_times_that_a_container_rounds_to_milliseconds_show_the_same_frames() -> None:
    """16 frames a second: at 62.5 ms, which such a file calls 63, frame 1 is shown."""
    exact = [each.pictures for each in slide(numbered(32, 16.0), 1, 0.5, 8)]
    rounded = ((round(time, 3), i) for time, i in numbered(32, 16.0))
    assert exact[0] == (1, 3, 5, 7, 9, 11, 13, 15)
    assert [each.pictures for each in slide(rounded, 1, 0.5, 8)] == exact


def test_windows_come_while_the_video_does() -> None:
    came = []

    def frames() -> Iterator[tuple[float, int]]:
        for time, i in numbered(40):
            came.append(i)
            yield time, i

    next(slide(frames(), 2, 1, 4))
    assert came[-1] == 20


def test_what_no_window_needs_is_let_go() -> None:
    """Of an endless video only a window's frames are kept."""
    import weakref

    class Frame:
        pass

    alive: weakref.WeakSet[Frame] = weakref.WeakSet()

    def frames() -> Iterator[tuple[float, Frame]]:
        for i in range(1000):
            frame = Frame()
            alive.add(frame)
            yield i / 10, frame

    most = max(len(alive) for _ in slide(frames(), 2, 1, 4))
    assert most < 40


@pytest.mark.parametrize(("length", "step"), [(0, 1), (1, 0), (-1, 1), (1, float("inf"))])
def test_lengths_and_steps_are_above_zero(length: float, step: float) -> None:
    with pytest.raises(NasError, match="allowed: seconds above zero"):
        list(slide(numbered(3), length, step, 2))

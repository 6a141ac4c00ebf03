import pytest

from nas.units import COLUMNS, Unit, duration, magnitude, quantity, whole


@pytest.mark.parametrize(
    ("total", "base", "head", "texts"),
    [
        (9_306_900_000, "", "x (G)", {9_306_900_000: "9.3069", 833_000: "0.0008", 30_000: "<0.0001", 0: "0"}),
        (17_640_000_000_000, "", "x (G)", {17_640_000_000_000: "17640.0000"}),
        (2_500_000, "B", "x (MB)", {2_500_000: "2.5000", 480: "0.0005"}),
        (1000, "B", "x (kB)", {1000: "1.0000", 96: "0.0960"}),
        (999, "B", "x (B)", {999: "999", 1: "1", 0: "0"}),
        (96, "", "x", {96: "96"}),
        (0, "", "x", {0: "0"}),
    ],
)
def test_a_column_has_the_unit_of_its_total(total: int, base: str, head: str, texts: dict[int, str]) -> None:
    unit = Unit.of(total, base)
    assert unit.head("x") == head
    assert {value: unit.text(value) for value in texts} == texts


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-12", -12), ("007", 7), ("", None), ("-", None), ("1.5", None), ("x", None), ("9" * 5000, None)],
)
def test_whole_numbers(text: str, value: int | None) -> None:
    assert whole(text) == value


def test_a_figure_on_its_own_has_its_own_unit() -> None:
    shown = [quantity(value, "B") for value in (0, 96, 16_990_123, 2_837_000_000, 17_640_000_000_000)]
    assert shown == ["0 B", "96 B", "16.99 MB", "2.837 GB", "17640 GB"]
    assert [quantity(value) for value in (5, 1500)] == ["5", "1.5 k"]


def test_every_column_is_a_figure_of_a_cost() -> None:
    import nas

    figures = nas.cost(nas.load("x3d_xs"))
    for column in COLUMNS:
        assert column.unit(figures).power in (6, 9) and hasattr(figures.layers[0], column.name)


def test_a_count_of_any_size_is_printed() -> None:
    assert (magnitude(12), magnitude(2_400_000), magnitude(7 * 10**5000)) == ("12", "2.4e+06", "1e+5000")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (59.6, "60 s"), (312, "5 min 12 s"), (7265, "2 h 1 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text

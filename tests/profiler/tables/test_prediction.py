from __future__ import annotations

import math

import numpy as np
import pytest

from nas.profiler.tables.prediction import UNFITTED, Encoding, LayerRegression, Overhead, ProcessWithTrend


def test_encoding_has_a_column_per_number_that_varies_and_per_label() -> None:
    numbers = np.array([[10.0, 7.0], [100.0, 7.0]])
    encode = Encoding(numbers, [{"heads": "2", "variant": "a"}, {"heads": "4", "variant": "b"}])
    # The first number, heads, and a mark for each of two labels; two values standardise to -1 and
    # 1.
    features = encode(numbers, [{"heads": "2", "variant": "a"}, {"heads": "4", "variant": "b"}])
    assert features == pytest.approx(np.array([[-1, -1, 1, -1], [1, 1, -1, 1]]))


def test_encoding_of_an_unknown_label_is_that_of_none() -> None:
    numbers = np.array([[10.0], [100.0]])
    encode = Encoding(numbers, [{"variant": "a"}, {"variant": "b"}])
    assert encode(numbers[:1], [{"variant": "c"}])[0, 1:] == pytest.approx([-1, -1])


@pytest.mark.parametrize("option", [{"heads": "null"}, {"heads": "inf"}, {"heads": "-1"}, {}])
def test_option_that_is_a_number_elsewhere_and_none_here_counts_as_the_mean(option: dict[str, str]) -> None:
    numbers = np.array([[10.0], [10.0], [10.0]])
    encode = Encoding(numbers, [{"heads": "2"}, {"heads": "4"}, {"heads": "8"}])
    assert encode(numbers[:1], [option]).tolist() == [[0.0]]
    regression = LayerRegression(np.array([[10.0], [20.0], [30.0]]), [{"heads": n} for n in "248"], [1.0, 2.0, 3.0])
    ms, deviation = regression.predict(np.array([[20.0]]), [option])
    assert 0 < ms[0] < 10 and deviation[0] > 0


def test_encoding_leaves_out_an_option_of_too_many_labels() -> None:
    numbers = np.arange(20.0)[:, None]
    encode = Encoding(numbers, [{"tubes": f"[{i}]"} for i in range(20)])
    assert encode(numbers, [{}] * 20).shape == (20, 1)


def test_process_follows_a_line_and_knows_less_far_away() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    process = ProcessWithTrend(x, 3 + 2 * x[:, 0])
    mean, deviation = process.predict(np.array([[0.33], [4.0]]))
    assert mean[0] == pytest.approx(3.66, abs=0.02)
    assert deviation[1] > deviation[0] > 0


def test_process_follows_a_curve_that_no_line_does() -> None:
    x = np.linspace(-2, 2, 60)[:, None]
    mean, _ = ProcessWithTrend(x, np.sin(2 * x[:, 0])).predict(np.array([[0.5], [-1.1]]))
    assert mean == pytest.approx([math.sin(1), math.sin(-2.2)], abs=0.02)


def test_deviation_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (300, 1))
    process = ProcessWithTrend(x, x[:, 0] + rng.normal(0, 0.2, 300))
    assert process.predict(np.array([[0.0]]))[1][0] == pytest.approx(0.2, rel=0.15)


def test_layers_of_power_laws_are_interpolated() -> None:
    rng = np.random.default_rng(0)
    macs = np.exp(rng.uniform(10, 20, 80))
    options = [{"variant": "ab"[i % 2]} for i in range(80)]
    ms = [m**0.8 * (2 if option["variant"] == "b" else 1) for m, option in zip(macs, options, strict=True)]
    regression = LayerRegression(macs[:, None], options, ms, most=50)
    predicted, _ = regression.predict(np.array([[1e6], [1e6]]), [{"variant": "a"}, {"variant": "b"}])
    assert predicted == pytest.approx([1e6**0.8, 2 * 1e6**0.8], rel=0.03)


def test_regression_from_equal_layers_gives_their_time() -> None:
    regression = LayerRegression(np.ones((3, 2)), [{}] * 3, [2.0, 2.0, 2.0])
    assert regression.predict(np.ones((1, 2)), [{}])[0] == pytest.approx([2.0])


def test_overhead_is_recovered_in_spite_of_a_disturbed_network() -> None:
    sums = [10.0, 20.0, 30.0, 40.0, 50.0]
    measured = [3 + 1.1 * s for s in sums]
    measured[2] *= 5
    overhead = Overhead.fit(sums, measured)
    assert (overhead.fixed, overhead.scale) == pytest.approx((3, 1.1), rel=1e-2)


def test_overhead_below_zero_is_refused() -> None:
    overhead = Overhead.fit([10.0, 20.0, 30.0], [5.0, 20.0, 35.0])  # -10 + 1.5 x
    assert (overhead.fixed, overhead.scale) == (0.0, 1.0)  # the median of .5, 1 and 1.17


def test_two_networks_fit_nothing() -> None:
    assert Overhead.fit([1.0, 2.0], [5.0, 7.0]) == Overhead(0.0, 1.0, UNFITTED)


def test_spread_is_the_conformal_quantile() -> None:
    # Nine networks: ceil(10 x .9) = 9, so the largest residual; the scale is 1 because seven
    # networks say so.
    sums = [float(n) for n in range(1, 10)]
    measured = [s * factor for s, factor in zip(sums, [1, 1, 1, 1.2, 1, 1 / 1.1, 1, 1, 1], strict=True)]
    overhead = Overhead.fit(sums, measured)
    assert overhead.scale == pytest.approx(1, abs=0.01)
    assert overhead.spread == pytest.approx(math.log(1.2), abs=0.01)


def test_spread_is_of_networks_that_the_fit_leaves_out() -> None:
    """A line through (1, 1), eight times, and (10, 20) meets all nine. Without the last one, the
    least solution is 0.5 + 0.5 x, which says 5.5 at 10.
    """
    overhead = Overhead.fit([1.0] * 8 + [10.0], [1.0] * 8 + [20.0])
    assert overhead.spread == pytest.approx(math.log(20 / 5.5), rel=1e-3)


def test_prediction_adds_layers_and_says_how_many_were_measured() -> None:
    prediction = Overhead(2.0, 1.5, 0.1).predict([1.0, 3.0], [0.0, 0.0])
    assert (prediction.ms, prediction.covered) == (8.0, 1.0)
    assert (prediction.low, prediction.high) == pytest.approx((8 * math.exp(-0.1), 8 * math.exp(0.1)))


def test_interval_is_wider_where_a_layer_was_not_measured() -> None:
    prediction = Overhead(2.0, 1.5, 0.1).predict([1.0, 3.0], [0.4, 0.0])
    # .4 of a quarter of the time is .1 of the whole; 1.645 standard deviations of it, beside .1.
    assert math.log(prediction.high / prediction.ms) == pytest.approx(math.hypot(0.1, 0.1645))
    assert prediction.covered == 0.5

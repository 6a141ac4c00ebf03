"""Networks with less width and depth than a published one."""

from __future__ import annotations

import pytest

import nas
from nas.architecture import ConvHead, load
from nas.architecture.scaling import largest, scaled
from nas.resources import resource_names

REFERENCES = resource_names("search_spaces/reference")


def test_half_of_x3d_s() -> None:
    """Widths 24, 48, 96, 192 are halved; 3, 5, 11, 7 layers are times .7071, rounded."""
    half = scaled(load("x3d_s"), 0.5)
    assert [stage.width for stage in half.stages] == [12, 24, 48, 96]
    assert [len(stage.layers) for stage in half.stages] == [2, 4, 8, 5]
    assert isinstance(half.head, ConvHead)
    assert (half.head.inner_width, half.head.width) == (216, 1024)
    assert half.input == load("x3d_s").input


def test_a_quarter_of_t2d_has_three_heads_of_the_same_width() -> None:
    quarter = scaled(load("t2d_b16"), 0.25)
    (stage,) = quarter.stages
    assert (stage.width, len(stage.layers), {layer.heads for layer in stage.layers}) == (192, 6, {3})  # type: ignore[attr-defined]


def test_widths_are_multiples_of_what_heads_divide() -> None:
    """Three tenths of 768 with 12 heads are 230.4 with 4, next to 232; five twelfths are 320 with
    5, a multiple of 20.
    """
    vit = load("timesformer_b")
    assert scaled(vit, 0.3).stages[0].width == 232
    assert scaled(vit, 5 / 12).stages[0].width == 320


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("share", [1 / 16, 0.29, 0.71])
def test_every_reference_can_be_cut(name: str, share: float) -> None:
    base = load(name)
    cut = scaled(base, share)
    assert cut.name == base.name
    for ours, theirs in zip(cut.stages, base.stages, strict=True):
        assert abs(ours.width - share * theirs.width) <= max(4, 0.1 * theirs.width)
        assert len(ours.layers) == max(1, round(len(theirs.layers) * share**0.5))


def test_the_whole_network_where_it_is_allowed() -> None:
    base = load("x3d_xs")
    assert largest(base, lambda network: True) == base
    assert largest(base, lambda network: False) is None


def test_the_largest_share_below_a_width() -> None:
    """Shares are powers of 16^(1/48) = 1.0595. A quarter of 192 is 48, which is not allowed; .2360
    of it is 45.3, next to 44.
    """
    base = load("x3d_xs")
    found = largest(base, lambda network: network.stages[-1].width < 48)
    assert found is not None
    assert found.stages[-1].width == 44


def test_a_budget_is_kept_and_used() -> None:
    cost = nas.cost(nas.scaled(load("x3d_xs"), "300mflops,2mparams"))
    assert 240e6 < cost.macs <= 300e6
    assert cost.params <= 2e6
    assert nas.scaled("x3d_xs", "100gflops") == load("x3d_xs")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("30ms", "budget '30ms' limits latency, which is not computed; allowed: limits of what is"),
        ("accuracy>=.8", "limits accuracy, which is not computed"),
        ("1kflops", "allowed"),
        ("0.001gflops", "budget '0.001gflops' is below x3d_m with 0.0625 of its width"),
    ],
)
def test_budgets_that_nothing_can_be_cut_to(budget: str, words: str) -> None:
    with pytest.raises(nas.NasError, match=words):
        nas.scaled("x3d_m", budget)

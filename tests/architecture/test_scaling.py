"""Networks with less width and depth than a published one."""

from __future__ import annotations

import pytest

import nas
from nas.architecture import Architecture, ConvHead, TubeStem, load
from nas.architecture.scaling import largest, scaled, suited
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
        assert len(ours.layers) == max(len(set(theirs.layers)), round(len(theirs.layers) * share**0.5))


def test_a_stage_keeps_each_kind_of_its_layers() -> None:
    """A sixteenth of the width leaves a quarter of PST-T's 2, 2, 6, 2 layers, which shift channels
    and patches in turn.
    """
    cut = scaled(load("pst_t"), 1 / 16)
    assert [[layer.shift for layer in stage.layers] for stage in cut.stages] == [["channel", "patch"]] * 4  # type: ignore[attr-defined]


def maps(network: Architecture) -> list[tuple[int, int, int]]:
    """Frames, height and width behind the stem and behind the first layer of each stage."""
    return [part.output.extent for part in network.parts() if part.path == "stem" or part.path.endswith("layers.0")]


def test_small_clips_lose_no_more_than_they_have() -> None:
    """Strides of X3D, 2 in its stem and in each of four stages, leave one of 16 pixels; here the
    first two are taken. PST's patches of 2x4x4 keep the 16 frames that it has of 32. R(2+1)D's
    three strides leave 2 of 16 frames, and so of 8. Patches stay square.
    """
    x3d = suited(load("x3d_m"), 16, (16, 16), 7)
    assert maps(x3d) == [(16, 8, 8), *[(16, 4, 4)] * 4]
    assert x3d.num_classes == 7
    assert maps(suited(load("pst_t"), 16, (16, 16), 7)) == [(16, 4, 4)] * 5
    assert maps(suited(load("r2plus1d_18"), 8, (16, 16), 7)) == [(8, 8, 8), (8, 8, 8), (4, 4, 4), (2, 4, 4), (2, 4, 4)]
    assert maps(suited(load("timesformer_b"), 8, (32, 16), 7))[0] == (8, 8, 4)


def test_tubes_become_smaller_in_proportion() -> None:
    """Of 32x224x224 patches of 16 leave 14, of 16 pixels four with patches of 4; the closest tubes
    are 6 frames apart, and as many of 16 frames are there with 3.
    """
    stem = suited(load("tubevit_b"), 16, (16, 16), 7).stem
    assert isinstance(stem, TubeStem)
    assert [tube.kernel for tube in stem.tubes] == [(4, 2, 2), (8, 1, 1), (2, 3, 3), (1, 4, 4)]
    assert [tube.stride for tube in stem.tubes] == [(8, 8, 8), (3, 8, 8), (8, 8, 8), (16, 4, 4)]
    assert [tube.offset for tube in stem.tubes] == [(0, 0, 0), (2, 2, 2), (0, 4, 4), (0, 0, 0)]


@pytest.mark.parametrize("name", REFERENCES)
def test_at_its_own_clips_a_network_stays_as_it_is(name: str) -> None:
    base = load(name)
    assert suited(base, base.input.frames, base.input.size, base.num_classes) == base


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_is_suited_to_small_clips(name: str) -> None:
    network = suited(load(name), 8, (16, 16), 3)
    pooled = name == "vivit_b_m2"  # its last layers are of whole frames
    assert isinstance(network.stem, TubeStem) or maps(network)[-2 if pooled else -1][1:] == (4, 4)


def test_clips_that_do_not_divide_are_refused() -> None:
    with pytest.raises(nas.NasError, match="does not divide the input's height 36"):
        suited(load("timesformer_b"), 8, (36, 36), 7)


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

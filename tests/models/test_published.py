"""The reference networks against the published figures, and against counts worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import nas
from nas.cli.app import app
from nas.profiler.computed.published import published, reference_table
from nas.resources import resource_names

REFERENCE = resource_names("search_spaces/reference")


def test_exact_figures() -> None:
    """Figures known to the last digit; a class costs its weights, and a bias."""
    vov3d_l = nas.cost(nas.load("vov3d_l"))
    assert (vov3d_l.params, vov3d_l.macs - 2048 * 400) == (6_297_168, 9_306_094_848)
    assert nas.cost(nas.load("pst_t")).params - (768 + 1) * 400 == 28_223_622
    assert nas.cost(nas.load("davit_t")).params == 28_360_168
    assert nas.cost(nas.load("r3d_18")).params == 33_371_472


def test_tubes_give_539_and_1176_tokens() -> None:
    shapes = {name: nas.load(name).parts()[0].output.tokens for name in REFERENCE if name.startswith("tubevit")}
    assert shapes == {"tubevit_b": 539, "tubevit_l": 539, "tubevit_h": 539, "tubevit_b_64f": 1176}


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("pst_t", 72),
        ("pst_b", 247),
        ("davit_t2d_t", 91),
        ("vivit_b_m1", 455.2),
        ("vivit_b_m2", 284.4),
        ("vivit_b_m3", 372.3),
        ("vivit_b_m4", 277.1),
        ("timesformer_b", 195.8),
        ("x3d_xs", 0.60),
        ("x3d_s", 1.96),
        ("x3d_m", 4.73),
        ("x3d_l", 18.37),
        ("r3d_18", 40.70),
        ("r2plus1d_18", 40.52),
        ("vov3d_m", 6.4),
    ],
)
def test_multiply_adds_within_a_percent(name: str, gmacs: float) -> None:
    assert nas.cost(nas.load(name)).macs == pytest.approx(gmacs * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("vivit_b_m1", 88.9),
        ("vivit_b_m2", 115.1),
        ("vivit_b_m3", 117.3),
        ("vivit_b_m4", 88.9),
        ("timesformer_b", 121.57),
    ],
)
def test_parameters_within_a_permille(name: str, params: float) -> None:
    assert nas.cost(nas.load(name)).params == pytest.approx(params * 1e6, rel=0.001)


def test_timesformer_by_hand() -> None:
    """8 frames of 196 patches and a class token, of which every frame has a copy in space."""
    d, grid, copies = 768, 8 * 196, 8 * 197
    time = 5 * d * d * grid + 2 * d * grid * 8
    space = 4 * d * d * copies + 2 * d * copies * 197
    block = time + space + 8 * d * d * (grid + 1)
    assert nas.cost(nas.load("timesformer_b")).macs == 12 * block + d * 3 * 256 * grid + d * 400


def test_vivit_model_4_has_the_parameters_of_model_1() -> None:
    """Apart from the class token, and its position, that model 4 has no place for."""
    m1, m4 = (nas.cost(nas.load(name)) for name in ("vivit_b_m1", "vivit_b_m4"))
    assert m1.params - 2 * 768 == m4.params
    assert [row.params for row in m1.layers[1:]] == [row.params for row in m4.layers[1:]]


def test_vivit_model_2_by_hand() -> None:
    """A ViT of 197 tokens on each of 16 pairs of frames, then four layers on 17 tokens."""
    d, tokens = 768, 16 * 197
    space = 12 * (12 * d * d * tokens + 2 * d * tokens * 197)
    time = 4 * (12 * d * d * 17 + 2 * d * 17 * 17)
    assert nas.cost(nas.load("vivit_b_m2")).macs == space + time + d * 6 * 256 * 16 * 196 + d * 400


def test_t2d_with_a_temporal_transformer() -> None:
    """The paper's other head: four layers on the mean of each of 16 frames, with learned positions
    and a LayerNorm.
    """
    plain = nas.load("t2d_b16")
    document = plain.document()
    layers = [{"op": "factorized", "variant": "joint", "heads": 12, "activation": "quick_gelu", "norm_eps": 1e-5}] * 4
    document["stages"].append({"width": 768, "downsample": {"op": "frame_pool", "norm_eps": 1e-5}, "layers": layers})
    document["head"] = {"op": "mean", "norm": "before", "norm_eps": 1e-5}
    more, less = nas.cost(nas.Architecture.parse(document)), nas.cost(plain)
    d, frames = 768, 16
    assert more.macs - less.macs == 4 * (12 * d * d * frames + 2 * d * frames * frames)
    assert more.params - less.params == 4 * (12 * d * d + 13 * d) + frames * d + 2 * d


def test_the_table_has_a_row_for_every_file() -> None:
    table = reference_table()
    assert list(table["network"]) == REFERENCE
    ratios: Mapping[str, float] = {
        str(row["network"]): row["macs_ratio"] for row in table.to_dict("records") if pd.notna(row["macs_ratio"])
    }
    # What the authors of E3D count is not known, and they print two or three digits.
    assert len(ratios) >= 20
    assert all(abs(ratio - 1) < (0.02 if name.startswith("e3d") else 0.01) for name, ratio in ratios.items()), ratios


def test_the_printed_page_is_up_to_date() -> None:
    page = CliRunner().invoke(app, ["list", "--published"]).stdout
    committed = Path(__file__).parents[2] / "docs" / "results" / "reference_networks.md"
    assert page == committed.read_text(), "run `nas list --published > docs/results/reference_networks.md`"
    assert "| 6,297,168 | 6.297168 | 1.000 | 9,306,094,848 | 9.306094848 | 1.000 |" in page


def test_published_figures_are_of_files_that_exist() -> None:
    figures = published()
    assert set(figures["network"]) == set(REFERENCE)
    missing = figures[figures["gmacs"].isna() | figures["mparams"].isna()]
    assert (missing["note"].str.len() > 0).all(), "a figure that is not there needs its reason"

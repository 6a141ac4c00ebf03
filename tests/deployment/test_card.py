"""The model card."""

from __future__ import annotations

from dataclasses import replace

from networks import model

from nas.deployment.card import model_card
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.measure import Measurement
from nas.trained.folder import Figure, TrainedModel

CLEAN = Measurement(
    Latency.of([2.0] * 20), 3_000_000, "epyc-1c.torch2.13.fp32.b1.t1", Environment(), ["a neighbour was at work"]
)


def test_it_says_what_is_known_and_of_how_many_clips() -> None:
    text = model_card(model("hybrid"), CLEAN)
    for words in (
        "# hybrid\n",
        "tells 5 classes apart: a stem of the kind conv, 4 layers (d2plus1d, tps, sparse_tube, t2d)",
        "0. `sit`\n1. `stand`\n",
        "4 frames of 32x32 pixels",
        "resized to cover 37x37",
        "cut into 4 equal parts",
        "| validation accuracy | 75.0 \N{PLUS-MINUS SIGN} 6.2 % | 48 |",  # sqrt(.75 * .25 / 48) = .0625
        "It was not tested on clips that no decision saw.",
        "| multiply-adds | ",
        "2.00 ms in the median of 20 runs, 2.00 ms in the 90th percentile on `epyc-1c.torch2.13.fp32.b1.t1`",
        "Peak memory of an inference there: 3 MB.",
        "Disturbed: a neighbour was at work.",
        "| run | hybrid-1 |\n| trial | 7 |\n",
    ):
        assert words in text, words


def test_what_is_not_known_is_not_claimed() -> None:
    made = model("hybrid")
    text = model_card(TrainedModel(made.network, replace(made.record, figures={}), "x"))
    assert "Nothing is known of its accuracy." in text and "It was not measured." in text
    tested = replace(made.record, figures={"test accuracy": Figure(1.0, 6)})
    text = model_card(TrainedModel(made.network, tested, "x"))
    assert "| test accuracy | 100.0 % | 6 |" in text  # no standard error of zero
    assert "not tested on clips" not in text and "chose among" not in text


def test_hostile_names_are_text() -> None:
    made = model("hybrid")
    names = ("<script>", "[a](http://x)", "a`b|c", "\u202eevil", "two\nlines")
    text = model_card(TrainedModel(made.network, replace(made.record, classes=names), "# <b> | *x*"))
    assert "# # &lt;b> \\| \\*x\\*\n" in text
    assert "0. `<script>`\n1. `[a](http://x)`\n2. ``a`b|c``\n3. `?evil`\n4. `two?lines`\n" in text

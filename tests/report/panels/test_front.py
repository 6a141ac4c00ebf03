from __future__ import annotations

from dataclasses import replace

from nas.report.panels.front import Front
from nas.report.panels.headline import best
from nas.report.panels.picks import Picks
from nas.runs.folder.run import Run


def test_what_the_front_is_of(run: Run) -> None:
    text = Front().blocks(run)[0].markdown()
    assert "Of 23 trained networks, no other is at least as good as one of these in accuracy, multiply-adds" in text
    assert "one network" not in text and "means over seeds" not in text
    assert "Predicted latency is a fit of computed costs to the latencies that this run measured." in text
    run.front["latency_ms_predicted"] = float("nan")
    assert "redicted" not in Front().blocks(run)[0].markdown()


def test_a_front_is_said_to_be_of_what_was_measured(run: Run) -> None:
    run.record = replace(run.record, objectives=("accuracy", "latency_ms", "params"))
    said = Front().blocks(run)[0].markdown()
    assert "at least as good as one of these in accuracy, latency and parameters and better in" in said
    assert "The latency of a network counts as measured, where it was measured." in said
    assert "GFLOPs, parameters " in best(run)


def test_a_front_of_one_is_no_choice(run: Run) -> None:
    run.front = run.front[run.front["trial"] == 23]
    assert "It is one network, the best in all of them, so there is nothing" in Front().blocks(run)[0].markdown()
    run.front = run.front.assign(seeds=2)  # what was trained once may have had more
    assert "It is one network, so there is nothing to trade one for another" in Front().blocks(run)[0].markdown()
    cards, text = (block.markdown() for block in Picks().blocks(run))
    assert cards.startswith("- accuracy (default) + knee + latency + memory (trial 23): validation 78.9")
    assert text == "The front is one network, so every pick means it."
    run.trials = run.front
    assert Front().blocks(run)[0].markdown() == "One network was trained, so nothing stands beside it."


def test_networks_at_chance_are_left_out_unless_all_are(run: Run) -> None:
    assert "Networks no better than guessing, or over a limit" in Front().blocks(run)[0].markdown()
    run.front["accuracy"] = 1 / 12
    text = Front().blocks(run)[0].markdown()
    assert "None is better than guessing." in text and "no better than guessing" not in text


def test_picks_say_what_they_mean(run: Run) -> None:
    text = Picks().blocks(run)[1].markdown()
    assert "latency is the lowest latency of the 9 networks measured; memory is the lowest peak memory of the 9" in text
    assert "those that are not the default are more than two standard errors above chance." in text
    run.front[["latency_ms", "peak_memory_bytes"]] = float("nan")
    text = Picks().blocks(run)[1].markdown()
    assert "latency" not in text and "memory is the lowest activations kept for backward. All keep" in text


def test_networks_near_chance_are_no_offer(run: Run) -> None:
    run.front = run.front.assign(accuracy=[0.12] * 9)  # 12.0 - 2 * 2.03 % is below 8.3 %
    cards, text = (block.markdown() for block in Picks().blocks(run))
    assert cards.startswith("- accuracy (default) (trial ") and len(cards.splitlines()) == 1
    assert text.endswith("No other is offered: none is more than two standard errors above chance.")


def test_a_network_off_the_front_may_be_the_cheapest_that_was_measured(run: Run) -> None:
    off = run.trials[~run.trials["trial"].isin(run.front["trial"]) & (run.trials["accuracy"] > 0.3)]["trial"].iloc[0]
    run.trials.loc[run.trials["trial"] == off, "latency_ms"] = 0.5
    assert run.picks()["latency"] == off and run.pick_trial("latency") == off
    assert f"latency (trial {off})" in Picks().blocks(run)[0].markdown()
    assert "of the 10 networks measured" in Picks().blocks(run)[1].markdown()


def test_a_disturbed_measurement_is_marked_on_its_card(run: Run) -> None:
    run.front["flags"] = "other processes used 3.00 of the 4 cores measured on"
    cards, text = (block.markdown() for block in Picks().blocks(run))
    assert " ms \N{DAGGER}" in cards and "the measurement was disturbed" in text

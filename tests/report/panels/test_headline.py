from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas.report.panels.headline import Headline, best, missing, searched
from nas.runs.folder.record import ClipShape
from nas.runs.folder.run import Run

PM, TIMES = "\N{PLUS-MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


def test_the_headline_says_what_is_of_the_proxy_and_what_of_the_network(run: Run) -> None:
    run.front.loc[run.front["trial"] == 23, ["latency_ms", "peak_memory_bytes"]] = [41.0, 54e6]
    assert best(run) == (
        "The most accurate network found that keeps 100gflops: trial 23. Trained as a proxy of itself (8 frames of "
        f"32{TIMES}32 pixels, 6 epochs, 1,024 training clips), it reached 78.9 {PM} 2.5 % of 256 validation clips and "
        f"77.3 {PM} 2.6 % of 256 test clips; chance is 8.3 %. The network itself costs 24.4 GFLOPs, activations kept "
        f"for backward 157 MB, latency 41.0 ms and peak memory 54.0 MB at 16 frames of 224{TIMES}224 pixels, latency "
        "and memory as measured on cpu-epyc9654.torch2.13.fp32.b1; its accuracy there was not measured. On validation, "
        "it is 70.6 points (+65.5 to +75.7) above guessing and 4.3 points (-3.2 to +11.8; may be luck) above trial 17, "
        "the next on the front. In brackets an interval of about 95 %."
    )


def test_what_is_unknown_is_not_said(run: Run) -> None:
    run.record = replace(run.record, proxy=None, target=None, chance=None, clips={}, budget=None)
    run.front[["test_accuracy", "epochs", "latency_ms", "peak_memory_bytes"]] = math.nan
    assert best(run) == (
        "The most accurate network found: trial 23. It reached 78.9 % on validation, and was not evaluated on test. It "
        "costs 24.4 GFLOPs and activations kept for backward 157 MB. On validation, it is 4.3 points above trial "
        "17, the next on the front."
    )


def test_a_proxy_of_the_whole_clip_has_the_accuracy_of_the_network(run: Run) -> None:
    assert run.record.proxy
    run.record = replace(run.record, target=ClipShape(run.record.proxy.frames, run.record.proxy.size))
    assert "its accuracy there" not in best(run)


def test_guessing_is_called_so(run: Run) -> None:
    run.front = run.front[run.front["trial"] == 23].assign(accuracy=0.12)
    assert best(run).endswith("This is not clearly better than guessing.")  # 12.0 - 2 * 2.03 % below 8.3 %
    run.front["accuracy"] = 0.125
    assert "not clearly" not in best(run)  # 12.5 - 2 * 2.07 %


def test_one_network_is_no_best_of_many(run: Run) -> None:
    run.trials = run.front = run.front[run.front["trial"] == 23]
    assert best(run).startswith("The only network trained: trial 23")


def test_a_network_that_may_be_over_a_limit_is_not_called_the_best(run: Run) -> None:
    run.record = replace(run.record, budget="100gflops,30ms")
    assert best(run).startswith("The most accurate network found that keeps 100gflops,30ms: trial 23")
    run.front = run.front.head(0)
    assert best(run).startswith(
        "No network is known to keep 100gflops,30ms as measured; the most accurate so far: trial 23"
    )
    run.record = replace(run.record, budget="100gflops")
    assert best(run).startswith("The most accurate network so far: trial 23")


def test_clips_are_those_used(run: Run) -> None:
    run.record = replace(run.record, data_description="motion: 4096 train clips", clips={"train": 512, "val": 256})
    said = "on motion: 4096 train clips; each training used 512 training and 256 validation clips of these. "
    assert said in searched(run)


def test_nothing_trained(run: Run) -> None:
    run.trials, run.front = run.trials.head(0), run.front.head(0)
    assert best(run) == "No network was trained, so there is no result."
    assert missing(run) == ["There is no front: nothing was trained. The run may be continued by nas search --resume."]


def test_the_time_is_that_of_the_run(run: Run) -> None:
    assert "23 networks trained on cpu-epyc9654.torch2.13.fp32.b1; the whole run took 5 min 12 s." in searched(run)
    run.record = replace(run.record, step_s=3.0, slot_s=4.0)
    assert searched(run).endswith(
        " Once Ray had started the first process, workers spent 75 % of the time in training and evaluation."
    )


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (22, "2 further trainings are not part of the front yet"),
        (23, "1 further training is"),
        (24, None),
        (None, None),
    ],
)
def test_trainings_that_the_front_does_not_know_yet_are_named(run: Run, known: int | None, said: str | None) -> None:
    run.record = replace(run.record, front_of=known)
    text = " ".join(missing(run))
    assert said in text if said else "part of the front" not in text


def test_what_was_not_measured_is_named(run: Run) -> None:
    run.front["latency_ms"] = math.nan
    run.front.loc[0, "test_accuracy"] = math.nan
    assert missing(run)[-2:] == [
        "No trial of the front has a measured latency.",
        "1 of 9 trials of the front have no test accuracy.",
    ]


def test_doubtful_data_is_a_warning(run: Run) -> None:
    run.record = replace(run.record, doubts=("2 files of train and val in val only",))
    said = [block.markdown() for block in Headline().blocks(run)]
    assert "> Accuracies are doubtful: 2 files of train and val in val only." in said


def test_a_mean_is_called_so_and_luckier_single_trainings_are_named(run: Run) -> None:
    run.front = run.front[run.front["trial"] == 23].assign(seeds=3, accuracy=0.70)
    run.trials = run.trials.assign(accuracy=[0.72, 0.75, *[0.5] * (len(run.trials) - 2)])
    said = best(run)
    assert said.startswith("The most accurate network found that keeps 100gflops, by the mean of 3 trainings: trial 2")
    assert "Of those trained once, trial 1 with 75.0 % and 1 other had more; the best of many" in said
    run.trials["accuracy"] = 0.5
    assert "trained once" not in best(run)

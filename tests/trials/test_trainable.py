"""A trial in this process, without Ray."""

import itertools
import json
import math
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nas.architecture import Architecture
from nas.data.datasets import Clips
from nas.limits.memory import training_step_memory
from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.training.recipe import Recipe
from nas.trials import trainable
from nas.trials.results import Assignment
from nas.trials.trainable import Proxy, ProxyData, ProxyTrial
from nas.weights.image_start import ImageStart
from nas.weights.own_images import read_own_images

ARCHITECTURE = Architecture.parse(
    {
        "input": {"frames": 8, "size": 32},
        "num_classes": 2,
        "stem": {"op": "patch", "size": [1, 4, 4]},
        "stages": [{"width": 8, "layers": [{"op": "factorized", "heads": 2}]}],
        "head": {"op": "mean"},
    }
)
PROXY = Proxy(
    frames=4,
    size=(16, 16),
    rungs=(1,),
    train_clips=8,
    val_clips=4,
    recipe=Recipe(epochs=1, batch_size=8),
    threads=1,
    device="cpu",
)


def needed(micro_batch: int) -> int:
    return training_step_memory(cost(ARCHITECTURE.resized(4, (16, 16))), 8, micro_batch)


def trial(memory_bytes: float, proxy: Proxy = PROXY) -> ProxyTrial:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 4, 16, 16, 3), np.uint8)
    clips = Clips(pixels, np.arange(8) % 2)
    made = ProxyTrial.__new__(ProxyTrial)
    config = Assignment(0, ARCHITECTURE.document(), (1.0,)).config()
    made.setup(config, replace(proxy, memory_bytes=memory_bytes), ProxyData(clips, clips, None, flip=False))
    return made


@pytest.mark.parametrize("micro_batch", [8, 4, 1])
def test_what_exceeds_the_memory_passes_in_smaller_batches(micro_batch: int) -> None:
    small = trial(needed(micro_batch))
    assert small.step()["losses"] == pytest.approx(trial(1e12).step()["losses"], rel=1e-5)
    assert small.training.micro_batch == micro_batch


def test_memory_is_counted_as_the_device_takes_it() -> None:
    """Where a training takes twice what is computed, half of the batch fits, or not one clip."""
    twice = replace(PROXY, memory_factor=2.0)
    found = trial(2 * needed(4), twice)
    found.step()
    assert found.training.micro_batch == 4
    result = trial(needed(1), twice).step()
    assert result["failure"] == "memory" and result["violation"] == pytest.approx(1.0)


def test_plans_for_every_shape_of_attention_are_not_built() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    trial(1e12)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_training_that_ends_says_what_it_called_each_clip() -> None:
    result = trial(1e12).step()
    right = [called == label for called, label in zip(result["val_called"], [0, 1] * 4, strict=True)]
    assert sum(right) / 8 == result["curve"][-1] and "test_called" not in result
    assert "val_called" not in trial(1e12, replace(PROXY, rungs=(1, 2), recipe=Recipe(epochs=2, batch_size=8))).step()


def test_a_network_of_which_not_one_clip_fits_is_refused_with_its_violation() -> None:
    result = trial(needed(1) / 2).step()
    assert result["violation"] == pytest.approx(1) and result["done"] and "curve" not in result
    assert "training on one clip takes" in result["error"]


def test_a_network_that_cannot_be_built_is_a_result_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel.\nFor this shape")

    monkeypatch.setattr(trainable, "build", refused)
    assert trial(1e12).step() == {
        "error": "RuntimeError: no kernel. For this shape",
        "failure": "error",
        "last": True,
        "done": True,
    }


@pytest.mark.parametrize(
    ("seconds_per_epoch", "reports"),
    [
        # (epochs, rungs passed) at each report; rungs are at 10 and 20 seconds, and at the end.
        (1, [(4, 3)]),
        (4, [(3, 1), (4, 3)]),
        (6, [(2, 1), (4, 3)]),
        (11, [(1, 1), (2, 2), (4, 3)]),
        (25, [(1, 2), (4, 3)]),
    ],
)
def test_rungs_in_seconds_are_at_the_next_end_of_an_epoch_and_training_ends_by_epochs(
    seconds_per_epoch: int, reports: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(perf_counter=itertools.count(0, seconds_per_epoch).__next__)
    monkeypatch.setattr(trainable, "time", clock)
    proxy = replace(PROXY, rungs=(1, 2, 4), rung_seconds=10, recipe=Recipe(epochs=4, batch_size=8))
    timed = trial(1e12, proxy)
    for epochs, passed in reports:
        result = timed.step()
        assert (result["epochs"], len(result["curve"])) == (epochs, passed)
        assert result["seconds"] == epochs * seconds_per_epoch
        assert result["last"] == result["done"] == (epochs == 4)
    assert timed.training.ended and timed.training.rate == pytest.approx(0)


def test_rungs_in_epochs_do_not_depend_on_the_clock() -> None:
    counted = trial(1e12, replace(PROXY, rungs=(1, 2, 4), recipe=Recipe(epochs=4, batch_size=8)))
    results = [counted.step() for _ in range(3)]
    assert [(r["epochs"], len(r["curve"]), r["last"]) for r in results] == [(1, 1, False), (2, 2, False), (4, 3, True)]
    assert results[2]["curve"][:2] == [results[0]["curve"][-1], results[1]["curve"][-1]]


def test_memory_that_runs_out_begins_the_training_again_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more than two clips at a time the device runs out of memory: 8, 4, then 2, and the loss
    is that of a training that passed two at a time from the start.
    """
    epoch, sizes = trainable.Training.epoch, []

    def full(self: trainable.Training) -> float:
        sizes.append(self.micro_batch)
        if self.micro_batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return epoch(self)

    expected = trial(needed(2)).step()
    monkeypatch.setattr(trainable.Training, "epoch", full)
    found = trial(1e12).step()
    assert sizes == [8, 4, 2]
    assert (found["losses"], found["curve"]) == (expected["losses"], expected["curve"])


def test_what_ran_out_of_memory_is_gone_before_the_smaller_training_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its network and the activations of its step, which an error holds while it is handled."""
    epoch, made, left = trainable.Training.epoch, list[weakref.ref[object]](), list[object]()

    def full(self: trainable.Training) -> float:
        if self.micro_batch < 8:
            return epoch(self)
        activations = torch.zeros(3)
        made.extend((weakref.ref(self.model), weakref.ref(activations)))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def noted(architecture: Architecture) -> torch.nn.Module:
        left.extend(each() for each in made)
        return build(architecture)

    monkeypatch.setattr(trainable.Training, "epoch", full)
    monkeypatch.setattr(trainable, "build", noted)
    assert trial(1e12).step()["curve"] and left == [None, None]


def test_memory_that_is_too_small_for_one_clip_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: trainable.Training) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainable.Training, "epoch", full)
    assert trial(1e12).step() == {"error": "CUDA out of memory", "failure": "memory", "last": True, "done": True}


@pytest.mark.parametrize("where", ["building", "training"])
def test_failed_device_ends_the_process_and_is_no_result_of_the_candidate(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def lost(*_: object, **__: object) -> float:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    if where == "building":
        monkeypatch.setattr(trainable, "build", lost)
    else:
        monkeypatch.setattr(trainable.Training, "epoch", lost)
    made = trial(1e12)
    with pytest.raises(torch.AcceleratorError):
        made.step()


def test_diverged_training_ends_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first of two epochs, and without an accuracy."""
    epoch = trainable.Training.epoch

    def diverged(self: trainable.Training) -> float:
        epoch(self)
        return math.nan

    monkeypatch.setattr(trainable.Training, "epoch", diverged)
    assert trial(1e12, replace(PROXY, rungs=(2,), recipe=Recipe(epochs=2, batch_size=8))).step() == {
        "error": "the training diverged: the mean loss of epoch 1 is nan",
        "failure": "diverged",
        "last": True,
        "done": True,
    }


@pytest.mark.parametrize(
    ("raised", "failure", "error"),
    [
        (KeyError("tubes"), "error", "KeyError: 'tubes'"),
        (ZeroDivisionError("division by zero"), "error", "ZeroDivisionError: division by zero"),
        (AssertionError(), "error", "AssertionError"),
        (MemoryError("of an array"), "memory", "of an array"),
    ],
)
def test_whatever_an_operator_raises_is_a_result(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, failure: str, error: str
) -> None:
    def forward(*_: object, **__: object) -> float:
        raise raised

    monkeypatch.setattr(trainable.Training, "epoch", forward)
    made = trial(1e12)
    assert made.step() == {"error": error, "failure": failure, "last": True, "done": True}
    monkeypatch.undo()  # and the next candidate in the same process is none the worse
    made.reset_config(Assignment(1, ARCHITECTURE.document(), (1.0,)).config())
    assert made.step()["curve"] == trial(1e12, replace(PROXY, recipe=replace(PROXY.recipe, seed=1))).step()["curve"]


def test_memory_that_really_runs_out_is_a_result() -> None:
    """A process that may grow by 300 MB trains a network that needs 1 GB for a clip."""
    program = Path(__file__).with_name("out_of_memory.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["failure"], result["done"]) == ("memory", True) and "memory" in result["error"]


def test_next_candidate_finds_nothing_of_the_one_before() -> None:
    made = trial(1e12)
    made.step()
    before = weakref.ref(made.model)
    made.reset_config(Assignment(1, ARCHITECTURE.document(), (1.0,)).config())
    assert before() is None


def test_memory_of_the_candidate_before_is_given_back_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the next is built, and when nothing is left of the network, whose blocks would stay;
    operators of users may refer to themselves.
    """
    made, left = trial(1e12), list[object]()
    made.step()
    vars(made.model)["cycle"] = made.model
    before = weakref.ref(made.model)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(before()))
    following = Assignment(1, ARCHITECTURE.document(), (1.0,)).config()
    made.torch_device = torch.device("cuda:0")
    made.reset_config(following)
    assert left == [None] and not made.begun
    made.torch_device = torch.device("cpu")
    made.reset_config(following)
    assert len(left) == 1


def test_a_trial_on_a_gpu_says_what_its_training_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from when its network is built, by an allocator that is not there."""
    made, counted, cpu = trial(1e12), list[str](), torch.device("cpu")
    training: Any = trainable.Training
    logits: Any = trainable.logits
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: counted.append("forgotten"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 12_345)
    monkeypatch.setattr(trainable, "placed", lambda model, device: model)
    monkeypatch.setattr(trainable, "Training", lambda *given, **new: training(*given[:5], cpu, *given[6:], **new))
    monkeypatch.setattr(trainable, "logits", lambda *given: logits(*given[:3], cpu, *given[4:]))
    made.torch_device = torch.device("cuda:0")
    assert made.step()["peak_bytes"] == 12_345 and counted == ["forgotten"]
    assert trial(1e12).step().get("peak_bytes") is None


def test_a_trial_lays_its_kernels_out_as_its_device_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.nn.Module, torch.device]] = []
    monkeypatch.setattr(trainable, "placed", lambda model, device: seen.append((model, device)))
    made = trial(1e12)
    made.step()
    assert seen == [(made.model, torch.device("cpu"))]


def test_a_trial_on_a_gpu_names_it_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch sets the share of a device only by its number."""
    numbers: list[int] = []
    cuda = torch.cuda

    def fraction(share: float, device: torch.device) -> None:
        numbers.append(cuda._utils._get_device_index(device))

    monkeypatch.setattr(cuda, "set_per_process_memory_fraction", fraction)
    monkeypatch.setattr(trainable, "memory_bytes", lambda _: 16e9)
    assert trial(1e12, replace(PROXY, device="cuda")).torch_device == torch.device("cuda:0")
    assert numbers == [0]


def test_trial_on_a_smaller_gpu_than_the_drivers_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of 16 GB, of which .8 are used, less .6 GB for the process: 2.6 GB. Torch's
    allocator may take a quarter less .6 GB, 3.4 of 16 GB, so that four contexts fit beside four of
    them; of 4 GB shared by eight a context alone is too large.
    """
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    monkeypatch.setattr(trainable, "memory_bytes", lambda _: 16e9)
    large = replace(PROXY, memory_bytes=15e9, trials_per_device=4)
    assert trainable.own_memory(torch.device("cuda"), large) == pytest.approx(2.6e9)
    assert trainable.own_memory(torch.device("cuda"), replace(large, memory_bytes=1e9)) == 1e9
    assert shares == pytest.approx([0.2125, 0.2125])
    assert trainable.own_memory(torch.device("cpu"), large) == 15e9
    monkeypatch.setattr(trainable, "memory_bytes", lambda _: 4e9)
    trainable.own_memory(torch.device("cuda"), replace(large, trials_per_device=8))
    assert shares[2] == 0


def test_a_candidate_begins_with_image_weights() -> None:
    """Its layer, stem and head's norm are those of the image network; what that lacks is new."""
    torch.manual_seed(5)
    images = build(ARCHITECTURE.resized(frames=1))
    source = read_own_images(images.state_dict(), images.architecture, "images")
    made = trial(1e12, replace(PROXY, recipe=Recipe(epochs=1, batch_size=8, new_lr=4.0, lr_channels=0)))
    made.image_start = ImageStart("images", source)
    assert made._begin() is None
    state, name = made.model.state_dict(), "parts.stages_0_layers_0.attention.1.qkv.weight"
    assert torch.equal(state[name], images.state_dict()[name])
    factors = {group["factor"] for group in made.training.optimizer.param_groups}
    assert factors == {1.0, 4.0}

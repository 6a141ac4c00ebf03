"""How much memory a trial may take, and in what batches a network trains in it."""

from typing import Any

import pytest

from nas.limits.memory import fitting_micro_batch, gpu_share, memory_factor, training_step_memory, trial_memory


class Step:
    """A step of 10 bytes a clip beside weights, moments and gradients of 3 and 1 bytes."""

    parameter_bytes = 1

    def training_bytes(self, optimizer: str, batch: int) -> int:
        assert optimizer == "adamw"
        return 3 + 10 * batch


@pytest.mark.parametrize(
    ("memory", "fits"), [(63, 6), (62.9, 3), (34, 3), (33.9, 2), (24, 2), (14, 1), (13.9, 0), (float("inf"), 6)]
)
def test_the_largest_divisor_of_the_batch_that_fits(memory: float, fits: int) -> None:
    """The whole batch takes 63, a part of it what remains of the gradients so far, 1, beside its
    own.
    """
    step: Any = Step()
    assert fitting_micro_batch(step, 6, memory) == fits
    assert training_step_memory(step, 6, 3) == 34 and training_step_memory(step, 6, 6) == 63


@pytest.mark.parametrize(
    ("needed", "share"),
    [
        ([1e9], 0.125),  # 64 of 80 GB are for trials: an eighth is 8 GB less 0.6
        ([7.4e9], 0.125),
        ([7.5e9], 0.1428),
        ([20e9], 0.3333),
        ([32e9], 1.0),
        ([500e9], 1.0),
        ([10e9] * 10 + [70e9], 0.1666),  # one in eleven may take smaller batches
    ],
)
def test_as_many_trials_share_a_gpu_as_most_candidates_allow(needed: list[float], share: float) -> None:
    assert gpu_share(needed, 80e9, cores=64) == share
    assert trial_memory(80e9, 8) == pytest.approx(7.4e9) and trial_memory(1e9, 8) == 1


@pytest.mark.parametrize(("cores", "share"), [(16, 0.125), (9, 0.25), (3, 1.0), (1, 1.0)])
def test_each_trial_on_a_gpu_has_two_cores(cores: int, share: float) -> None:
    assert gpu_share([1e9], 80e9, cores) == share


def test_memory_on_a_device_is_that_of_the_network_that_needs_most_of_what_is_computed() -> None:
    assert memory_factor([10.0, 100.0], [5.0, 120.0]) == 1.2
    assert memory_factor([], []) == 1.0


def test_several_such_shares_run_side_by_side() -> None:
    for gigabytes in range(1, 70):
        share = gpu_share([gigabytes * 1e9], 80e9, cores=64)
        assert round(1 / share) * share <= 1 and share >= 1 / 8

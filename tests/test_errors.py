"""Words for errors of other packages."""

import pytest
import torch

from nas.errors import NasError, brief, context_lost, one_line, out_of_memory


def test_an_error_becomes_one_line_with_its_type() -> None:
    assert one_line(ValueError("bad\n   size")) == "ValueError: bad size"
    assert one_line(KeyError()) == "KeyError"


def test_memory_that_runs_out_is_told_from_other_errors() -> None:
    class Derived(torch.OutOfMemoryError):
        pass

    assert out_of_memory(torch.OutOfMemoryError("full")) and out_of_memory(Derived("full"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("shapes differ")) and not out_of_memory(ValueError("DefaultCPUAllocator"))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_memory_of_a_gpu_that_runs_out_outside_of_torchs_allocator_is_no_failed_device(words: str) -> None:
    for error in (RuntimeError(words), torch.AcceleratorError(words)):
        assert out_of_memory(error) and not context_lost(error)


def test_a_failed_device_is_told_from_memory_that_ran_out() -> None:
    assert context_lost(torch.AcceleratorError("HIP error: device-side assert triggered"))
    assert context_lost(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not context_lost(torch.OutOfMemoryError("CUDA out of memory")) and not context_lost(ValueError("CUDA error"))
    assert not context_lost(RuntimeError("shapes differ"))


def test_a_number_too_long_to_print_has_words() -> None:
    assert brief(10**9000) == "an integer of too many digits to print"


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    assert str(NasError("a\x1b[31m\nb\u202e é")) == "a\\x1b[31m\\nb\\u202e é"
    long = str(NasError(f"value {'x' * 10_000}; allowed: few"))
    assert len(long) == 2000 and long.startswith("value xxx") and long.endswith("; allowed: few")
    assert str(NasError()) == ""
    for count in (2000, 2500):  # escapes are four times as long
        escapes = str(NasError("\x00" * count + "; allowed: few"))
        assert len(escapes) == 2000 and escapes.startswith(r"\x00\x00") and escapes.endswith(r"\x00; allowed: few")

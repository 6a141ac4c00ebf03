"""Words for errors of other packages."""

import pytest
import torch

from nas.errors import one_line, out_of_memory


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

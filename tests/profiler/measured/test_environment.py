"""What a measurement depends on."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
import torch

from nas.errors import NasError
from nas.profiler.measured.environment import Environment, Rounding
from nas.profiler.measured.gpu_state import GpuState


def test_environment_of_a_cpu() -> None:
    found = Environment.here(torch.device("cpu"))
    assert found.threads == torch.get_num_threads()
    assert found.torch == torch.__version__
    assert found.cpu
    assert found.gpu is found.tf32 is found.driver is None
    assert Environment.here(torch.device("cpu"), threads=7).threads == 7


def test_what_is_not_known_is_not_written() -> None:
    made = Environment(
        cpu="A", affinity=[0, 1], tf32=Rounding(True, False), driver=GpuState(("heat (driver)",), power_w=1.5)
    )
    document = json.loads(json.dumps(made.to_document()))
    assert document.keys() == {"cpu", "affinity", "tf32", "driver"}
    assert Environment.from_document(document, "record") == made


def test_keys_of_a_later_version_are_left_out_and_wrong_values_refused() -> None:
    assert Environment.from_document({"cpu": "A", "moon": "full"}, "record") == Environment(cpu="A")
    with pytest.raises(NasError, match=r"record, environment.threads 'many' is not allowed; allowed: a valid integer"):
        Environment.from_document({"threads": "many"}, "record")
    with pytest.raises(NasError, match=r"record, environment \[\] is not allowed; allowed: a dictionary"):
        Environment.from_document([], "record")


def test_tf32_is_told_whichever_switches_a_program_uses() -> None:
    """In a process of its own, because the switches are of a process."""
    program = (
        "from dataclasses import asdict\n"
        "import torch\n"
        "from nas.profiler.measured.environment import Rounding\n"
        "print(asdict(Rounding.now()))\n"
        "torch.backends.fp32_precision = 'tf32'\n"
        "print(asdict(Rounding.now()))\n"
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'\n"
        "print(asdict(Rounding.now()))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [ast.literal_eval(line) for line in found.stdout.splitlines()] == [
        {"convolution": True, "matmul": False},
        {"convolution": True, "matmul": True},
        {"convolution": False, "matmul": True},
    ]

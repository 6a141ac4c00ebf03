"""An operator inside the package: its config file and its module file, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nas

CONFIG = """
from typing import ClassVar, Literal
from nas.architecture.fields import Odd
from nas.architecture.layers.base import LayerConfig
class Still(LayerConfig):
    \"""Depthwise convolution over time.\"""
    strides_allowed: ClassVar[bool] = True
    op: Literal["still"] = "still"
    temporal_kernel: Odd = 3
"""
MODULE = """
from torch import nn
from nas.architecture.layers.still import Still
from nas.models.convolution import Conv
from nas.models.registry import implements
@implements(Still)
class StillBlock(nn.Module):
    def __init__(self, config, shape_in, shape_out, stride):
        super().__init__()
        self.time = Conv(shape_in.channels, shape_out.channels, (config.temporal_kernel, 1, 1), stride)
    def forward(self, x):
        return self.time(x)
"""
PROGRAM = """
import json, sys
import nas
from nas.architecture import LAYERS, Shape
from nas.architecture.edits import single_edits
from nas.architecture.reference import operators_page
names = LAYERS.names()
data = {"input": {"frames": 4, "size": 32}, "stem": {"op": "conv"}}
data["stages"] = [{"width": 8, "layers": [{"op": "x3d"}, {"op": "still", "temporal_kernel": 5}]}]
network = nas.Architecture.parse(data)
before = "torch" in sys.modules
from nas.limits.gate import Gate
from nas.limits.budget import Budget
features = Gate(nas.SearchSpace.around(network, 1), Budget.parse("1gflops")).features([{"edits": 0}])
print(json.dumps({
    "package": nas.__file__,
    "torch": before,
    "last": names[-1],
    "macs": nas.cost(network).layers[2].macs,
    "edits": [edit for edit in single_edits(network) if edit.endswith("still")],
    "page": [line for line in operators_page().splitlines() if "`still`" in line],
    "features": len(features[0]) - len(names),
    "share": features[0][-1],
}))
"""


def test_it_takes_a_config_and_a_module_and_is_everywhere(tmp_path: Path) -> None:
    """In the registry, built, priced, in the edits, the page of operators and the features of a
    surrogate: the third file of such a commit is its test.
    """
    package = tmp_path / "nas"
    shutil.copytree(Path(nas.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "architecture" / "layers" / "still.py").write_text(CONFIG)
    (package / "models" / "layers" / "still.py").write_text(MODULE)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "package": str(package / "__init__.py"),
        "torch": False,
        "last": "still",
        "macs": 4 * 8 * 8 * 5 * 8 * 8,
        "edits": ["stages.0.layers.0.op=still"],
        "page": ["| `still` | Depthwise convolution over time. | `temporal_kernel` **3** |"],
        "features": 3,
        "share": 0.5,
    }

"""Every operator, stem, downsampling and head as ONNX: the same numbers in ONNX Runtime.

Exported with gradients on, as a plain call of the exporter does it. Each takes about a second, so
of most options there is one case; test_robustness.py has all of them through `torch.export`, from
which ONNX files are made.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import Case, gathered
from test_robustness import CASES

onnxruntime: Any = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EVERY_KIND = {(type(case.config), case.stride): case for case in reversed(CASES)}  # the first of each


@pytest.mark.parametrize("case", (*EVERY_KIND.values(), *gathered("EXPORTED")), ids=str)
def test_onnx_runtime_computes_the_same(case: Case) -> None:
    module, inputs = case.build().eval(), case.inputs()
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
    assert program is not None
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs, strict=True)}
    (y,) = session.run(None, feed)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(y), module(*inputs), atol=1e-4, rtol=1e-4)

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
def test_onnx_runtime_computes_the_same_for_any_batch(case: Case) -> None:
    """Exported with two clips."""
    module, inputs = case.build().eval(), case.inputs()
    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, dynamic_shapes=shapes)
    assert program is not None
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for places in ([1], [0, 1], [1, 0, 0, 1, 1]):
        given = tuple(x[places] for x in inputs)
        feed = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), given, strict=True)}
        (y,) = session.run(None, feed)
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(y), module(*given), atol=1e-4, rtol=1e-4)

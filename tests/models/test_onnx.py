"""Every operator, stem, downsampling and head as ONNX: the same numbers in ONNX Runtime.

Exported with gradients on, as a plain call of the exporter does it. Each takes about a second, so
of most options there is one case; test_robustness.py has all of them through `torch.export`, from
which ONNX files are made.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_robustness import CASES, Case

from nas.architecture import T2D, TPS, Factorized, JointFilter, Shape

onnxruntime: Any = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EVERY_KIND = {(type(case.config), case.stride): case for case in reversed(CASES)}  # the first of each
OPTIONS = (
    Case(T2D(heads=2, variant="fused", window=(2, 3, 4))),
    Case(Factorized(heads=2, variant="dot_product", window=(3, 3))),
    Case(JointFilter(execution="factored")),
    # Windows with and without a mask, one bias for all frames and one for each, and a window that
    # is the whole map.
    Case(TPS(heads=2, window=(4, 4)), Shape(1, 4, 4, 32)),
    Case(TPS(heads=2, window=(4, 4), shift="none"), Shape(4, 4, 4, 32)),
    Case(TPS(heads=2, window=(2, 2), shift="none", cyclic=True), Shape(2, 4, 4, 32)),
    Case(TPS(heads=2, window=(2, 4), shift="channel", cyclic=True, bias_index="released")),
)


@pytest.mark.parametrize("case", (*EVERY_KIND.values(), *OPTIONS), ids=str)
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

from __future__ import annotations

from nas.profiler.computed.cost import LayerCost
from nas.report.cost_page import treemap


def row(path: str, op: str, macs: int) -> LayerCost:
    return LayerCost(path, op, "2x2", macs, 1, 2, 3, 4, 1)


def test_treemap_adds_up_and_leaves_out_what_does_not_branch() -> None:
    tree = treemap([row("", "Net", 1), row("a.b.c", "Linear", 10), row("a.b.d", "<X>", 20)], {"a": "Block"})
    assert tree.ids == ["all", "/", "a.b", "a.b.c", "a.b.d"]
    assert tree.parents == ["", "all", "all", "a.b", "a.b"]
    assert tree.labels == ["all", "Net itself", "a.b", "c", "d"]
    assert tree.values[0] == [31, 1, 30, 10, 20]
    assert "&lt;X&gt;" in tree.hovers[4]

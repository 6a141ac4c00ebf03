from __future__ import annotations

from collections.abc import Callable

from nas.architecture import Architecture
from nas.profiler.tables.rows import network_workload, part_workloads

Make = Callable[..., Architecture]


def test_layers_are_known_by_what_they_compute(architecture: Make) -> None:
    stem, layer, head = part_workloads(architecture())
    assert (stem.op, layer.op, head.op) == ("stem:conv", "d2plus1d", "head:mean")
    assert (layer.input, layer.output, layer.stride) == ("4x8x8x8", "4x8x8x8", "1x1x1")
    assert layer.config == "expansion=2.0 kernel=3 modules=2 temporal_kernel=3"
    assert layer.macs > 0 and layer.params > 0
    assert layer.options == {"expansion": "2.0", "kernel": "3", "modules": "2", "temporal_kernel": "3"}


def test_equal_layers_of_two_networks_have_one_key_and_different_ones_have_two(architecture: Make) -> None:
    short, long, other = (part_workloads(a) for a in (architecture(), architecture(layers=3), architecture(modules=3)))
    assert {short[1].key} == {workload.key for workload in long[1:4]} != {other[1].key}
    assert short[0].key == other[0].key


def test_network_is_the_sum_of_its_layers(architecture: Make) -> None:
    network, parts = network_workload(architecture(layers=3)), part_workloads(architecture(layers=3))
    assert dict(network.layers()) == {parts[0].key: 1, parts[1].key: 3, parts[4].key: 1}
    assert network.macs == sum(workload.macs for workload in parts)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.rows import Row, network_workload, part_workloads
from nas.profiler.tables.table import Table

Make = Callable[..., Architecture]


def filled(*architectures: Architecture, networks: bool = True) -> Table:
    """A device on which a layer takes a microsecond per thousand multiply-adds, and a network 2 ms
    more.
    """
    made = Table("box")
    for each in architectures:
        parts = part_workloads(each)
        for workload in parts:
            made.add(Row(workload, workload.macs / 1e6, 0.01, 9))
        if networks:
            made.add(Row(network_workload(each), 2 + sum(workload.macs for workload in parts) / 1e6, 0.01, 9))
    return made


def test_known_layers_are_summed_and_the_overhead_is_fitted(architecture: Make) -> None:
    known = [architecture(modules, width) for modules in (1, 2, 3) for width in (8, 16, 24)]
    predictor = Predictor(filled(*known))
    assert (predictor.overhead.fixed, predictor.overhead.scale) == pytest.approx((2, 1), rel=1e-3)
    wanted = architecture(modules=3, width=16, layers=4)  # of layers that are known
    prediction = predictor.predict(wanted)
    assert prediction.ms == pytest.approx(2 + network_workload(wanted).macs / 1e6, rel=1e-3)
    assert prediction.covered == 1
    macs = [workload.macs for workload in part_workloads(wanted)]
    assert predictor.parts_ms(wanted) == pytest.approx([each / 1e6 for each in macs])
    assert prediction.low <= prediction.ms <= prediction.high < 1.01 * prediction.ms


def test_unknown_layers_are_interpolated_with_a_wider_interval(architecture: Make) -> None:
    known = [architecture(modules, width) for modules in (1, 2, 4, 5) for width in (8, 12, 16, 24, 32)]
    predictor = Predictor(filled(*known))
    wanted = architecture(modules=3, width=16)
    prediction = predictor.predict(wanted)
    assert prediction.ms == pytest.approx(2 + network_workload(wanted).macs / 1e6, rel=0.1)
    assert prediction.covered == pytest.approx(2 / 3)
    seen = predictor.predict(known[0])
    assert prediction.high / prediction.ms > seen.high / seen.ms


def test_operator_that_was_never_met_is_judged_by_its_size(architecture: Make) -> None:
    known = [architecture(modules, width) for modules in (1, 2, 4) for width in (8, 16, 32)]
    prediction = Predictor(filled(*known)).predict(architecture(op="full3d", width=16))
    exact = 2 + network_workload(architecture(op="full3d", width=16)).macs / 1e6
    assert prediction.low < exact < prediction.high


@pytest.mark.parametrize(("launch_ms", "layer"), [(50.0, lambda macs: 50.0), (1e-4, lambda macs: macs / 1e6)])
def test_a_network_takes_the_longer_of_kernels_and_launching(
    launch_ms: float, layer: Callable[[int], float], architecture: Make
) -> None:
    """A layer takes a millisecond per million multiply-adds on the GPU, and is launched in 50 ms,
    which is longer, or in no time.
    """
    made = Table("gpu")
    for modules in (1, 2, 3, 4):
        for width in (8, 16, 24):
            each = architecture(modules, width, layers=modules)
            parts = part_workloads(each)
            for part in parts:
                made.add(Row(part, part.macs / 1e6, 0.01, 9, launch_ms))
            made.add(Row(network_workload(each), 2 + sum(layer(part.macs) for part in parts), 0.01, 9))
    for width in (16, 20):  # a known and an unknown one
        wanted = architecture(3, width, layers=2)
        exact = 2 + sum(layer(part.macs) for part in part_workloads(wanted))
        assert Predictor(made).predict(wanted).ms == pytest.approx(exact, rel=0.05)


def test_network_with_a_layer_that_is_not_there_does_not_enter_the_fit(architecture: Make) -> None:
    known = [architecture(modules) for modules in (1, 2, 3, 4)]
    made = filled(*known)
    made.add(Row(replace(network_workload(known[0]), config="0123456789ab"), 1e6, 0.1, 9))
    assert Predictor(made).overhead.fixed == pytest.approx(2, rel=1e-3)


def test_network_of_the_table_is_predicted_from_the_others(architecture: Make) -> None:
    """Its own time, a hundred times too long, or a tenth, changes nothing."""
    shapes = [(modules, width) for modules in (1, 2, 3) for width in (8, 16)]
    known = [architecture(modules, width) for modules, width in shapes]
    own = network_workload(known[0])
    found = []
    for factor in (0.1, 1.0, 100.0):
        made = filled(*known)
        made.rows[own.key] = replace(made.rows[own.key], ms=factor * made.rows[own.key].ms)
        found.append(Predictor(made).predict(known[0]))
    assert found[0] == found[1] == found[2]
    assert found[0].ms == pytest.approx(2 + own.macs / 1e6, rel=1e-3)


def test_empty_table_predicts_nothing() -> None:
    with pytest.raises(NasError, match="latency table of 'box' holds 0 layers"):
        Predictor(Table("box"))

"""The measurements of a run folder: kept as they are taken, the least disturbed one counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency, Paired
from nas.profiler.measured.measure import Measurement
from nas.runs.folder.measurements import MEASUREMENTS, append_measurement, read_measurements

BEFORE = Path(__file__).parents[1] / "run_of_version_0.1"
CLEAN = Measurement(Latency(50, 3.0, 0.1, 3.1, 3.2, [3.0]), 1000, "here", Environment(load_average=0.5), [])


def beside(reference_ms: float, *flags: str) -> Measurement:
    """A measurement in which the reference network took so long."""
    paired = Paired(ratio=1.0, reference_ms=reference_ms, fastest_ms=reference_ms, samples=[])
    return replace(CLEAN, reference=paired, flags=list(flags))


def test_each_is_read_as_it_was_taken(tmp_path: Path) -> None:
    append_measurement(tmp_path, 4, CLEAN)
    append_measurement(tmp_path, 7, replace(CLEAN, device="elsewhere"))
    assert read_measurements(tmp_path, "here") == {4: CLEAN}
    assert list(read_measurements(tmp_path, "elsewhere")) == [7]
    assert read_measurements(tmp_path / "new", "here") == {}


def test_of_several_the_least_disturbed_counts(tmp_path: Path) -> None:
    for measurement in (beside(9.0, "load"), beside(5.0, "load"), beside(8.0, "load"), beside(1.0, "load", "heat")):
        append_measurement(tmp_path, 0, measurement)
    assert read_measurements(tmp_path, "here") == {0: beside(5.0, "load")}
    append_measurement(tmp_path, 0, beside(20.0))
    assert read_measurements(tmp_path, "here") == {0: beside(20.0)}


def test_a_row_that_was_cut_off_is_not_read_and_goes_with_the_next(tmp_path: Path) -> None:
    append_measurement(tmp_path, 0, CLEAN)
    file = tmp_path / MEASUREMENTS
    whole = file.read_bytes()
    for cut in (b'{"trial": 1, "lat', b"{"):
        file.write_bytes(whole + cut)
        assert list(read_measurements(tmp_path, "here")) == [0]
    append_measurement(tmp_path, 1, CLEAN)
    assert list(read_measurements(tmp_path, "here")) == [0, 1] and file.read_bytes().startswith(whole)


def test_those_of_the_version_before_are_read() -> None:
    found = read_measurements(BEFORE, "epyc-25-1-2c.torch2.13.fp32.b1.t2")
    assert list(found) == [1] and found[1].latency_ms.median == pytest.approx(220.118, abs=0.001)


@pytest.mark.parametrize("line", ["[]", "{}", "1", "nothing", '{"trial": "x"}', '{"trial": 1, "latency_ms": 3}'])
def test_what_is_no_measurement_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / MEASUREMENTS).write_text(f"{line}\n")
    with pytest.raises(NasError, match=r"measurements\.jsonl' holds what is no measurement .* allowed: rows of"):
        read_measurements(tmp_path, "here")
    (tmp_path / "measurements.json").write_text(json.dumps([1]))
    with pytest.raises(NasError, match=r"measurements\.json' holds what"):
        read_measurements(tmp_path, "here")

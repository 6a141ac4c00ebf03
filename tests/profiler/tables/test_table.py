from __future__ import annotations

import json
import logging
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.errors import NasError
from nas.models.layers.d2plus1d import TOSABlock
from nas.profiler.measured.device import Conditions
from nas.profiler.tables import growth, remote
from nas.profiler.tables.growth import grow
from nas.profiler.tables.remote import export_parts, import_latency, write_onnx
from nas.profiler.tables.table import Piece, Predictor, Row, Table, pieces, whole
from nas.space import SearchSpace

HERE = Conditions("cpu", "fp32", 1, 1)


def architecture(modules: int = 2, width: int = 8, layers: int = 1, op: str = "d2plus1d") -> Architecture:
    layer: dict[str, Any] = {"op": op, "modules": modules} if op == "d2plus1d" else {"op": op}
    return Architecture.parse(
        {
            "input": {"frames": 4, "size": 16},
            "num_classes": 5,
            "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
            "stages": [{"width": width, "layers": [layer] * layers}],
        }
    )


def table(*rows: Row, device: str = "box", **environment: Any) -> Table:
    made = Table(device, environment)
    for row in rows:
        made.add(row)
    return made


LAYER = Piece("t2d", "8x4x4x16", "8x4x4x16", "1x1x1", 'heads=2 tubes=[{"kernel":[1,2]}]', 1000, 10)
NETWORK = Piece("network", "8x16x16x3", "1x1x1x5 tokens", "1x1x1", f"{LAYER.key}*3", 3000, 30)


# ----------------------------------------------------------------------------------- what a line is


def test_layers_are_known_by_what_they_compute() -> None:
    stem, layer, head = pieces(architecture())
    assert (stem.op, layer.op, head.op) == ("stem:conv", "d2plus1d", "head:mean")
    assert (layer.input, layer.output, layer.stride) == ("4x8x8x8", "4x8x8x8", "1x1x1")
    assert layer.config == "expansion=2.0 kernel=3 modules=2 temporal_kernel=3"
    assert layer.macs > 0 and layer.params > 0
    assert layer.options == {"expansion": "2.0", "kernel": "3", "modules": "2", "temporal_kernel": "3"}


def test_equal_layers_of_two_networks_have_one_key_and_different_ones_have_two() -> None:
    short, long, other = (pieces(a) for a in (architecture(), architecture(layers=3), architecture(modules=3)))
    assert {short[1].key} == {piece.key for piece in long[1:4]} != {other[1].key}
    assert short[0].key == other[0].key


def test_network_is_the_sum_of_its_layers() -> None:
    network, parts = whole(architecture(layers=3)), pieces(architecture(layers=3))
    assert dict(network.layers()) == {parts[0].key: 1, parts[1].key: 3, parts[4].key: 1}
    assert network.macs == sum(piece.macs for piece in parts)


# -------------------------------------------------------------------------------------------- files


def test_file_comes_back_as_it_was(tmp_path: Path) -> None:
    made = table(Row(LAYER, 1.25, 0.02, 30), Row(NETWORK, 5.0, 0.01, 20), cpu="A", torch="2.13.0")
    made.reference_ms = 1.5
    made.save(tmp_path / "sub" / "box.csv")
    assert Table.load(tmp_path / "sub" / "box.csv") == made


def test_file_is_sorted_whatever_the_order_and_one_line_each(tmp_path: Path) -> None:
    rows = [Row(replace(LAYER, op=op), 1.0, 0.1, 9) for op in "dacb"]
    texts = []
    for seed in range(3):
        table(*random.Random(seed).sample(rows, 4)).save(tmp_path / "box.csv")
        texts.append((tmp_path / "box.csv").read_text())
    assert len(set(texts)) == 1
    lines = texts[0].splitlines()
    assert lines[:2] == ["# device: box", "# environment: {}"]
    assert [line.split(",")[1] for line in lines[3:]] == ["a", "b", "c", "d"]


def test_merging_keeps_the_smaller_error() -> None:
    other = replace(LAYER, op="tps")
    ours = table(Row(LAYER, 1.0, 0.05, 9), cpu="A")
    theirs = table(Row(LAYER, 2.0, 0.01, 9), Row(other, 3.0, 0.5, 9), cpu="A")
    for merged in (ours.merged(theirs), theirs.merged(ours)):
        assert {key: row.ms for key, row in merged.rows.items()} == {LAYER.key: 2.0, other.key: 3.0}
    assert len(ours.rows) == 1


def test_lines_of_a_union_merge_by_git_are_read_like_a_merge(tmp_path: Path) -> None:
    table(Row(LAYER, 1.0, 0.05, 9)).save(tmp_path / "a.csv")
    table(Row(LAYER, 2.0, 0.01, 9)).save(tmp_path / "b.csv")
    last = (tmp_path / "b.csv").read_text().splitlines()[-1]
    with open(tmp_path / "a.csv", "a") as file:
        file.write(last + "\n")
    assert Table.load(tmp_path / "a.csv").rows[LAYER.key].ms == 2.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table(device="phone"), "latency table of 'phone' cannot be used for 'box'"),
        (table(torch="2.13.0"), "was measured with torch '2.13.0', and here it is '2.12.0'"),
        (table(torch="2.12.0", threads=4), "was measured with threads 4, and here it is None"),
    ],
)
def test_another_device_or_environment_is_refused(other: Table, message: str) -> None:
    with pytest.raises(NasError, match=message):
        table(torch="2.12.0").merged(other)


def broken(old: str, new: str) -> str:
    row = f'{LAYER.key},t2d,8x4x4x16,8x4x4x16,1x1x1,"heads=2 tubes=[{{""kernel"":[1,2]}}]",1000,10,1.25,0.02,30'
    text = f"# device: box\nkey,op,input,output,stride,config,macs,params,ms,error,runs\n{row}\n"
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.25", "fast", "line 3: ms 'fast' is not allowed; allowed: a number above 0"),
        ("1.25", "nan", "line 3: ms 'nan' is not allowed"),
        ("1.25", "-1", "line 3: ms '-1' is not allowed"),
        ("1.25", "0", "line 3: ms '0' is not allowed"),
        ("0.02", "-0.1", "line 3: error '-0.1' is not allowed; allowed: a number from 0"),
        (",30\n", ",x\n", "line 3: runs 'x' is not allowed; allowed: whole numbers from 0"),
        (",30\n", "\n", "line 3, has 10 cells; allowed: 11"),
        ("heads=2", "heads=4", "line 3: key '[0-9a-f]{12}' is not that of the layer"),
        ("key,op", "op", "has columns op, input"),
        ("# device: box\n", "", "does not say what it was measured on"),
        ("# device: box\n", "# device: box\n# environment: {\n", "does not say what it was measured on"),
    ],
)
def test_broken_file_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "box.csv").write_text(broken(old, new))
    with pytest.raises(NasError, match=message):
        Table.load(tmp_path / "box.csv")


def test_shape_that_is_none_is_refused(tmp_path: Path) -> None:
    piece = replace(LAYER, input="big")
    table(Row(piece, 1.0, 0.1, 9)).save(tmp_path / "box.csv")
    with pytest.raises(NasError, match="'t2d' from 'big' to '8x4x4x16' is not understood"):
        Table.load(tmp_path / "box.csv")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="cannot be read"):
        Table.load(tmp_path / "none.csv")


def test_table_of_this_machine_carries_its_environment(tmp_path: Path) -> None:
    made = Table.under(HERE)
    assert made.device == HERE.name
    assert {"cpu", "torch", "threads"} <= made.environment.keys()
    made.add(Row(LAYER, 1.0, 0.1, 9))
    made.save(tmp_path / f"{made.device}.csv")
    assert Table.find(HERE, tmp_path).rows == made.rows
    assert Table.find(replace(HERE, threads=2), tmp_path).rows == {}


def test_only_plain_inference_has_a_table() -> None:
    with pytest.raises(NasError, match="latency table with compile is not allowed"):
        Table.under(replace(HERE, compile=True))


# --------------------------------------------------------------------------------------- prediction


def filled(*architectures: Architecture, networks: bool = True) -> Table:
    """A device on which a layer takes a microsecond per thousand multiply-adds, and a network 2 ms
    more.
    """
    made = table()
    for each in architectures:
        parts = pieces(each)
        for piece in parts:
            made.add(Row(piece, piece.macs / 1e6, 0.01, 9))
        if networks:
            made.add(Row(whole(each), 2 + sum(piece.macs for piece in parts) / 1e6, 0.01, 9))
    return made


def test_known_layers_are_summed_and_the_overhead_is_fitted() -> None:
    known = [architecture(modules, width) for modules in (1, 2, 3) for width in (8, 16, 24)]
    predictor = Predictor(filled(*known))
    assert (predictor.overhead.fixed, predictor.overhead.scale) == pytest.approx((2, 1), rel=1e-3)
    wanted = architecture(modules=3, width=16, layers=4)  # of layers that are known
    prediction = predictor.predict(wanted)
    assert prediction.ms == pytest.approx(2 + whole(wanted).macs / 1e6, rel=1e-3)
    assert prediction.covered == 1
    assert prediction.low <= prediction.ms <= prediction.high < 1.01 * prediction.ms


def test_unknown_layers_are_interpolated_with_a_wider_interval() -> None:
    known = [architecture(modules, width) for modules in (1, 2, 4, 5) for width in (8, 12, 16, 24, 32)]
    predictor = Predictor(filled(*known))
    wanted = architecture(modules=3, width=16)
    prediction = predictor.predict(wanted)
    assert prediction.ms == pytest.approx(2 + whole(wanted).macs / 1e6, rel=0.1)
    assert prediction.covered == pytest.approx(2 / 3)
    seen = predictor.predict(known[0])
    assert prediction.high / prediction.ms > seen.high / seen.ms


def test_operator_that_was_never_met_is_judged_by_its_size() -> None:
    known = [architecture(modules, width) for modules in (1, 2, 4) for width in (8, 16, 32)]
    prediction = Predictor(filled(*known)).predict(architecture(op="full3d", width=16))
    exact = 2 + whole(architecture(op="full3d", width=16)).macs / 1e6
    assert prediction.low < exact < prediction.high


def test_network_with_a_layer_that_is_not_there_does_not_enter_the_fit() -> None:
    known = [architecture(modules) for modules in (1, 2, 3, 4)]
    made = filled(*known)
    made.add(Row(replace(NETWORK, config="0123456789ab"), 1e6, 0.1, 9))
    assert Predictor(made).overhead.fixed == pytest.approx(2, rel=1e-3)


def test_empty_table_predicts_nothing() -> None:
    with pytest.raises(NasError, match="latency table of 'box' holds 0 layers"):
        Predictor(table())


# ------------------------------------------------------------------------------------------- growth


def test_growing_times_what_is_missing_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SAVE_SECONDS", 0.0)
    path = tmp_path / "here.csv"
    first, second = architecture(), architecture(modules=3)
    rows: list[Row] = []
    made = Table.under(HERE)
    assert grow([first], made, path, HERE, networks=1, progress=rows.append) == 4
    assert [row.piece.op for row in rows].count("network") == 1
    assert all(row.ms > 0 and row.runs >= growth.FEWEST for row in made.rows.values())
    loaded = Table.load(path)
    assert loaded.rows.keys() == made.rows.keys()
    reference = loaded.reference_ms
    assert reference and reference > 0

    assert grow([first, second], loaded, path, HERE, networks=1) == 1  # its one new layer
    again = Table.load(path)
    assert again.reference_ms == reference
    assert {row.piece.config for row in again.layers} >= {"expansion=2.0 kernel=3 modules=3 temporal_kernel=3"}
    assert grow([first, second], again, path, HERE, networks=1) == 0


class Fake:
    """A process in which a layer takes three times the reference of 2 ms."""

    fails_after = 10**6

    def __init__(self, conditions: Conditions) -> None:
        self.count = 0

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        json.dumps(request)
        for index in range(len(request["layers"]) + len(request["networks"])):
            if self.count == self.fails_after:
                raise KeyboardInterrupt
            self.count += 1
            yield {"index": index, "share": 3.0, "error": 0.01, "runs": 9, "reference": 2.0}


def test_interrupt_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_Worker", Fake)
    monkeypatch.setattr(Fake, "fails_after", 2)
    with pytest.raises(KeyboardInterrupt):
        grow([architecture()], Table.under(HERE), tmp_path / "here.csv", HERE)
    saved = Table.load(tmp_path / "here.csv")
    assert [row.ms for row in saved.rows.values()] == [6.0, 6.0]


def test_later_sessions_are_scaled_to_the_reference_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "_Worker", Fake)
    made = Table.under(HERE)
    made.reference_ms = 1.0
    grow([architecture()], made, tmp_path / "here.csv", HERE)
    assert {row.ms for row in made.rows.values()} == {3.0}


def test_space_is_sampled_until_nothing_new_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_Worker", Fake)
    monkeypatch.setattr(growth, "IDLE", 20)
    document = architecture().document()
    document["stages"][0]["layers"][0]["modules"] = {"choice": [1, 2, 3]}
    made = Table.under(HERE)
    grow(SearchSpace.from_document(document, "tiny"), made, tmp_path / "here.csv", HERE, networks=2)
    assert len(made.layers) == 5  # stem, three layers, head
    assert len(made.networks) == 2


def test_table_of_another_device_does_not_grow(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="latency table of 'phone' cannot be used"):
        grow([architecture()], table(device="phone"), tmp_path / "here.csv", HERE)


def test_process_that_dies_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_COMMAND", ["false"])
    with pytest.raises(NasError, match="the process that times layers ended with exit code 1"):
        grow([architecture()], Table.under(HERE), tmp_path / "here.csv", HERE)


# ----------------------------------------------------------------------------------- remote devices


def test_list_goes_out_and_comes_back_as_a_table(tmp_path: Path) -> None:
    listed = export_parts([architecture(), architecture(modules=3)], tmp_path / "parts.csv", networks=1)
    assert len(listed) == 5  # stem, two layers, head, one network
    lines = (tmp_path / "parts.csv").read_text().splitlines()
    assert all(line.endswith(",,,") for line in lines[1:])
    measured = [lines[0], *(line[: -len(",,")] + "2.5,," for line in lines[1:3]), *lines[3:]]
    (tmp_path / "measured.csv").write_text("\n".join(measured))
    made = import_latency(tmp_path / "measured.csv", "pixel-8.ort1.20.fp16.b1.t4")
    assert made.device == "pixel-8.ort1.20.fp16.b1.t4"
    assert [(row.ms, row.error, row.runs) for row in made.rows.values()] == [(2.5, 0.0, 0)] * 2


@pytest.mark.parametrize(
    ("cell", "message"), [("slow", "line 2: ms 'slow' is not allowed"), ("", "has no milliseconds")]
)
def test_list_that_is_filled_in_wrongly_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    export_parts([architecture()], tmp_path / "parts.csv")
    head, first, *_ = (tmp_path / "parts.csv").read_text().splitlines()
    (tmp_path / "parts.csv").write_text(f"{head}\n{first[:-2]}{cell},,\n")
    with pytest.raises(NasError, match=message):
        import_latency(tmp_path / "parts.csv", "phone")


def test_two_different_lines_about_one_layer_are_refused(tmp_path: Path) -> None:
    export_parts([architecture()], tmp_path / "parts.csv")
    head, first, *_ = (tmp_path / "parts.csv").read_text().splitlines()
    (tmp_path / "parts.csv").write_text(f"{head}\n{first[:-2]}1,,\n{first[:-2]}2,,\n")
    with pytest.raises(NasError, match=r"line 3: ms 2 of '[0-9a-f]{12}' differs from that of line 2"):
        import_latency(tmp_path / "parts.csv", "phone")


@pytest.mark.parametrize("device", ["", "../phone", "my phone", ".phone"])
def test_device_name_must_suit_a_file_name(tmp_path: Path, device: str) -> None:
    with pytest.raises(NasError, match="allowed: a name of letters"):
        import_latency(tmp_path / "parts.csv", device)


def test_onnx_without_its_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: None)
    with pytest.raises(NasError, match=r"ONNX files need onnx and onnxscript; .* pip install 'video-nas\[onnx\]'"):
        write_onnx([architecture()], tmp_path)


def test_onnx_files_are_named_by_key_and_written_once(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    listed = export_parts([architecture()], tmp_path / "parts.csv", networks=1)
    written, skipped = write_onnx([architecture()], tmp_path / "onnx", networks=1)
    assert skipped == {}
    assert sorted(path.name for path in written) == sorted(f"{piece.key}.onnx" for piece in listed)
    model = onnx.load(tmp_path / "onnx" / f"{listed[-1].key}.onnx")
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [1, 3, 4, 16, 16]
    seen: list[Piece] = []
    assert write_onnx([architecture()], tmp_path / "onnx", networks=1, progress=seen.append) == ([], {})
    assert seen == listed


def test_what_the_exporter_says_about_itself_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def export(module: nn.Module, arguments: Any, path: Path, **options: Any) -> None:
        warnings.warn("old call", FutureWarning, stacklevel=1)
        heard.append(logging.getLogger("torch.onnx._internal.exporter").isEnabledFor(logging.WARNING))
        path.write_bytes(b"graph")

    monkeypatch.setattr(torch.onnx, "export", export)
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written, skipped = write_onnx([architecture()], tmp_path / "onnx", networks=1)
    assert written and not skipped and not any(heard)
    assert logging.getLogger("torch.onnx").level == level


def refuse(error: Exception) -> Any:
    """An exporter that has no form for a D2Plus1D layer, and wraps what it says as that of torch
    does.
    """

    def export(module: nn.Module, arguments: Any, path: Path, **options: Any) -> None:
        if any(isinstance(part, TOSABlock) for part in module.modules()):
            raise RuntimeError("Failed, see\nthe manual") from error
        path.write_bytes(b"graph")

    return export


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("\nNo function for aten::x\nOriginal traceback: ..."), "No function for aten::x"), (ValueError(), "")],
)
def test_layer_without_onnx_form_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.onnx, "export", refuse(error))
    stem, layer, head, network = export_parts([architecture()], tmp_path / "parts.csv", networks=1)
    seen: list[Piece] = []
    written, skipped = write_onnx([architecture()], tmp_path / "onnx", networks=1, progress=seen.append)
    assert [path.stem for path in written] == [stem.key, head.key]
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == sorted(path.name for path in written)
    assert skipped == dict.fromkeys((layer, network), reason or "ValueError")
    assert seen == [stem, layer, head, network]


def test_onnx_files_that_cannot_be_written_are_no_fault_of_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(OSError, match="No space left"):
        write_onnx([architecture()], tmp_path)

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.errors import NasError
from nas.models.layers.d2plus1d import TOSABlock
from nas.profiler.tables import remote
from nas.profiler.tables.remote import export_onnx, export_parts, import_latency
from nas.profiler.tables.rows import Workload

Make = Callable[..., Architecture]


def test_list_goes_out_and_comes_back_as_a_table(tmp_path: Path, architecture: Make) -> None:
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
def test_list_that_is_filled_in_wrongly_is_refused(tmp_path: Path, cell: str, message: str, architecture: Make) -> None:
    export_parts([architecture()], tmp_path / "parts.csv")
    head, first, *_ = (tmp_path / "parts.csv").read_text().splitlines()
    (tmp_path / "parts.csv").write_text(f"{head}\n{first[:-2]}{cell},,\n")
    with pytest.raises(NasError, match=message):
        import_latency(tmp_path / "parts.csv", "phone")


def test_two_different_lines_about_one_layer_are_refused(tmp_path: Path, architecture: Make) -> None:
    export_parts([architecture()], tmp_path / "parts.csv")
    head, first, *_ = (tmp_path / "parts.csv").read_text().splitlines()
    (tmp_path / "parts.csv").write_text(f"{head}\n{first[:-2]}1,,\n{first[:-2]}2,,\n")
    with pytest.raises(NasError, match=r"line 3: ms 2 of '[0-9a-f]{12}' differs from that of line 2"):
        import_latency(tmp_path / "parts.csv", "phone")


@pytest.mark.parametrize("device", ["", "../phone", "my phone", ".phone", "p" * 101, "tel\u00e9phone"])
def test_device_name_must_suit_a_file_name(tmp_path: Path, device: str) -> None:
    with pytest.raises(NasError, match="allowed: a name of up to 100 letters"):
        import_latency(tmp_path / "parts.csv", device)


def test_onnx_without_its_packages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: None)
    with pytest.raises(NasError, match=r"ONNX files need onnx and onnxscript; .* pip install 'video-nas\[onnx\]'"):
        export_onnx([architecture()], tmp_path)


def test_onnx_files_are_named_by_key_and_written_once(tmp_path: Path, architecture: Make) -> None:
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    listed = export_parts([architecture()], tmp_path / "parts.csv", networks=1)
    written, skipped = export_onnx([architecture()], tmp_path / "onnx", networks=1)
    assert skipped == {}
    assert sorted(path.name for path in written) == sorted(f"{workload.key}.onnx" for workload in listed)
    model = onnx.load(tmp_path / "onnx" / f"{listed[-1].key}.onnx")
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [1, 3, 4, 16, 16]
    seen: list[Workload] = []
    assert export_onnx([architecture()], tmp_path / "onnx", networks=1, progress=seen.append) == ([], {})
    assert seen == listed


class Program:
    """What the exporter makes, of no operators."""

    def __init__(self) -> None:
        graph = SimpleNamespace(all_nodes=list, inputs=[], initializers={}, metadata_props={})
        self.model = SimpleNamespace(graph=graph, metadata_props={})

    def save(self, path: Path, external_data: bool) -> None:
        path.write_bytes(b"graph")


def test_what_the_exporter_says_about_itself_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    heard = []

    def export(module: nn.Module, arguments: Any, **options: Any) -> Program:
        warnings.warn("old call", FutureWarning, stacklevel=1)
        heard.append(logging.getLogger("torch.onnx._internal.exporter").isEnabledFor(logging.WARNING))
        return Program()

    monkeypatch.setattr(torch.onnx, "export", export)
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written, skipped = export_onnx([architecture()], tmp_path / "onnx", networks=1)
    assert written and not skipped and not any(heard)
    assert logging.getLogger("torch.onnx").level == level


def refuse(error: Exception) -> Any:
    """An exporter that has no form for a D2Plus1D layer, and wraps what it says as that of torch
    does.
    """

    def export(module: nn.Module, arguments: Any, **options: Any) -> Program:
        if any(isinstance(part, TOSABlock) for part in module.modules()):
            raise RuntimeError("Failed, see\nthe manual") from error
        return Program()

    return export


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("\nNo function for aten::x\nOriginal traceback: ..."), "No function for aten::x"), (ValueError(), "")],
)
def test_layer_without_onnx_form_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, architecture: Make
) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.onnx, "export", refuse(error))
    stem, layer, head, network = export_parts([architecture()], tmp_path / "parts.csv", networks=1)
    seen: list[Workload] = []
    written, skipped = export_onnx([architecture()], tmp_path / "onnx", networks=1, progress=seen.append)
    assert [path.stem for path in written] == [stem.key, head.key]
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == sorted(path.name for path in written)
    assert skipped == dict.fromkeys((layer, network), reason or "ValueError")
    assert seen == [stem, layer, head, network]


def test_onnx_files_that_cannot_be_written_are_no_fault_of_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Make
) -> None:
    def export(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(OSError, match="No space left"):
        export_onnx([architecture()], tmp_path)

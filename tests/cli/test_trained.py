"""Commands on a trained network, as a user types them."""

from __future__ import annotations

import csv
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
import torch
from PIL import Image

from nas.cli.app import main
from nas.cli.options import views
from nas.errors import NasError
from nas.trained.folder import load_model
from nas.trained.zero_shot import write_class_vectors

BEFORE = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def nas(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and errors of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["nas", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_views() -> None:
    assert views("3x10") == (3, 10)
    for text in ("3", "0x1", "3x", "axb", "-1x3"):
        with pytest.raises(NasError, match="allowed: clips x crops, such as 3x3"):
            views(text)


def test_evaluate(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    code, out, err = nas(
        "evaluate", model_folder, "--data", clips_folder, "--views", "2x1", "--no-measure", "--out", tmp_path / "e"
    )
    assert (code, err) == (0, "")
    assert "12 clips of val" in out and "2x1" in out
    document = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert document["results"][0]["top1"]["clips"] == 12


def test_evaluate_refuses_in_one_sentence(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "none", "--data", clips_folder), "is no folder"),
        ((model_folder, "--data", clips_folder, "--split", "all"), "split 'all'"),
        ((model_folder, "--data", clips_folder, "--views", "3"), "views '3' are none"),
        ((model_folder, "--data", "motion"), "whose classes are not those of model"),
    ):
        code, _, err = nas("evaluate", *arguments, "--no-measure")
        assert code == 2 and message in err and err.count("\n") == 1


def test_from_training_to_evaluation(clips_folder: Path, tmp_path: Path) -> None:
    """With class vectors and without: what training says of its weights is what a test says."""
    document = {
        "input": {"frames": 4, "size": 16},
        "num_classes": 3,
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 8, "layers": [{"op": "full3d"}]}],
        "head": {"op": "similarity", "dimension": 4},
    }
    (tmp_path / "net.yaml").write_text(json.dumps(document))
    vectors = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    write_class_vectors(tmp_path / "words", ["right", "other", "up", "left", "more"], vectors)
    arguments = (
        "--data",
        clips_folder,
        "--epochs",
        2,
        "--classes",
        tmp_path / "words",
        "--device",
        "cpu",
        "--threads",
        1,
        "--quiet",
    )
    code, _, err = nas("train", tmp_path / "net.yaml", *arguments, "--out", tmp_path / "best")
    assert code == 0, err
    model = load_model(tmp_path / "best")
    assert model.record.clip_seconds == pytest.approx(2.0)
    kept = model.network.state_dict()["parts.head.classifier.weight"]
    assert torch.equal(kept, vectors[[3, 0, 2]])  # left, right, up
    code, _, err = nas(
        "evaluate", tmp_path / "best", "--data", clips_folder, "--no-measure", "--classes", tmp_path / "words"
    )
    assert code == 0, err
    (folder,) = (tmp_path / "best" / "evaluation").iterdir()
    found = json.loads((folder / "evaluation.json").read_text())["results"][0]["top1"]["value"]
    assert found == pytest.approx(model.record.figures["validation accuracy"].value)


def test_predict_a_clip_and_a_folder(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    code, out, _ = nas("predict", model_folder, clips_folder / "test", "--csv", tmp_path / "p.csv", "--top", 1)
    assert code == 0 and out.count("\n") == 4  # three clips, and where the table is
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [Path(row["video"]).parent.name for row in rows] == ["left", "right", "up"]
    for row in rows:
        shares = {name: float(row[f"p({name})"]) for name in ("left", "right", "up")}
        assert max(shares, key=shares.__getitem__) == row["class"]
        assert float(row["probability"]) == max(shares.values())
        assert (row["start_s"], row["end_s"]) == ("", "")


def test_clips_of_every_form_in_a_folder(model_folder: Path, tmp_path: Path) -> None:
    """Frames in a folder, an array, and what is hidden or no clip."""
    (tmp_path / "c" / "frames").mkdir(parents=True)
    (tmp_path / "c" / ".hidden").mkdir()
    for i in range(5):
        Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(tmp_path / "c" / "frames" / f"{i}.png")
    np.save(tmp_path / "c" / "a.npy", np.zeros((5, 20, 20, 3), np.uint8))
    np.save(tmp_path / "c" / ".hidden" / "b.npy", np.zeros((5, 20, 20, 3), np.uint8))
    (tmp_path / "c" / "notes.txt").write_text("")
    Image.new("RGB", (20, 20)).save(tmp_path / "c" / "cover.jpg")
    code, _, _ = nas("predict", model_folder, tmp_path / "c", "--csv", tmp_path / "p.csv")
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [Path(row["video"]).name for row in rows] == ["a.npy", "frames"]
    assert nas("predict", model_folder, tmp_path / "c" / "frames")[0] == 0


def test_predict_a_long_video(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    clip = clips_folder / "test" / "up" / "0.mp4"
    code, out, _ = nas(
        *("predict", model_folder, clip, "--window", "1s", "--csv", tmp_path / "p.csv"),
        *("--timeline", tmp_path / "t.png", "--overlay", tmp_path / "o.mp4"),
    )
    assert code == 0 and "0.5 to 1.5 s" in out
    written = [f"csv      {tmp_path / 'p.csv'}", f"timeline {tmp_path / 't.png'}", f"overlay  {tmp_path / 'o.mp4'}"]
    assert out.splitlines()[-3:] == written
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [float(row["start_s"]) for row in rows] == [0, 0.5, 1]
    assert Image.open(tmp_path / "t.png").size[0] > 1000
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_predictions_that_are_printed_as_csv(model_folder: Path, clips_folder: Path) -> None:
    code, out, err = nas("predict", model_folder, clips_folder / "test" / "up" / "0.mp4", "--csv", "-")
    assert code == 0 and len(list(csv.reader(io.StringIO(out)))) == 2
    assert "0.mp4: " in err


def test_each_printed_row_is_there_at_once(
    model_folder: Path, clips_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that a reader of the stream has at each flush: the head is with the first row."""
    seen: list[int] = []

    class Watched(io.StringIO):
        def flush(self) -> None:
            seen.append(self.getvalue().count("\n"))

    monkeypatch.setattr(io, "StringIO", Watched)
    nas("predict", model_folder, clips_folder / "test" / "up" / "0.mp4", "--window", "1s", "--csv", "-")
    assert {2, 3, 4} <= set(seen)


def test_predict_goes_on_after_a_broken_video(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    code, out, err = nas("predict", model_folder, tmp_path / "a.mp4", clips_folder / "test" / "up" / "0.mp4")
    assert code == 2 and out.count("\n") == 1
    assert "1 videos cannot be read" in err and "a.mp4" in err


def test_predict_refuses_in_one_sentence(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    clip = clips_folder / "test" / "up" / "0.mp4"
    for arguments, message in (
        (("none.mp4",), "the file does not exist"),
        ((tmp_path,), "holds no videos"),
        ((clip, clip, "--overlay", tmp_path / "o.mp4"), "is of one video"),
        (("-", "--timeline", tmp_path / "t.png"), "is of one video"),
        ((clip, "--overlay", tmp_path / "none" / "o.mp4"), "cannot be written"),
        ((clip, "--window", "1s", "--views", "3x3"), "views 3x3 are of whole videos"),
        ((clip, "--window", "1"), "is not a time"),
    ):
        code, _, err = nas("predict", model_folder, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1, err


def test_show(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    clip = clips_folder / "test" / "up" / "0.mp4"
    code, out, _ = nas("show", model_folder, "--video", clip, "--class", "left", "--out", tmp_path)
    assert code == 0
    files = [Path(line) for line in out.split()]
    assert {"kernels_stem.png", "moved_up_0.png"} <= {file.name for file in files}
    assert all(file.is_file() for file in files)
    code, _, err = nas("show", model_folder, "--video", clip, "--class", "wave")
    assert code == 2 and "class 'wave' is not one to show; allowed" in err


def test_export(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.safetensors", tmp_path / "a.md", tmp_path / "a.yaml"]
    outs = [word for file in files for word in ("--out", file)]
    code, out, err = nas("export", model_folder, *outs, "--data", clips_folder, "--no-measure")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith(str(tmp_path))]
    assert [line.split(": ")[0] for line in lines] == list(map(str, files))
    assert lines[0].endswith(
        f"largest difference from PyTorch 0 of the largest logit, on 5 clips of val of {clips_folder.name}"
    )
    assert "It was not measured." in files[1].read_text()
    for arguments, message in (
        (("--out", tmp_path / "a.onn"), "has the suffix '.onn'; allowed"),
        (("--out", files[0]), "exists; allowed: another file, or --force"),
        (("--out", tmp_path / "b.yaml", "--pick", "knee"), "pick 'knee' is of a run"),
        (("--out", tmp_path / "b.yaml", "--data", clips_folder, "--split", "all"), "split 'all'"),
        (("--out", tmp_path / "b.py", "--with-preprocessing"), "stands beside none of .onnx, .pt2"),
    ):
        code, _, err = nas("export", model_folder, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "b.yaml").exists()
    code, _, err = nas("export", BEFORE, "--out", tmp_path / "b.yaml", "--data", clips_folder)
    assert code == 2 and "is for the files of a trained network, and what is written of a run holds no weights" in err

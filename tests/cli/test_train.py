"""`nas train`: what it refuses, and its plan."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli.app import app
from nas.errors import NasError
from nas.models.network import build
from nas.runs.folder.run import Run
from nas.weights.checkpoints import write_tensors

NETWORK = (
    "{input: {frames: 4, size: 16}, stem: {op: conv, stride: [1, 4, 4]}, stages: [{width: 8, layers: [{op: full3d}]}]}"
)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "motion"], "TARGET is not given; allowed: an architecture and its data, or --resume FOLDER"),
        (["r3d_18"], "--data is not given; allowed: an architecture and its data, or --resume FOLDER"),
        (["--resume", "x", "--epochs", "3"], "--epochs does not go with --resume; allowed: --quiet"),
        (["r3d_18", "--resume", "x"], "TARGET does not go with --resume; allowed: --quiet"),
        (["r3d_18", "--data", "motion", "--batch", "many"], "batch 'many' is not allowed; allowed: a whole"),
        (["r3d_18", "--data", "motion", "--pick", "knee"], "pick 'knee' is of no search: 'r3d_18' is no folder"),
        (["r3d_18", "--data", "motion", "--clip", "16"], "clip '16' is no clip shape; allowed: frames x size"),
        (["r3d_18", "--data", "motion", "--resize", "1x2x3"], "resize '1x2x3' is not allowed; allowed: pixels"),
        (["r3d_18", "--data", "motion", "--class-weights", "x"], "class-weights 'x' is not allowed; allowed: bal"),
        (["r3d_18", "--data", "motion", "--time", "2"], "time '2' is not a time"),
        (["r3d_18", "--data", "motion", "--time", "2m", "--epochs", "3"], "epochs 3 and time '2m' both say how long"),
        (["--resume", "nowhere"], "folder 'nowhere' has no training; allowed: one that `nas train` wrote"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(NasError) as raised:
        run(*arguments)
    assert message in str(raised.value)


def test_a_dry_run_shows_the_plan_and_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NETWORK)
    out = tmp_path / "out"
    shown = run(str(tmp_path / "net.yaml"), "--data", "motion", "--dry-run", "--out", str(out), "--device", "cpu")
    assert "4x16x16 on motion: 12 classes, 4096 train" in shown and "Nothing was trained." in shown
    assert "49 epochs: about 200,000 clips are passed from scratch, in 20 to 100 epochs" in shown
    assert not out.exists()


OF_VERSION_0_1 = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def test_a_pick_of_a_search_is_trained() -> None:
    shown = run(str(OF_VERSION_0_1), "--data", "motion", "--dry-run", "--device", "cpu", "--epochs", "1")
    assert "1 epoch on cpu" in shown and "1 epoch: as asked" in shown


def test_a_pick_begins_with_the_weights_of_its_search(tmp_path: Path) -> None:
    shutil.copytree(OF_VERSION_0_1, tmp_path / "run")
    weights, record = tmp_path / "weights.safetensors", tmp_path / "run" / "run.json"
    document = json.loads(record.read_text())
    document["settings"]["init"] = str(weights)
    record.write_text(json.dumps(document))
    write_tensors(weights, build(Run(tmp_path / "run").pick()).state_dict())

    arguments = (str(tmp_path / "run"), "--data", "motion", "--dry-run", "--device", "cpu")
    shown = run(*arguments)
    assert f"init {weights}, as the search; --init none is from scratch" in shown
    assert "about 40,000 clips are passed from a checkpoint of nas" in shown
    assert "about 200,000 clips are passed from scratch" in run(*arguments, "--init", "none")
    weights.unlink()
    with pytest.raises(NasError, match=r"checkpoint '.*weights\.safetensors' is no file"):
        run(*arguments)
    assert "passed from scratch" in run(*arguments, "--init", "none")

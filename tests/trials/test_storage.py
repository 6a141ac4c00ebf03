"""What Ray stores, on an S3-compatible server that the tests start."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pyarrow.fs import FileSelector, FileSystem

import nas
from nas.trials.tuning import checked_storage

SPACE = {
    "input": {"frames": 4, "size": 16},
    "stem": {"op": "conv", "stride": [1, 4, 4]},
    "stages": [{"width": {"choice": [4, 8]}, "layers": {"repeat": 1, "layer": {"op": "d2plus1d"}}}],
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its address, for as long as the tests of this file run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        process.kill()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_search_stores_on_s3(server: str, tmp_path: Path) -> None:
    query = f"scheme=http&endpoint_override={server}&region=us-east-1&allow_bucket_creation=true"
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    run = nas.search(
        tmp_path / "space.yaml",
        budget="1gflops",
        out=tmp_path / "run",
        trials=2,
        storage=f"s3://bucket/runs?{query}",
        quiet=True,
        workers=1,
        epochs=1,
        train_clips=12,
        val_clips=12,
        measure_seconds=0.1,
        confirm_seeds=0,
        baselines="none",
    )
    assert run.trials["state"].tolist() == ["finished", "finished"]
    filesystem, folder = FileSystem.from_uri(f"s3://bucket/runs?{query}")
    stored = [file.path for file in filesystem.get_file_info(FileSelector(folder, recursive=True)) if file.size]
    states = [path for path in stored if "experiment_state" in path]
    assert states and all(path.startswith(f"{folder}/run/") for path in stored)
    # What a run goes on by is in its folder.
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"study.log", "trials.csv", "front.csv"}


def test_a_bucket_that_is_not_there_is_refused_before_anything_is_written(server: str, tmp_path: Path) -> None:
    storage = f"s3://nowhere/runs?scheme=http&endpoint_override={server}&region=us-east-1"
    with pytest.raises(nas.NasError, match=r"cannot be opened \(Bucket 'nowhere' not found.*\); allowed: a folder, or"):
        checked_storage(storage)
    with pytest.raises(nas.NasError, match="Bucket 'nowhere' not found"):
        nas.search("tiny", budget="1gflops", out=tmp_path / "run", trials=1, storage=storage, quiet=True)
    assert not (tmp_path / "run").exists()

"""Fixtures of more than one test folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long a machine takes to draw an example says nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A process that has used Ray exits without a word when a request that it left behind finds no Ray
# for 60 s. Tests that come after one with a cluster of its own are in that process.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared test data: `$NAS_TEST_DATA`, or `../shared/data` beside the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAS_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set NAS_TEST_DATA to the folder that holds decode_zoo and nagoya_fir16")
    return folder


CLASSES = ("left", "right", "up")


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mp4 clips of three classes in train (2 of each), val (4) and test (1): a bright square of 8
    pixels moves over noise, 20 frames of 36x48 in two seconds.
    """
    import av
    import numpy as np

    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 4), ("test", 1)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                with av.open(str(root / split / name / f"{number}.mp4"), "w") as container:
                    stream = container.add_stream("mpeg4", rate=10)
                    stream.height, stream.width, stream.pix_fmt = 36, 48, "yuv420p"
                    for i in range(20):
                        picture = rng.integers(0, 80, (36, 48, 3), dtype=np.uint8)
                        x = {"left": 38 - 2 * i, "right": 2 * i, "up": 20}[name]
                        y = 26 - i if name == "up" else 14
                        picture[y : y + 8, max(0, x) : max(0, x) + 8] = 230
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                    container.mux(stream.encode())
    return root


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small network for the classes of `clips_folder`, its weights random."""
    import torch

    from nas.architecture import Architecture
    from nas.data.preprocessing import Preprocessing
    from nas.models.network import build
    from nas.trained.folder import ModelRecord, TrainedModel

    torch.manual_seed(0)
    document = {
        "input": {"frames": 4, "size": 16},
        "num_classes": 3,
        "stem": {"op": "conv", "kernel": [3, 5, 5], "stride": [1, 4, 4]},
        "stages": [{"width": 8, "layers": [{"op": "joint_filter"}, {"op": "factorized", "heads": 2}]}],
    }
    record = ModelRecord(CLASSES, Preprocessing.of_input(4, (16, 16)), clip_seconds=2.0)
    model = TrainedModel(build(Architecture.parse(document)), record)
    with torch.no_grad():  # of untrained networks the classes are almost equally probable
        model.network.parts["head"].get_parameter("classifier.weight").normal_()
    return model.save(tmp_path_factory.mktemp("models") / "best")

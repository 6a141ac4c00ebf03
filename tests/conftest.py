"""Fixtures of more than one test folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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

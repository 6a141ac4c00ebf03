"""The files of a trained network's folder, and whether they are there: without torch, so that a
misspelt folder is refused at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from nas.errors import NasError, brief

RECORD, ARCHITECTURE, WEIGHTS = "model.json", "architecture.yaml", "model.safetensors"
FILES = (ARCHITECTURE, WEIGHTS, RECORD)
# A folder inside, in which new files stand from when they are whole until they are in their places.
WRITTEN = ".model.written"
_ALLOWED = "allowed: a folder that `nas train` wrote"


def model_file(folder: Path, name: str) -> Path:
    """Where one of the files is, wherever a killed training left it."""
    written = folder / WRITTEN / name
    return written if written.is_file() else folder / name


def check_model(path: str | Path) -> None:
    """Refuses what is no folder of a trained network.

    Raises:
        NasError: No such folder, or a file of it is missing.
    """
    name = brief(str(path), 200)
    if not os.path.isdir(path):
        raise NasError(f"model {name} is no folder; {_ALLOWED}")
    for file in FILES:
        if not model_file(Path(path), file).is_file():
            raise NasError(f"model {name} has no {file}; {_ALLOWED}")

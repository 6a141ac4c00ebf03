"""Which files a network leaves the package in, and what is refused before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nas.errors import SHOWN, NasError, brief

WITHOUT_WEIGHTS = (".yaml", ".py")
FROM_FRAMES = (".onnx", ".pt2")  # what may take uint8 frames
SUFFIXES = (".yaml", ".safetensors", ".pt2", ".onnx", ".py", ".md")


def check_files(files: Sequence[Path], *, trained: bool, force: bool, with_preprocessing: bool) -> None:
    """Refuses what cannot be written.

    Args:
        files: To be written.
        trained: Whether there are weights.
        force: Whether files that are there are written over.
        with_preprocessing: Whether some are to take frames.

    Raises:
        NasError: A file is a folder, lies in none, is there already, is named twice, has another
            suffix or needs weights; or none takes frames.
    """
    for i, file in enumerate(files):
        what = f"out {brief(str(file), SHOWN)}"
        if os.path.isdir(file) or not os.path.isdir(file.parent):
            found = "a folder" if os.path.isdir(file) else "in a folder that does not exist"
            raise NasError(f"{what} is {found}; allowed: a file in an existing folder")
        if file.suffix not in SUFFIXES:
            raise NasError(f"{what} has the suffix {file.suffix!r}; allowed: {', '.join(SUFFIXES)}")
        if not trained and file.suffix not in WITHOUT_WEIGHTS:
            raise NasError(
                f"{what} needs weights, which a run keeps none of; allowed: {' and '.join(WITHOUT_WEIGHTS)} of a run, "
                "or a folder that nas train wrote"
            )
        if os.path.lexists(file) and not force:
            raise NasError(f"{what} exists; allowed: another file, or --force to write over it")
        if file in files[:i]:
            raise NasError(f"{what} is named twice; allowed: different files")
    if with_preprocessing and not any(file.suffix in FROM_FRAMES for file in files):
        raise NasError(f"--with-preprocessing stands beside none of {', '.join(FROM_FRAMES)}; allowed: beside one")

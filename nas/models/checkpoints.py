"""Reading checkpoints as plain tensors, from files and from the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import NasError

FORMATS = (".safetensors", ".pt", ".pth", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>.+))?")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "module", "params")


def load_state(source: str | Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name; nothing in it is executed.

    Args:
        source: A .safetensors file, a .pt, .pth or .bin file of `torch.save`, or a name on the Hugging Face hub,
            `organisation/name` or `organisation/name:file`, which is downloaded.

    Raises:
        NasError: No such file or name, a format that cannot be read, or nothing but other objects in it.
    """
    path = Path(source)
    if not path.is_file():
        hub = HUB_NAME.fullmatch(str(source))
        if not hub or (path.suffix in FORMATS and not hub["file"]):
            raise NasError(
                f"checkpoint {str(source)!r} is no file; allowed: a {', '.join(FORMATS)} file, "
                "or organisation/name[:file] on the Hugging Face hub"
            )
        path = download(hub["repo"], hub["file"])
    if path.suffix not in FORMATS:
        raise NasError(f"checkpoint {str(source)!r} has the format {path.suffix!r}; allowed: {', '.join(FORMATS)}")
    try:
        data = _read(path)
    except Exception as error:  # the readers raise many types on a broken file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NasError(
            f"checkpoint {str(source)!r} cannot be read as plain tensors ({reason}); "
            "allowed: whole files that hold tensors by name and no other objects"
        ) from None
    while isinstance(data, Mapping):
        inner = next((data[key] for key in WRAPPERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            break
        data = inner
    state = {str(k): v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    if not state:
        raise NasError(f"checkpoint {str(source)!r} holds no tensors; allowed: tensors by name")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def download(repo: str, file: str | None) -> Path:
    """Returns the local copy of a file on the Hugging Face hub: the one asked for, or the usual one for weights.

    Raises:
        NasError: huggingface_hub is not installed, or the hub has no such file.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise NasError(
            f"checkpoint {repo!r} is no file, and names on the Hugging Face hub need huggingface_hub; "
            "allowed: a file, or the same after pip install video-nas[hub]"
        ) from None
    names = (file,) if file else HUB_FILES
    for name in names:
        try:
            return Path(hf_hub_download(repo, name))
        except Exception as error:  # no network, no such repository, no permission: all are told in one sentence
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise NasError(
                f"checkpoint {repo!r} cannot be downloaded ({reason}); allowed: a file, or a public name on the hub"
            ) from None
    raise NasError(f"checkpoint {repo!r} has none of {', '.join(names)}; allowed: organisation/name:file")

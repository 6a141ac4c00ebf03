"""Checkpoints as plain tensors: read from files and from the Hugging Face hub, written to files."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import SHOWN, NasError, brief
from nas.models.image_weights import precise

FORMATS = (".safetensors", ".pt", ".pth", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>.+))?")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "module", "params", "teacher")
PLACES = f"a {', '.join(FORMATS)} file, a folder with one, or organisation/name[:file] on the Hugging Face hub"


def load_state(source: str | Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name; nothing in it is executed.

    Args:
        source: A .safetensors file, a .pt, .pth or .bin file of `torch.save`, a folder with
            `model.safetensors` or `pytorch_model.bin`, or a name on the Hugging Face hub,
            `organisation/name` or `organisation/name:file`, which is downloaded.

    Raises:
        NasError: No such file or name, a format that cannot be read, or nothing but other objects
            in it.
    """
    if not isinstance(source, str | Path):
        raise NasError(f"checkpoint {brief(source)} is no name; allowed: {PLACES}")
    name = brief(str(source), SHOWN)
    path = Path(source)
    if str(source) and os.path.isdir(path):
        found = [path / file for file in HUB_FILES if os.path.isfile(path / file)]
        if not found:
            raise NasError(f"checkpoint {name} is a folder without {' or '.join(HUB_FILES)}; allowed: {PLACES}")
        path = found[0]
    elif not os.path.isfile(path):  # also of what cannot be the name of a file
        hub = HUB_NAME.fullmatch(str(source))
        if not hub or (path.suffix in FORMATS and not hub["file"]):
            raise NasError(f"checkpoint {name} is no file; allowed: {PLACES}")
        path = download(hub["repo"], hub["file"])
    if path.suffix not in FORMATS:
        raise NasError(f"checkpoint {name} has the format {brief(path.suffix)}; allowed: {', '.join(FORMATS)}")
    try:
        data = _read(path)
    except Exception as error:  # the readers raise many types on a broken file
        raise NasError(f"checkpoint {name} {_reason(error)}") from None
    while isinstance(data, Mapping):
        inner = next((data[key] for key in WRAPPERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            break
        data = inner
    state = {str(k): v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    if not state:
        raise NasError(f"checkpoint {name} holds no tensors; allowed: tensors by name")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with warnings.catch_warnings(action="ignore"):  # torch's, of an archive that it then refuses
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """What keeps a file from being read, without the advice of its reader, which is to trust it."""
    if "TorchScript" in str(error):
        return "is a TorchScript archive; allowed: its state dict, saved by torch.save or as safetensors"
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"holds objects other than tensors ({brief(found[1])[1:-1]}); allowed: the state dict alone"
    return "cannot be read as plain tensors; allowed: whole files that hold tensors by name and no other objects"


def download(repo: str, file: str | None) -> Path:
    """Returns the local copy of a file on the Hugging Face hub: the one asked for, or the usual one
    for weights.

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


def check_kinds(state: Mapping[str, Tensor], source: str) -> None:
    """Refuses tensors that are no plain arrays of real numbers.

    Raises:
        NasError: A tensor is sparse, nested, quantised, complex or on the meta device.
    """
    for name, value in state.items():
        kinds = {
            "quantised": value.is_quantized,
            "complex": value.is_complex(),
            "nested": value.is_nested,
            "sparse": value.layout != torch.strided,
            "without numbers, on the meta device": value.is_meta,
        }
        if kind := next((kind for kind, found in kinds.items() if found), None):
            raise NasError(
                f"{source} has {brief(name)}, a tensor that is {kind} ({value.layout}, {value.dtype}); "
                "allowed: dense tensors of real numbers"
            )


def by_name(names: Mapping[str, str], state: Mapping[str, Tensor], source: str) -> dict[str, list[str]]:
    """The names of a checkpoint by what they stand for: `x` and `module.x` both for `x`.

    Args:
        names: What each name of the checkpoint stands for.

    Raises:
        NasError: Two names stand for one parameter, with different values.
    """
    origins: dict[str, list[str]] = {}
    for name, short in names.items():
        origins.setdefault(short, []).append(name)
        first = origins[short][0]
        if name != first and not _equal(state[first], state[name]):
            raise NasError(
                f"{source} has {brief(first)} and {brief(name)} for one parameter, with different values; "
                "allowed: one of them, or two that are equal"
            )
    return origins


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((precise(a) == precise(b)).all())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors, from any device, as a safetensors file that whoever may read new files of
    this user may read; safetensors by itself lets nobody else read it.

    Args:
        path: Overwritten if it exists.
        tensors: By name.
        metadata: Texts by name.
    """
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path, metadata)
    path.chmod(mode)

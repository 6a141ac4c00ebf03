"""Operators are found by their files, and registered from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

import nas
from nas.architecture import DOWNSAMPLES, HEADS, LAYERS, STEMS, Architecture, HeadConfig, LayerConfig
from nas.architecture.registry import ENVIRONMENT, load_extensions, register_operator
from nas.errors import NasError
from nas.models.registry import module_class

PACKAGE = Path(nas.__file__).parent
REGISTRIES = (STEMS, LAYERS, DOWNSAMPLES, HEADS)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten behind it."""
    monkeypatch.setenv(ENVIRONMENT, "")
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_outside", {})
    yield


class Doubling(LayerConfig):
    op: Literal["doubling"] = "doubling"


class Block(nn.Module):
    pass


def layer_files(room: str) -> set[str]:
    return {path.stem for path in (PACKAGE / room / "layers").glob("*.py")} - {"__init__", "base"}


def test_an_operator_is_its_config_file_and_its_module_file() -> None:
    assert set(LAYERS.names()) == layer_files("architecture") == layer_files("models")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.base.__name__)
def test_every_type_has_a_module_of_the_file_that_mirrors_its_own(registry: Any) -> None:
    for kind in registry.types():
        if kind.op_name() != "in_layer":  # which the first layer does
            assert module_class(kind).__module__ == kind.__module__.replace("architecture", "models")


def test_names_of_each_place() -> None:
    """In this order since the first version: runs number the choices of a neighbourhood by it."""
    assert STEMS.names() == ("conv", "patch", "tube")
    assert DOWNSAMPLES.names() == ("conv", "merge", "in_layer", "frame_pool")
    assert HEADS.names() == ("mean", "attention", "class_token", "conv", "similarity")
    first = ("t2d", "tps", "channel_attention", "factorized", "sparse_tube")
    assert LAYERS.names()[:10] == (*first, "d2plus1d", "joint_filter", "full3d", "r2plus1d", "x3d")


def test_a_registered_operator_is_found_and_replaced_by_the_next_of_its_name() -> None:
    register_operator(Doubling, Block)
    assert LAYERS.names()[-1] == "doubling" and LAYERS.find("doubling") is Doubling
    assert module_class(Doubling) is Block

    class Again(LayerConfig):
        op: Literal["doubling"] = "doubling"

    register_operator(Again, f"{__name__}:nothing")
    assert LAYERS.find("doubling") is Again and LAYERS.names().count("doubling") == 1


def test_heads_come_from_outside_as_well() -> None:
    class Last(HeadConfig):
        op: Literal["last"] = "last"

    register_operator(Last, Block)
    assert HEADS.names()[-1] == "last" and "last" not in LAYERS.names()


class Unnamed(LayerConfig):
    pass


class Taken(LayerConfig):
    op: Literal["t2d"] = "t2d"


class Dotted(LayerConfig):
    op: Literal["a.b"] = "a.b"


@pytest.mark.parametrize(
    ("config", "module", "message"),
    [
        (Block, Block, r"operator <class .*Block'> cannot be registered; allowed: a subclass of one of .*LayerConfig"),
        ("t2d", Block, r"operator 't2d' cannot be registered; allowed: a subclass of one of"),
        (Unnamed, Block, r"Unnamed'> cannot be registered; allowed: .* with a default op"),
        (Taken, Block, r"op 't2d' of Taken is an operator of the package; allowed: another name"),
        (Dotted, Block, r"op 'a.b' of Dotted is no name; allowed: letters, digits and underscores"),
        (Doubling, "my_layers", r"module 'my_layers' of 'doubling' is none; allowed: a class, or 'package:Class'"),
    ],
)
def test_what_cannot_be_registered_is_refused(config: Any, module: Any, message: str) -> None:
    with pytest.raises(NasError, match=message):
        register_operator(config, module)
    assert os.environ[ENVIRONMENT] == ""


def test_a_module_class_that_is_none_is_refused_when_it_is_built() -> None:
    register_operator(Doubling, f"{__name__}:PACKAGE")
    with pytest.raises(NasError, match=r"operator 'doubling' has no module class .*; allowed: a torch.nn.Module"):
        module_class(Doubling)


@pytest.mark.parametrize("name", ["no_such_module", "/nowhere/op.py"])
def test_an_extension_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(ENVIRONMENT, name)
    with pytest.raises(
        NasError, match=rf"NAS_OPERATORS '{name}' cannot be imported \(.*\); allowed: modules, or paths"
    ):
        load_extensions()


def test_other_processes_find_a_file_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of trials start in the root folder."""
    (tmp_path / "registers_nothing.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT, os.pathsep.join(["registers_nothing.py", "json"]))
    load_extensions()
    assert os.environ[ENVIRONMENT] == os.pathsep.join([str(tmp_path / "registers_nothing.py"), "json"])


OUTSIDE = """
from typing import Literal
import nas
from nas.architecture import LayerConfig
class Doubling(LayerConfig):
    op: Literal["doubling"] = "doubling"
nas.register_operator(Doubling, "doubling_module:Block")
"""
MODULE = """
from torch import nn
class Block(nn.Module):
    def __init__(self, config, shape_in, shape_out, stride):
        super().__init__()
    def forward(self, x):
        return 2 * x
"""
PROGRAM = """
import json, sys
import nas
from nas.architecture import LAYERS
data = {"input": {"frames": 2, "size": 16}, "stem": {"op": "conv"}}
network = nas.Architecture.parse(data | {"stages": [{"width": 8, "layers": [{"op": "doubling"}]}]})
without_torch = "torch" not in sys.modules
print(json.dumps([LAYERS.names()[-1], without_torch]))
if len(sys.argv) > 1:
    print(nas.cost(network).layers[1].elementwise)
"""


@pytest.mark.parametrize("way", ["entry point", "file", "module"])
def test_other_processes_know_an_operator(tmp_path: Path, way: str) -> None:
    """By an entry point, or by the variable; torch is loaded when the first one is built."""
    (tmp_path / "doubling.py").write_text(OUTSIDE)
    (tmp_path / "doubling_module.py").write_text(MODULE)
    value = {"entry point": "", "file": str(tmp_path / "doubling.py"), "module": "doubling"}[way]
    if way == "entry point":
        about = tmp_path / "doubling-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: doubling\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[nas.operators]\ndoubling = doubling\n")
    env = os.environ | {ENVIRONMENT: value, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(tmp_path)])}
    build = ["build"] * (way == "module")
    done = subprocess.run([sys.executable, "-c", PROGRAM, *build], env=env, capture_output=True, text=True, check=True)
    found, *cost = done.stdout.splitlines()
    assert json.loads(found) == ["doubling", True]
    assert cost == [str(2 * 4 * 4 * 8)] * len(build)


def test_nothing_that_a_file_names_is_imported() -> None:
    data = {"stem": {"op": "conv"}, "stages": [{"width": 8, "layers": [{"op": "antigravity:Block"}]}]}
    with pytest.raises(NasError, match=r"stages.0.layers.0.op: 'antigravity:Block' is unknown; allowed: t2d, tps"):
        Architecture.parse(data)
    assert "antigravity" not in sys.modules

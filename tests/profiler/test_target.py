from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.architecture import Architecture, load
from nas.errors import NasError
from nas.profiler.target import Input, Target, load_target

MODULE = """
import sys
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, clip, ids):
        return clip.mean() + self.embedding(ids)

class Maker:
    make = Net

def broken():
    raise ValueError("no\\nweights")

def leaves():
    sys.exit("bye")

def number():
    return 3

table = {}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with modules of the user's."""
    (tmp_path / "users_nets.py").write_text(MODULE)
    (tmp_path / "users_broken.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "users_syntax.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path)
    for name in ("users_nets", "users_broken", "users_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x16x224x224", Input((1, 3, 16, 224, 224))),
        ("7", Input((7,))),
        ("pixel_values=2x3", Input((2, 3), "pixel_values")),
        ("1x77:int64", Input((1, 77), None, "int64")),
        ("mask=1x8:bool", Input((1, 8), "mask", "bool")),
    ],
)
def test_input_grammar(text: str, expected: Input) -> None:
    assert Input.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "x", "1x", "0x3", "1x-3", "1,3", "1 x 3", "=1x3", "a=b=1x3", "1x3:", "3.5", "a b=1"]
)
def test_bad_inputs(text: str) -> None:
    with pytest.raises(NasError, match="is not allowed; allowed: sizes such as 1x3x16x224x224"):
        Input.parse(text)


def test_bad_input_dtype() -> None:
    with pytest.raises(NasError, match="input '1x3:complex64' has dtype 'complex64'; allowed: float32, float64, "):
        Input.parse("1x3:complex64")


def test_an_architecture_is_a_target_with_one_clip() -> None:
    target = load_target("x3d_xs")
    assert target.inputs == (Input((1, 3, 4, 160, 160)),)
    assert (target.name, target.batch, target.factory) == ("x3d_xs", 1, None)
    args, kwargs = target.example("meta", torch.bfloat16, batch=5)
    assert [(a.shape, a.dtype) for a in args] == [((5, 3, 4, 160, 160), torch.bfloat16)]
    assert kwargs == {}
    assert all(p.is_meta for p in target.build("meta").parameters())


def test_a_file_is_a_target(tmp_path: Path) -> None:
    load("x3d_xs").save(tmp_path / "a:b")  # even one that is called like a factory
    assert load_target(tmp_path / "a:b").architecture == load("x3d_xs")


def test_a_target_survives_json(folder: Path) -> None:
    for target in (load_target("x3d_xs"), load_target("users_nets:Net", ["2x3", "ids=2x7:int64"])):
        assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_a_factory_in_the_current_folder(folder: Path) -> None:
    before = list(sys.path)
    target = load_target("users_nets:Net", ["2x3", "ids=2x7:int64"])
    model = target.build()
    args, kwargs = target.example()
    assert model(*args, **kwargs).shape == (2, 7, 4)
    assert kwargs["ids"].unique().tolist() == [1]  # an index that every table of two rows has
    assert sys.path == before
    assert load_target("users_nets:Maker.make", ["1"]).build().__class__ is model.__class__


def test_with_batch_leaves_inputs_without_a_batch_alone(folder: Path) -> None:
    target = load_target("users_nets:Net", ["2x3", "ids=2x7:int64", "scale=5"])
    assert [entry.shape for entry in target.with_batch(8).inputs] == [(8, 3), (8, 7), (5,)]


def test_a_factory_is_moved_to_the_device(folder: Path) -> None:
    model = load_target("torch.nn:Identity", ["1"]).build("meta")
    assert isinstance(model, nn.Identity)
    assert load_target("users_nets:Net", ["1"]).build("meta").embedding.weight.is_meta  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "users_missing:net",
            "module 'users_missing' of 'users_missing:net' does not import: ModuleNotFoundError: No mod",
        ),
        ("users_broken:net", "users_broken:net' does not import: ModuleNotFoundError: No module named 'not_installed"),
        ("users_syntax:net", "does not import: SyntaxError: "),
        ("users_nets:nothing", r"module 'users_nets' has no 'nothing'; allowed: .* in .*users_nets\.py$"),
        ("users_nets:table", "'users_nets:table' is of type dict; allowed: something that can be called"),
        ("users_nets:broken", "factory 'users_nets:broken' failed: ValueError: no weights$"),
        ("users_nets:leaves", "factory 'users_nets:leaves' failed: SystemExit: bye$"),
        ("users_nets:number", r"factory 'users_nets:number' returned a int; allowed: a torch\.nn\.Module"),
    ],
)
def test_factories_that_fail_say_why(folder: Path, what: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_target(what, ["1x3"]).build()


def test_what_load_target_refuses() -> None:
    with pytest.raises(NasError, match="factory 'a:b' has no input; allowed: at least one"):
        load_target("a:b")
    with pytest.raises(NasError, match="input 'x' is given 2 times; allowed: once"):
        load_target("a:b", ["x=1", "x=2"])
    with pytest.raises(NasError, match="input '1x3' is not allowed for architecture 'x3d_xs'"):
        load_target("x3d_xs", ["1x3"])
    with pytest.raises(NasError, match="'no_such_network'"):
        load_target("no_such_network")


def test_a_forward_that_refuses_its_input_is_explained() -> None:
    target = Target(None, "torch.nn:Identity", (Input((1, 3)), Input((2,), "scale", "int64")))
    with (
        pytest.raises(
            NasError, match=r"^forward of 'torch.nn:Identity' with input 1x3 scale=2:int64 failed: TypeError: no"
        ),
        target.naming_failures(),
    ):
        raise TypeError("no\nscale")
    with pytest.raises(torch.OutOfMemoryError), target.naming_failures():
        raise torch.OutOfMemoryError("full")


def test_the_hash_names_a_nameless_architecture() -> None:
    document = load("x3d_xs").document() | {"name": ""}
    nameless = Architecture.parse(document)
    assert Target.of(nameless).name == nameless.hash

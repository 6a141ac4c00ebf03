"""Standalone files: they build the same network where this package cannot be imported."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
import torch
from networks import DOCUMENTS, SAMPLES, architecture, network

from nas.architecture import LAYERS, Architecture
from nas.architecture.downsamples import DOWNSAMPLES
from nas.architecture.heads import HEADS
from nas.architecture.stems import STEMS
from nas.data.preprocessing import Preprocessing
from nas.deployment.standalone import standalone
from nas.weights.checkpoints import write_tensors

# What a second process does with the files of all networks, without this package.
PROGRAM = """
import importlib.util, json, sys, torch
sys.modules["nas"] = None  # an import of it raises
answers = {}
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("shipped", path)
    sys.modules["shipped"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.build().eval()
    module.load_weights(network, path.replace(".py", ".safetensors"))
    clips = module.read_safetensors(path.replace(".py", ".clips"))["clips"]
    with torch.no_grad():
        answers[path] = [network(clips[:count]).tolist() for count in (1, 5)]
outside = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps(answers | {"pydantic": "pydantic" in outside, "yaml": "yaml" in outside}))
"""


def test_the_twenty_networks_have_every_operator() -> None:
    used = {registry: set() for registry in (STEMS, LAYERS, DOWNSAMPLES, HEADS)}  # type: ignore[var-annotated]
    for name in DOCUMENTS:
        made = architecture(name)
        used[STEMS].add(made.stem.op)
        used[LAYERS] |= made.operators.keys()
        used[DOWNSAMPLES] |= {each.downsample.op for each in made.stages if each.downsample}
        used[HEADS].add(made.head.op)
    assert len(DOCUMENTS) == 20
    assert all(names == set(registry.names()) for registry, names in used.items())


def test_a_second_process_without_the_package_computes_the_same(tmp_path: Path) -> None:
    expected = {}
    for name in list(DOCUMENTS)[:SAMPLES]:
        made, clips = network(name), torch.randn(5, 3, 4, 32, 32)
        path = tmp_path / f"{name}.py"
        path.write_text(standalone(made.architecture))
        write_tensors(path.with_suffix(".safetensors"), made.state_dict())
        write_tensors(path.with_suffix(".clips"), {"clips": clips})
        with torch.no_grad():
            expected[str(path)] = [made(clips[:count]) for count in (1, 5)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, *expected], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert (answers.pop("pydantic"), answers.pop("yaml")) == (False, False)
    for file, both in expected.items():
        for answer, logits in zip(answers[file], both, strict=True):
            torch.testing.assert_close(torch.tensor(answer), logits, rtol=1e-6, atol=1e-6, msg=file)


def test_a_file_has_the_layers_of_its_network_and_no_others() -> None:
    tree = ast.parse(standalone(architecture("r3d")))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes == {
        *("Shape", "Config", "ConvStem", "Full3D", "ConvDownsample", "MeanHead"),
        *("Conv", "BatchNorm", "ResidualBlock", "Conv3DStem", "Full3DBlock", "ConvDownsampling", "MeanPool", "Chain"),
    }
    methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not methods & {"tune", "image_slots", "fitted_state", "kernels", "check", "suited", "parse"}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in imported if name} - set(sys.stdlib_module_names) == {"torch"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_is_unused(name: str) -> None:
    """By the names in the syntax tree: what is defined or imported is used."""
    tree = ast.parse(standalone(architecture(name)))
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
        else:
            defined |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert defined - used == {"annotations", "build", "load_weights", "INPUT"}


def test_names_of_classes_are_texts_whatever_they_hold() -> None:
    names = ['"); import os; (', "\ud800", "\N{PILE OF POO}", "a\nb", "\\"]
    text = standalone(
        Architecture.parse({**architecture("r3d").document(), "num_classes": len(names)}),
        classes=names,
        preprocessing=Preprocessing.of_input(4, (32, 32)),
        notes=["run a\nimport os", "\u202e", "coding: utf_7"],
    )
    assert text.isascii() and '"""\n# run a?import os\n# ?\n# coding: utf_7\n' in text
    assert tokenize.detect_encoding(io.BytesIO(text.encode()).readline)[0] == "utf-8"  # whatever a note says
    (classes,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "CLASSES"  # type: ignore[attr-defined]
    ]
    assert ast.literal_eval(classes) == tuple(names)

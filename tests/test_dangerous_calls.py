"""Nothing that a user can hand over is unpickled, evaluated, imported by name or given to a shell:
the package calls nothing that does so, but for what is listed here with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import nas
from nas import documents

PACKAGE = Path(nas.__file__).parent

# Modules that unpickle, evaluate or unpack what they are given. `import` of one is refused.
MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"),
    *("tarfile", "zipfile", "code", "codeop", "runpy", "imp", "pty", "telnetlib", "xmlrpc"),
}
# Calls by the last part of their name.
CALLS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "execfile", "breakpoint"), "builtins"),
    **dict.fromkeys(("import_module", "spec_from_file_location", "exec_module", "load_module", "run_path"), "imports"),
    **dict.fromkeys(
        ("system", "popen", "getoutput", "getstatusoutput", "spawnl", "spawnv", "execv", "execve"), "shell"
    ),
    **dict.fromkeys(("Popen", "check_call", "check_output"), "processes"),
    **dict.fromkeys(("read_pickle", "to_pickle", "read_hdf", "extractall", "unpack_archive"), "files"),
    **dict.fromkeys(("load_library", "load_inline", "LoadLibrary", "CDLL"), "native code"),
    **dict.fromkeys(("query", "entry_points"), "by text"),
}
BUILTINS = {name for name, kind in CALLS.items() if kind == "builtins"}

# (file, call): why it is no way in.
EXCEPTIONS = {
    ("__init__.py", "import_module"): "lazy exports: names of a table in the file itself",
    ("report/panel.py", "import_module"): "the files of the folder nas/report/panels",
    ("data/arrays.py", "import zipfile"): "members of an .npz are mapped where they lie; nothing is extracted",
    ("deployment/programs.py", "torch.export.load"): "bytes in memory that the same function has just made",
    ("documents.py", "yaml.load"): "the safe loader written in C, or that in Python",
    ("models/registry.py", "import_module"): "the module beside that of a registered config class",
    ("architecture/registry.py", "import_module"): "files of the package, and what the environment lists",
    ("architecture/registry.py", "entry_points"): "what is installed beside the package",
    ("architecture/registry.py", "spec_from_file_location"): "files that NAS_OPERATORS of the environment lists",
    ("architecture/registry.py", "exec_module"): "files that NAS_OPERATORS of the environment lists",
    ("profiler/measured/execution.py", "import_module"): "onnxruntime, a name in the code",
    ("profiler/measured/memory.py", "CDLL"): "the C library that the process has anyway",
    ("profiler/measured/process.py", "Popen"): "python with a module of the package, a list of words without a shell",
    ("profiler/target.py", "import_module"): "module:factory, code that the user names on the command line",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called, as far as it has one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, found = [], node.func
            while isinstance(found, ast.Attribute):
                parts.append(found.attr)
                found = found.value
            parts.append(found.id if isinstance(found, ast.Name) else "")
            yield ".".join(reversed(parts)), node


def keyword(call: ast.Call, name: str) -> object:
    """The constant that a call gives to a keyword; None where it gives none."""
    for each in call.keywords:
        if each.arg == name:
            return each.value.value if isinstance(each.value, ast.Constant) else each.value
    return None


def dangers(tree: ast.AST) -> Iterator[str]:
    """What a module does that may run what it reads."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
    for name, call in calls(tree):
        head, _, last = name.rpartition(".")
        if last in CALLS and (last not in BUILTINS or isinstance(call.func, ast.Name)):  # not module.eval()
            yield last
        if last == "load" and head == "torch" and keyword(call, "weights_only") is not True:
            yield "torch.load"
        if last == "load" and head in ("torch.jit", "torch.package", "torch.export", "jit", "export"):
            yield name
        if head == "yaml" and last in ("load", "load_all", "full_load", "unsafe_load", "full_load_all"):
            yield name
        if last == "load" and head in ("np", "numpy") and keyword(call, "allow_pickle") is not False:
            yield name
        if keyword(call, "allow_pickle") is True or keyword(call, "trust_remote_code") is True:
            yield name
        if keyword(call, "shell") not in (None, False):
            yield "shell=True"


def found_in(folder: Path) -> dict[tuple[str, str], str]:
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for danger in dangers(ast.parse(path.read_text(encoding="utf-8"))):
            found[path.relative_to(folder).as_posix(), danger] = str(path)
    return found


def test_the_package_runs_nothing_that_it_reads() -> None:
    found = found_in(PACKAGE)
    assert sorted(set(found) - set(EXCEPTIONS)) == []
    assert sorted(set(EXCEPTIONS) - set(found)) == [], "exceptions that stand for nothing any more"


def test_yaml_is_read_by_the_safe_loader() -> None:
    assert documents._LOADER in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", None))


@pytest.mark.parametrize(
    ("source", "danger"),
    [
        ("import pickle", "import pickle"),
        ("from cloudpickle import loads", "import cloudpickle"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("torch.load(path, weights_only=choice)", "torch.load"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("yaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("np.load(path)", "np.load"),
        ("numpy.load(path, allow_pickle=True)", "numpy.load"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
        ("__import__(name)", "__import__"),
        ("importlib.import_module(name)", "import_module"),
        ("os.system(text)", "system"),
        ("subprocess.run(text, shell=True)", "shell=True"),
        ("subprocess.Popen(words)", "Popen"),
        ("pd.read_pickle(path)", "read_pickle"),
        ("archive.extractall(folder)", "extractall"),
        ("torch.jit.load(path)", "torch.jit.load"),
        ("table.query(text)", "query"),
        ("import tarfile", "import tarfile"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "AutoModel.from_pretrained"),
    ],
)
def test_what_may_run_is_noticed(source: str, danger: str) -> None:
    assert danger in set(dangers(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "yaml.safe_load(text)",
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "build(architecture).eval()",
        "re.compile(text)",
        "subprocess.run(words)",
        "safetensors.torch.load_file(path)",
    ],
)
def test_what_is_harmless_is_not(source: str) -> None:
    assert not set(dangers(ast.parse(source)))

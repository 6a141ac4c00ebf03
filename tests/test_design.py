"""Rules of the design that a change could break unnoticed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nas"
# The rooms in the order of imports: each may import itself and what stands before it.
ORDER = (
    {"errors", "units"},
    {"resources", "documents", "locks"},
    {"pareto"},
    {"architecture"},
    {"space"},
    {"models"},
    {"weights"},
    {"data"},
    {"training"},
    {"profiler"},
    {"limits"},
    {"trained"},
    {"trials"},
    {"runs"},
    {"report"},
    {"deployment"},
    {"cli"},
)
# The same of the rooms in `nas/runs`, where its own modules may import and be imported by any.
RUNS = ("selection", "folder", "planning", "progress", "stages")
ALONE = {"pareto"}  # imports nothing of this package: of use in any Optuna study


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"nas.{a.name}" for a in node.names] if node.module == "nas" else [node.module or ""]
        names |= {module for module in modules}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("nas.")}
    place = next(i for i, names in enumerate(ORDER) if room in names)
    before = set() if room in ALONE else set().union(*ORDER[:place])
    assert rooms <= before | ORDER[place]


@pytest.mark.parametrize("path", sorted((PACKAGE / "runs").glob("*/*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_in_runs_go_one_way(path: Path) -> None:
    rooms = {name.split(".")[2] for name in imported(path) if name.startswith("nas.runs.")}
    assert not rooms & set(RUNS[RUNS.index(path.parent.name) + 1 :])


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").rglob("*.py")), ids=lambda p: p.name)
def test_models_import_torch_only(path: Path) -> None:
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"nas"}
    assert outside <= {"torch"}


def test_import_nas_loads_nothing_heavy() -> None:
    heavy = ("torch", "ray", "optuna", "matplotlib", "plotly", "av", "pandas")
    program = f"import sys, nas; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_torch_range_stays_below_the_builds_with_gigabytes_of_cuda() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    assert '"torch>=2.11,<2.14"' in text
    assert "torch==2.13.0\n" in (PACKAGE.parent / "constraints.txt").read_text()


FOLDERS = sorted(path for path in PACKAGE.rglob("*") if path.is_dir() and any(path.glob("*.py")))
FILES = 13  # of a folder, beside its __init__, that need no reason
LINES = 450  # of a file


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_each_folder_says_what_lives_there(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= FILES or "files, because" in text


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_long_file_says_why_it_is_one_thing(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= LINES or "lines, because" in (ast.get_docstring(ast.parse(source)) or "")

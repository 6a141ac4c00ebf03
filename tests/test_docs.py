"""README and docs: links lead somewhere, commands and Python blocks run or at least parse, and
quoted messages are those of the program.

    NAS_DOCS=1 python -m pytest -n 0 -s tests/test_docs.py -k pasted

also pastes the commands of the README and of `docs/start.md` into a shell, which takes minutes.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from command_line import nas as run_nas
from typer.main import get_command

import nas
from nas.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PASTED = ("README.md", "docs/start.md")
# Programs of others, which are not run here.
OTHERS = {"ffmpeg", "ray", "optuna-dashboard", "tensorboard", "netron", "."}
# Python blocks that are too long to run, or need the network: their calls fit the signatures.
LONG = {
    ("docs/search.md", "run = nas.search"): "searches for ten minutes",
    ("docs/published.md", "init="): "downloads weights",
    ("README.md", "nas.build"): "needs a search and a training",
    ("docs/trained.md", "load_model"): "run by tests/trained",
    ("docs/trained.md", "from best import"): "run by tests/deployment/test_shipped.py",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if match[1] == language:
                found.append(Block(name_of(page), text[: match.start()].count("\n") + 1, language, match[2]))
    return found


def commands() -> Iterator[tuple[str, str]]:
    """Where, and what: lines of shell blocks, and indented ones that begin with a command."""
    for block in blocks("sh"):
        yield from ((f"{block}", line) for line in block.text.splitlines() if line.strip())
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if re.match(r" {4}(nas|python|make) ", line):
                yield f"{name_of(page)}:{number}", line


def programs(line: str) -> list[list[str]]:
    """The commands of a line of shell, one for each part of a pipe, without settings before it."""
    words = shlex.split(line.replace("; ", " ; "), comments=True)
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("|", ";", "&&", "&"):
            parts.append([])
        elif word == ">":
            parts.append(["cd"])
        else:
            parts[-1].append(word)
    without = ([word for i, word in enumerate(part) if i or "=" not in word] for part in parts)
    return [part[1:] if part and part[0] in ("nice", "OMP_NUM_THREADS=1") else part for part in without if part]


def parse(arguments: list[str]) -> None:
    """Reads the arguments as `nas` would; raises what click raises where it would refuse them."""
    command: Any = get_command(app)
    context = click.Context(command, info_name="nas")
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        if arguments[:1] in (["--version"], ["--help"]):
            return
        name, command, arguments = command.resolve_command(context, arguments)
        if arguments[:1] in (["--help"], ["-h"]):
            return
        context = (
            click.Context(command, info_name=name, parent=context)
            if hasattr(command, "commands")
            else command.make_context(name, list(arguments), parent=context)
        )


def test_pages_hold_blocks() -> None:
    assert len(blocks("sh")) > 25 and len(blocks("python")) >= 8 and len(list(commands())) > 80


@pytest.mark.parametrize(("where", "line"), list(commands()))
def test_commands_are_ones_that_there_are(where: str, line: str) -> None:
    if "..." in line or "[" in line.split("#")[0].replace("'video-nas[", "").replace('".[', ""):
        line = re.sub(r"\.\.\.|\[[^]]*\]", "", line)  # the usage of a script
    for program, *arguments in programs(line):
        if program == "nas":
            parse(arguments)
        elif program == "make":
            assert re.search(rf"^{arguments[0]}( \w+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif program in ("python", "python3") and arguments[0] != "-m":
            script = (ROOT / arguments[0]).read_text()
            for option in (word.split("=")[0] for word in arguments if word.startswith("--")):
                assert f'"{option}"' in script or option.strip("-").replace("-", "_") in script, option
        elif program == "pip":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
        else:
            assert program in OTHERS | {"python", "python3", "cd"}, line


def test_options_in_the_text_are_ones_that_there_are() -> None:
    command: Any = get_command(app)
    known: set[str] = {"--help", *(name for parameter in command.params for name in parameter.opts)}
    groups = [command]
    while groups:
        for each in groups.pop().commands.values():
            groups += [each] if hasattr(each, "commands") else []
            known |= {name for parameter in each.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for page in PAGES:
        if "results" in page.parts or page.name == "CONTRIBUTING.md":
            continue
        for span in re.findall(r"`(--[a-z][^`]*)`", page.read_text()):
            assert span.split()[0].split("|")[0] in known | {"--logdir", "--compile"}, f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_the_site_has_every_page() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def files(nav: Any) -> Iterator[str]:
        if isinstance(nav, str):
            yield nav
        for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
            yield from files(each)

    pages = sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(files(config["nav"])) == pages


def test_the_page_of_the_api_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    assert sorted(re.findall(r"^::: nas\.(\w+)$", text, re.MULTILINE)) == sorted(nas.__all__)


def test_quoted_messages_are_those_of_the_program() -> None:
    sources = "".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in (ROOT / "nas").rglob("*.py"))
    rows = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    assert [row for row in rows if row not in sources] == []


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse(block.text)
    if any(block.page == page and part in block.text for page, part in LONG):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func).startswith("nas."):
                function = getattr(nas, ast.unparse(call.func)[4:])
                keywords = {str(keyword.arg): None for keyword in call.keywords}
                inspect.signature(function).bind(*call.args, **keywords)
        return
    import torch

    monkeypatch.chdir(tmp_path)
    drawn = iter(range(1, 1000))
    names: dict[str, Any] = {
        "nas": nas,
        "module": torch.nn.Conv3d(3, 4, 3),
        "clip": torch.zeros(1, 3, 4, 8, 8),
        "train_and_test": lambda network: 1 / next(drawn),
    }
    exec(compile(tree, str(block), "exec"), names)


def test_the_space_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = next(block for block in blocks("yaml") if block.page == "docs/spaces.md")
    (tmp_path / "mine.yaml").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    run_nas("space", "mine.yaml", "--budget", "20gflops", "--samples", "2", monkeypatch=monkeypatch)


QUICK = (
    "nas list",
    "nas --version",
    "nas data sample clips",
    "nas data check clips/clips.csv --sheet clips.png",
    'nas space tiny --budget "100 MFLOPs, 2 M params" --samples 20',
    "nas profile vov3d_l --by operator --no-measure --csv -",
)


def test_quick_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [" ".join(shlex.split(line, comments=True)) for _, line in commands()]
    texts = " ".join(page.read_text() for page in PAGES)
    monkeypatch.chdir(tmp_path)
    for line in QUICK:
        words = shlex.split(line)
        assert " ".join(words) in lines or f"`{line}`" in texts, line
        if words[1:3] == ["data", "sample"]:
            words += ["--per-class", "6"]
        run_nas(*words[1:], monkeypatch=monkeypatch)
    assert (tmp_path / "clips.png").is_file() and "ATen" not in capsys.readouterr().err


def without_figures(line: str) -> str:
    """A line of output without accuracies, times and operators, which differ between machines."""
    line = re.sub(r"(\w+\*\d+ ?)+", "* ", line)
    return re.sub(r"\d[\d.e+]*( min)?( \d+ s| s)?( epochs?\b)?", "0", line)


def test_figures_of_a_line_do_not_count() -> None:
    line = "[2 of 8] #2 25.0 % 0.787 GFLOPs 1 epoch 3 s d2plus1d*2 factorized*2 (training, 1 min 20 s left)"
    other = "[3 of 8] #0 37.5 % 0.310 GFLOPs 30 epochs 25 s joint_filter*1 t2d*1 tps*1 (training, 38 s left)"
    assert without_figures(line) == without_figures(other) != without_figures(other.replace("training", "confirming"))


@pytest.mark.skipif("NAS_DOCS" not in os.environ, reason="takes minutes: set NAS_DOCS=1")
@pytest.mark.parametrize("page", PASTED)
def test_what_is_pasted_into_a_shell_runs(page: str, tmp_path: Path) -> None:
    lines = [line for block in blocks("sh") if block.page == page for line in block.text.splitlines()]
    # What installs, and what needs data that are elsewhere.
    skipped = ("make ", "python3 -m venv", ". .venv", "pip install")
    script = "\n".join(line for line in lines if not line.startswith(skipped) and "../shared" not in line)
    python = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{python}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    assert shutil.which("nas", path=environment["PATH"])
    done = subprocess.run(
        ["bash", "-ex", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=1800, stdout=subprocess.PIPE
    )
    printed = set(map(without_figures, done.stdout.decode().splitlines()))
    shown = [line for block in blocks("text") if block.page == page for line in block.text.splitlines()]
    beginnings = [without_figures(line.removesuffix(" ...")) for line in shown if line != "..."]
    assert [start for start in beginnings if not any(line.startswith(start) for line in printed)] == []
    if page == "README.md":
        python_blocks = [block for block in blocks("python") if block.page == page]
        for block in python_blocks:
            subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, env=environment, check=True, timeout=300)

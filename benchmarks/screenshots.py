"""Takes the pictures of docs/images that show a page in a browser: a report, and a run in
optuna-dashboard, TensorBoard and Netron.

    python benchmarks/screenshots.py report --run runs/nagoya
    python benchmarks/screenshots.py optuna-dashboard --run runs/nagoya
    python benchmarks/screenshots.py tensorboard --run runs/best
    python benchmarks/screenshots.py netron --run best.onnx

Needs Chromium, and the program of that name: each is started, opened and ended. `--out` names
another folder than docs/images.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from browser import Browser

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
START = 60.0  # seconds until a program serves its page


class Tool(NamedTuple):
    """A program that serves a page.

    Attributes:
        command: With `{path}` for what it opens and `{port}` for where it serves.
        page: What follows the port in the address.
        ready: An expression of JavaScript that is true when the page is drawn.
        settle: Seconds that the page then moves on.
        pressed: Expressions for what is then clicked: panels that are closed or opened.
        size: Width and height in pixels.
    """

    command: str
    page: str
    ready: str
    settle: float
    pressed: Sequence[str]
    size: tuple[int, int]


TOOLS = {
    "optuna-dashboard": Tool(
        "optuna-dashboard {path}/study.log --port {port}",
        "/dashboard/studies/0",
        "document.querySelectorAll('.js-plotly-plot .main-svg').length > 2",
        4.0,
        (),
        (1280, 1000),
    ),
    "tensorboard": Tool(
        "tensorboard --logdir {path}/tensorboard --port {port}",
        "/?darkMode=false#timeseries",
        "document.querySelectorAll('card-view').length > 1",
        6.0,
        ("document.querySelector('.settings-button')",),
        (1280, 900),
    ),
    "netron": Tool(
        "netron --port {port} {path}",
        "/",
        # It asks first whether it may report what it is used for.
        "(document.body.matches('.notification') && document.getElementById('message-button').click(), "
        "document.querySelectorAll('#target .node').length > 5)",
        3.0,
        ("document.querySelector('#toolbar-navigator ~ *, #sidebar-model-button')",),
        (1280, 900),
    ),
}
# Parts of a report that have a picture of their own, by their headings.
PANELS = {"report_classes.png": "The picks, class by class", "report_random.png": "Against random search"}


@contextmanager
def served(tool: Tool, path: Path) -> Iterator[str]:
    """Starts a program, gives the address of its page, and ends the program."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word.format(path=path, port=port) for word in tool.command.split()]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START
        while True:
            try:
                urllib.request.urlopen(f"http://localhost:{port}/", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.3)
        yield f"http://localhost:{port}{tool.page}"
    finally:
        process.terminate()
        process.wait()


def shoot_report(browser: Browser, run: Path, out: Path) -> None:
    """The beginning of a page on a desk, and on a phone in the dark, and some of its panels."""
    page = (run / "report.html").resolve()
    browser.open(page, 390, dark=True)
    browser.picture(out / "report_phone.png", 0, 1500, 390)
    browser.open(page)
    browser.picture(out / "report_desk.png", 0, 1700)
    for name, heading in PANELS.items():
        found = browser.run(
            "[...document.querySelectorAll('section')]"
            f".filter(each => each.querySelector('h2')?.textContent === {json.dumps(heading)})"
            ".map(each => each.getBoundingClientRect()).map(box => [box.top + scrollY, box.height])"
        )
        if found:
            browser.picture(out / name, found[0][0] - 16, found[0][1] + 32)
        else:
            print(f"the report has no {heading!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["report", *TOOLS])
    parser.add_argument(
        "--run", type=Path, required=True, help="what is opened: a run, a trained network, an ONNX file"
    )
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(Path(profile)) as browser:
        if options.what == "report":
            shoot_report(browser, options.run, options.out)
            return
        tool = TOOLS[options.what]
        with served(tool, options.run.resolve()) as address:
            width, height = tool.size
            browser.visit(address, tool.ready, width, height=height)
            time.sleep(tool.settle)
            for element in tool.pressed:
                browser.point(element, click=True)
                time.sleep(tool.settle)
            browser.picture(options.out / f"{options.what.replace('-', '_')}.png")


if __name__ == "__main__":
    main()

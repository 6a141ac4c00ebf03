"""Chromium without a window, by its DevTools protocol over two pipes: no package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PATIENCE = 60.0  # seconds for an answer, of a machine that may have other work
# A page of the user's own; tests may run as root, for whom there is no sandbox.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of Chromium, while its context lasts.

    Attributes:
        complaints: What the page wrote to its console as an error, or threw.
        requests: The addresses that the page asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Starts Chromium with a profile in a folder of its own."""
        (read, self._out), (self._in, written) = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4, which may be one of these pipes.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, written)]

        def place() -> None:
            for end, number in zip(ends, (3, 4), strict=True):
                os.dup2(end, number)

        assert CHROMIUM
        words = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            words, pass_fds=(3, 4), preexec_fn=place, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for end in (read, written, *ends):
            os.close(end)
        self._rest, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Self:
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command of the protocol returns."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._number)

    def _until(self, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            while b"\0" not in self._rest:
                if not select.select([self._in], [], [], PATIENCE)[0]:
                    raise TimeoutError
                more = os.read(self._in, 1 << 20)
                assert more, "Chromium has ended"
                self._rest += more
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            self._note(answer)
            if wanted(answer):
                assert "error" not in answer, answer
                return dict(answer.get("result", {}))
        raise TimeoutError

    def _note(self, answer: Mapping[str, Any]) -> None:
        method, details = answer.get("method"), answer.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(details["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(details["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> None:
        """Opens a report and waits until its charts are drawn."""
        drawn = "[...document.querySelectorAll('[data-figure]')].every(each => each.querySelector('.main-svg'))"
        self.visit(page.as_uri(), drawn, width, dark)

    def visit(self, address: str, ready: str, width: int = 1280, dark: bool = False, height: int = 900) -> None:
        """Opens an address and waits until an expression is true there."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.protocol !== 'about:' && {ready}")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def middle(self, element: str) -> tuple[float, float]:
        """Where the middle of an element is, which is brought into sight.

        Args:
            element: An expression for it.
        """
        box = self.run(
            f"(() => {{ const it = {element}; it.scrollIntoView({{block: 'center'}}); "
            "const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return box[0], box[1]

    def point(self, element: str, click: bool = False) -> None:
        """Moves the mouse to an element, and clicks."""
        x, y = self.middle(element)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 3, y=y - 3)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Presses Tab, Enter or Escape."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def picture(self, path: Path, top: float = 0, height: float = 0, width: int = 1280) -> None:
        """Writes a PNG of what is in sight, or of a strip of the page.

        Args:
            top: Where the strip begins, in pixels of the page.
            height: Of the strip; 0 for what is in sight.
            width: Of the strip.
        """
        clip = {"clip": {"x": 0, "y": top, "width": width, "height": height, "scale": 1}} if height else {}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=bool(height), **clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def printed(self) -> bytes:
        """The page as it is printed on A4."""
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

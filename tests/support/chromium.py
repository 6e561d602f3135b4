"""A headless Chromium that is driven by its DevTools protocol, over a pipe: pages as people see them.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 60.0  # seconds
_FAR = 50  # descriptor


class Look(NamedTuple):
    """What a page looked like.

    Attributes:
        screenshot: PNG of the whole page.
        requested: URLs that the page asked for, itself excepted.
        complaints: errors and warnings of the console and of the browser about the page.
        overflow: pixels by which the page is wider than the window.
    """

    screenshot: bytes
    requested: list[str]
    complaints: list[str]
    overflow: int


class Chromium:
    """A browser, for the time of a `with` block, which has no network and a folder of its own.

    Args:
        folder: an empty folder.
    """

    DESKTOP, PHONE = (1280, 900), (390, 844)  # width and height of windows, in pixels

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        # Far from 3 and 4, which they become in the browser.
        theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, _FAR) for each in (to_read, to_write)]
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"),
            *(
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
            ),
            *(f"--user-data-dir={self._folder}", "--host-resolver-rules=MAP * ~NOTFOUND"),
        ]
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, str(CHROMIUM), *options],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for each in (to_read, to_write, *theirs):
            os.close(each)
        self._buffer = bytearray()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._send("Browser.close", None)
        try:
            self._process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def look(self, page: Path, size: tuple[int, int], *, dark: bool) -> Look:
        """Open a page and look at it, with all its parts opened."""
        self._events.clear()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable", session)
        width, height = size
        self._call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", session, features=[scheme])
        self._call("Page.navigate", session, url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()
        open_all = "document.querySelectorAll('details').forEach(each => each.open = true)"
        self._call("Runtime.evaluate", session, expression=open_all)
        wider = "document.documentElement.scrollWidth - window.innerWidth"
        overflow = self._call("Runtime.evaluate", session, expression=wider)["result"]["value"]
        picture = self._call("Page.captureScreenshot", session, captureBeyondViewport=True)["data"]
        requested = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent" and event["params"]["request"]["url"] != page.as_uri()
        ]
        complaints = [
            json.dumps(event["params"])
            for event in self._events
            if event["method"] in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        ]
        self._call("Target.closeTarget", targetId=target)
        return Look(base64.b64decode(picture), requested, complaints, overflow)

    def _call(self, method: str, session: str | None = None, **arguments: Any) -> Any:
        number = self._send(method, session, **arguments)
        while True:
            message = self._read()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _send(self, method: str, session: str | None, **arguments: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError("Chromium ended")
            self._buffer += piece
        text, _, rest = self._buffer.partition(b"\0")
        self._buffer = rest
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._events.append(message)
        return message

"""A headless Chromium that opens pages as a reader does, and tells what they ask of the network and complain of.

It is spoken to in its DevTools protocol, over a pipe: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which cannot be had as root; only pages of ours are opened
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
"""Seconds to wait for an answer."""
HIGH = 20
"""File descriptors from here on stand in nobody's way."""
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Space": (32, " ")}


def find_chromium() -> str | None:
    """Find a Chromium of this machine."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """A running Chromium."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number, self._unread = 0, b""
        self._pages: dict[str, Page] = {}

    def call(self, method: str, session: str = "", **arguments: Any) -> dict[str, Any]:
        """Do something and give the answer; what happens meanwhile is told to the pages."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._tell(answer)
        assert "error" not in answer, f"{method}: {answer['error']['message']}"
        return answer["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Read on until something happens to a page."""
        while True:
            message = self._read()
            self._tell(message)
            if message.get("method") == method and message.get("sessionId") == session:
                return

    def _tell(self, message: dict[str, Any]) -> None:
        if page := self._pages.get(message.get("sessionId", "")):
            page.hear(message["method"], message["params"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._back], [], [], PATIENCE)[0], "the browser does not answer"
            piece = os.read(self._back, 1 << 16)
            assert piece, "the browser is gone"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    @contextmanager
    def page(
        self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True
    ) -> Iterator[Page]:
        """Open a file in a tab of its own, of so many CSS pixels, with or without JavaScript."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # a mobile one would make its window as wide as what does not fit
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.call("Emulation.setScriptExecutionDisabled", value=not script)
        page.open(path.resolve().as_uri())
        try:
            yield page
        finally:
            del self._pages[session]
            self.call("Target.closeTarget", targetId=target)


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        """Addresses that were asked for, the page's own and those that hold their content aside."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, and exceptions."""
        self._own = ""

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **arguments)

    def open(self, address: str) -> None:
        self._own = address
        self.call("Page.navigate", url=address)
        self._browser.wait_for("Page.loadEventFired", self._session)

    def hear(self, method: str, told: dict[str, Any]) -> None:
        """Take note of what happens."""
        if method == "Network.requestWillBeSent":
            address = told["request"]["url"]
            if not address.startswith("data:") and address.partition("#")[0] != self._own:
                self.requests.append(address)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def value(self, expression: str) -> Any:
        """Give what an expression of JavaScript comes to, promises awaited."""
        arguments = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **arguments)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true."""
        self.value(f"new Promise((done) => {{ const f = () => ({expression}) ? done() : setTimeout(f, 10); f(); }})")

    def texts(self, selector: str) -> list[str]:
        """Give the visible texts of the elements that a selector finds; none of those that are hidden."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.value(f"{found}.filter((e) => e.checkVisibility()).map((e) => e.innerText.trim())")

    def click(self, selector: str) -> None:
        """Click with the mouse into the middle of an element."""
        place = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            x, y = place
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def focus(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key of ``KEYS``."""
        code, text = KEYS[key]
        told = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def overflow(self) -> int:
        """Give by how many CSS pixels the page is wider than its window."""
        return self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def start(chromium: str, profile: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
    given, taken = (fcntl.fcntl(each, fcntl.F_DUPFD, HIGH) for each in (theirs_in, theirs_out))
    command = ["bash", "-c", f'exec "$@" 3<&{given} 4>&{taken}', "bash", chromium, f"--user-data-dir={profile}", *FLAGS]
    process = subprocess.Popen(command, pass_fds=(given, taken), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for each in (theirs_in, theirs_out, given, taken):
        os.close(each)
    try:
        browser = Browser(to, back)
        yield browser
        browser.call("Browser.close")
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to)
        os.close(back)

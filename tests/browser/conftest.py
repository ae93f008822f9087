"""A headless Chromium; tests that need it are skipped, with a reason, where none is installed."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from PIL import Image
from scenes import Inputs, make_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Opening(Protocol):
    def __call__(self, path: Path, **options: Any) -> AbstractContextManager[Page]: ...


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium that is installed; none is downloaded."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("NOT TESTED in a browser: no Chromium is installed (apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="NOT TESTED in a browser: playwright is not installed (the extra dev)"
    )
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=sandbox)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser) -> Opening:
    """Open a page of the package, and fail if it reports an error or requests anything but itself."""

    @contextmanager
    def open_page(path: Path, **options: Any) -> Iterator[Page]:
        context = browser.new_context(**options)
        page = context.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(path.absolute().as_uri())
        yield page
        assert complaints == []
        assert [url for url in asked if not url.startswith("data:")] == [path.absolute().as_uri()]
        context.close()

    return open_page


@pytest.fixture(scope="session")
def edge_colour() -> Callable[[Locator], tuple[int, ...]]:
    """Find the colour that most pixels have at the right edge of an element: lines and text are fewer."""

    def find(element: Locator) -> tuple[int, ...]:
        with Image.open(io.BytesIO(element.screenshot())) as picture:
            right, bottom = picture.size
            edge = picture.convert("RGB").crop((right - 1, 0, right, bottom))
        return Counter(edge.getpixel((0, y)) for y in range(bottom)).most_common(1)[0][0]

    return find


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Labels, two runs and images of synthetic scenes."""
    return make_inputs(tmp_path_factory.mktemp("inputs") / "data", frames=24, images=8)

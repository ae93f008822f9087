"""Make the screenshots of this folder: a report on synthetic scenes and two made-up detectors.

    python docs/images/make.py

It needs a clone with the extras ``dev`` and ``report``, and a Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from scenes import make_inputs  # noqa: E402

SHOTS = {
    "report-desktop.png": (1280, 1700, "light", "header"),
    "report-pictures.png": (1280, 720, "light", "#gallery"),
    "report-phone.png": (390, 1500, "dark", "header"),
}
"""Width and height in pixels, colour scheme, and the element at the top."""

STILL = {"reduced_motion": "reduce"}


def write_report(folder: Path) -> Path:
    """Write the report that is shown."""
    inputs = make_inputs(folder / "data", frames=400, images=60)
    page = folder / "report.html"
    options = ["--images", str(inputs.images), "--confidence", "--out", str(page)]
    title = ["--title", "Two made-up detectors on synthetic scenes"]
    command = [sys.executable, "-m", "bdd100k_zoo", "report", *inputs.arguments, *options, *title]
    subprocess.run(command, check=True, cwd=ROOT)
    return page


def main() -> None:
    """Write every screenshot."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_report(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (width, height, scheme, first) in SHOTS.items():
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **STILL)
            tab.goto(page.as_uri())
            tab.locator(first).evaluate("(element) => element.scrollIntoView()")
            tab.wait_for_timeout(500)
            shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            fewer = shot.quantize(255, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
            fewer.save(HERE / name, optimize=True)
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()

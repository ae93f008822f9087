"""Update what the documents show of the demo: its output, a picture, and the detector's scores and learning curve.

    python docs/images/make_demo.py [--scenes DIR] [--training DIR]

It needs a clone with the extras ``dev``, ``predict`` and ``report``. ``--scenes`` is the folder that the detector was
trained and validated with, ``--training`` the folder of that training; docs/demo.md has both commands.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ZOO = (sys.executable, "-m", "bdd100k_zoo")
LOOPBACK_ALONE = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
SHOWN = 15
"""Which of the demo's pictures is shown."""
SIZE = (960, 540)
EXCERPT = re.compile(r"\$|scenes|predict|eval|show|report|download| +AP |pedestrian|car|traffic light|OVERALL")
"""The lines of the output that the README shows."""


def told(*command: str) -> str:
    """Run a command and give what it says on stdout, at 80 columns."""
    surroundings = os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")


def put(document: Path, name: str, text: str) -> None:
    """Replace the block that follows a marker."""
    before = document.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- demo: {name} -->\n```\w*\n).*?(```\n)", re.DOTALL)
    after, number = pattern.subn(lambda found: f"{found[1]}{text}\n{found[2]}", before)
    if number != 1:
        sys.exit(f"{document}: expected one block marked `demo: {name}`, found {number}")
    document.write_text(after, encoding="utf-8")


def main() -> None:
    """Write the requested pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--training", type=Path)
    given = parser.parse_args()
    output = "$ bdd100k-zoo demo\n" + told(*LOOPBACK_ALONE, *ZOO, "demo")
    put(ROOT / "docs" / "demo.md", "output", output)
    put(ROOT / "README.md", "output", "\n".join(line for line in output.splitlines() if EXCERPT.match(line)))
    with tempfile.TemporaryDirectory() as folder:
        demo, run = Path(folder, "demo"), Path(folder, "run")
        told(*ZOO, "demo", "--out", str(demo))
        picture = sorted((demo / "pictures").iterdir())[SHOWN]
        Image.open(picture).resize(SIZE, Image.Resampling.LANCZOS).save(HERE / "demo.jpg", quality=85, optimize=True)
        if given.scenes:
            data = ("--data", str(given.scenes.resolve()))
            told(*ZOO, "predict", "demo_fcos_r18_fpn", "--split", "val", *data, "--device", "cpu", "--out", str(run))
            table = told(*ZOO, "eval", str(run), *data).partition("\n\n")[0]
            put(ROOT / "docs" / "demo.md", "scores", table)
    if given.training:
        shutil.copy(given.training / "curve.png", HERE / "demo-curve.png")


if __name__ == "__main__":
    main()

"""Every command that the documents show is executed, here or in CI, or says what it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from demo_frames import write_demo_frames

from bdd100k_zoo.demo_run.steps import DATA
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.sample_data import write_sample_data

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]+) -->\n)?```(?P<fence>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(
    r"^(\$ |\S*\$ )?(\w+=\S+ )*(bdd100k-zoo|python|pip|pytest|torchrun|srun|mpirun|bash) ", re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    mark: str
    """The comment before it, which says what executes it, or nothing."""
    fence: str
    """The language, and a title that says what the block needs."""
    text: str

    @property
    def place(self) -> str:
        """How it is named in messages."""
        return f"{self.page.name}: {self.text.splitlines()[0] if self.text else ''}"


def blocks() -> list[Block]:
    """Return all fenced blocks of the documents."""
    return [Block(page, *found) for page in PAGES for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def is_executed(block: Block) -> bool:
    """Return whether a block's mark names something that executes it: this module, another test, or CI."""
    kind, _, name = block.mark.partition(": ")
    if kind == "ci":
        return f"{block.page.relative_to(ROOT)} {name}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    tests = (path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    return block.mark == "run" or any(f"<!-- {block.mark} -->" in path.read_text(encoding="utf-8") for path in tests)


def test_commands_are_in_blocks_of_their_languages() -> None:
    """So that no command escapes the next test."""
    shown = [each for each in blocks() if each.fence.partition(" ")[0] in ("sh", "console")]
    assert len(shown) > 30
    others = [each.place for each in blocks() if each not in shown and COMMAND.match(each.text)]
    indented = [page.name for page in PAGES if re.search(r"^    bdd100k-zoo ", page.read_text(), re.MULTILINE)]
    assert others == indented == []


def test_every_command_is_executed_or_says_what_it_needs() -> None:
    shown = [each for each in blocks() if each.fence.partition(" ")[0] in ("sh", "console")]
    needy = [each for each in shown if re.search(r' title="needs [^"]+"$', each.fence)]
    assert [each.place for each in shown if each not in needy and not is_executed(each)] == []


EXECUTED = [each for each in blocks() if each.mark == "run"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the commands name."""
    folder = tmp_path_factory.mktemp("documented")
    write_demo_frames(folder, train=0, val=6)
    shutil.copytree(folder / "images" / "100k" / "val", folder / "drive")
    shutil.copytree(folder / "drive", folder / "frames")
    labels = folder / "labels" / "det_20" / "det_val.json"
    shutil.copy(labels, folder / "det_val.json")
    shutil.copy(next((folder / "drive").glob("*.jpg")), folder / "image.jpg")
    frames = json.loads(labels.read_text())
    for frame in frames:
        for label in frame["labels"]:
            label["score"] = 0.9
    for place in (".", "A", "B"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "det.json").write_text(json.dumps(frames))
    (folder / "my_net.py").write_text("_base_ = ['bdd100k_zoo::demo_fcos_r18_fpn.py']\n")
    shutil.copy(DATA.parent / "demo_fcos_r18_fpn.pth", folder / "best.pth")
    trial = write_sample_data(load_zoo()["retinanet_r50_fpn_1x"], folder / "trial")
    shutil.copy(trial.weights, folder / "mine.pth")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("images"))
    shutil.copy(ROOT / "README.md", folder)
    (folder / "bdd100k_zoo").mkdir()
    shutil.copytree(ROOT / "bdd100k_zoo" / "configs", folder / "bdd100k_zoo" / "configs")
    worked = re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", (ROOT / "docs/contributing.md").read_text(), re.S)
    for name, text in worked:
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", EXECUTED, ids=[each.place for each in EXECUTED])
def test_the_commands_run(block: Block, files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(files, folder)
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    program = "set -euo pipefail\n" + block.text
    done = subprocess.run(
        ["bash", "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

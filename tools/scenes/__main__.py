"""Generate synthetic road scenes, or count their boxes."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import write_atomically
from tools.scenes.dataset import frame_seed, report, write_scenes
from tools.scenes.scene import draw_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.scalabel import LabelFrame

TILE = (426, 240)
"""Columns and rows of a scene."""
ACROSS = 3


def write_sheet(path: Path, seeds: Sequence[int]) -> None:
    """Write the scenes of seeds as one JPEG file, three in a row; raises StorageError."""
    rows = -(-len(seeds) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * TILE[0], rows * TILE[1]))
    for index, seed in enumerate(seeds):
        tile = Image.fromarray(draw_scene(seed).pixels).resize(TILE, Image.Resampling.LANCZOS)
        sheet.paste(tile, (index % ACROSS * TILE[0], index // ACROSS * TILE[1]))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85)
    write_atomically(path, content.getvalue())


def main() -> None:
    """Run the command line."""
    given = _parser().parse_args()
    try:
        if given.sheet:
            write_sheet(given.sheet, _seeds(given))
        else:
            sys.stdout.write(report(_frames(given)))
    except ZooError as error:
        sys.exit(f"error: {error}\nhint: {error.hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.scenes", description=__doc__)
    parser.add_argument("--count", type=int, default=0, metavar="N", help="count the boxes of N scenes")
    parser.add_argument("--out", type=Path, metavar="ROOT", help="write a dataset here, and count its boxes")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="training frames for --out")
    parser.add_argument("--val", type=int, default=0, metavar="N", help="validation frames for --out")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write the scenes of --count as one JPEG")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed")
    parser.add_argument("--workers", type=int, metavar="N", help="processes for --out; default: one per CPU")
    return parser


def _seeds(given: argparse.Namespace) -> list[int]:
    return [frame_seed("val", given.seed, index) for index in range(given.count)]


def _frames(given: argparse.Namespace) -> list[LabelFrame]:
    if not given.out:
        return [draw_scene(seed).labels for seed in _seeds(given)]
    written = write_scenes(given.out, train=given.train, val=given.val, seed=given.seed, jobs=given.workers)
    return [frame for frames in written.splits.values() for frame in frames]


if __name__ == "__main__":
    main()

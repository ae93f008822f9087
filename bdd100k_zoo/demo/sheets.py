"""Scenes side by side, to be looked at."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from bdd100k_zoo.demo.scenes import draw_scene
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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

"""What can be wrong with labelled images, found before hours are spent on some of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bdd100k_zoo.data.images import check_image_complete
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import LabelledImagesError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import LabelFrame
    from bdd100k_zoo.progress import Progress

READERS = 8


def check_images(labels: Path, frames: Sequence[LabelFrame], images: Path, progress: Progress) -> None:
    """Look at the beginning and the end of every image of a label file; decode those that do not end as they should.

    Args:
        labels: the label file.
        frames: what it holds.
        images: the folder that its frames' names are relative to.
        progress: where to report.

    Raises:
        LabelledImagesError: some are missing, or are no whole JPEG or PNG.
    """
    names = [frame.name for frame in frames]
    with (
        progress.task(f"Checking images of {labels.stem}", len(names), "images") as task,
        ThreadPoolExecutor(READERS) as readers,
    ):
        problems = []
        for problem in readers.map(lambda name: _problem(images / name), names):
            problems += [problem] if problem else []
            task.advance(1)
    if problems:
        raise LabelledImagesError(labels, len(names), tuple(problems))


def report_reversed_boxes(labels: Path, frames: Sequence[LabelFrame], progress: Progress) -> None:
    """Warn about boxes with x2 < x1 or y2 < y1, which ``eval`` refuses in labels and training leaves out."""
    found = [
        f"frame {printable(frame.name)}: label {printable(label.id)} (no. {place})"
        for frame in frames
        for place, label in enumerate(frame.labels, 1)
        if (box := label.box2d) and (box.x2 < box.x1 or box.y2 < box.y1)
    ]
    if found:
        boxes = "1 box has" if len(found) == 1 else f"{len(found):,} boxes have"
        progress.warn(f"{labels}: {boxes} x2 < x1 or y2 < y1 and will not be trained on; the first: {found[0]}")


def _problem(path: Path) -> str:
    try:
        check_image_complete(path)
    except UnreadableImageError as error:
        return str(error)
    return ""

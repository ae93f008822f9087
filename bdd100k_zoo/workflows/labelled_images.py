"""Whether the images of a label file are all there and whole, told before hours are spent on some of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import LabelledImagesError, UnreadableImageError
from bdd100k_zoo.inference.images import check_whole
from bdd100k_zoo.records.labels import read_labels

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.progress import Progress

READERS = 8


def check_images(labels: Path, images: Path, progress: Progress) -> None:
    """Look at the beginning and the end of every image of a label file; decode those that do not end as they should.

    Args:
        labels: a label file.
        images: the folder that its frames' names are relative to.
        progress: where to report.

    Raises:
        LabelledImagesError: some are missing, or are no whole JPEG or PNG.
        StorageError, InputsError, FrameNameError: the labels cannot be read.
    """
    names = [frame.name for frame in read_labels(labels)]
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


def _problem(path: Path) -> str:
    try:
        check_whole(path)
    except UnreadableImageError as error:
        return str(error)
    return ""

"""The images and labels that all models of a reproduction share: read once, and all of a split or a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.data.formats import LABELS
from bdd100k_zoo.data.images import FoundImages, find_images
from bdd100k_zoo.data.scalabel_reader import read_frames
from bdd100k_zoo.errors import InputsError
from bdd100k_zoo.evaluation.evaluate import LabelFile
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.data.images import Frame


class SharedInputs(NamedTuple):
    """What every model is run on and scored with."""

    images: FoundImages | None
    """None for published predictions."""
    labels_path: Path
    labels: LabelFile


def read_inputs(folder: str | None, labels: Path, limit: int | None, out: Path) -> SharedInputs:
    """List the images of a split and open its labels.

    Args:
        folder: of the images; None for published predictions, which need no images.
        labels: of all images.
        limit: use at most so many of the labelled images, at equal distances in the order of their names, so that they
            come from all of the split. Their labels are written to ``labels-LIMIT.json``.
        out: the folder for that file.

    Raises:
        ImagesError: there are no images.
        InputsError: the labels cannot be read, or name none of the images.
        StorageError: a file cannot be read or written.
    """
    found = find_images([folder]) if folder else None
    if not (found and limit):
        return SharedInputs(found, labels, LabelFile(labels))
    labelled = {frame.name: frame for frame in read_frames(labels, LABELS)}
    frames = spread([frame for frame in found.frames if frame.name in labelled], limit)
    if not frames:
        raise InputsError(labels, f"names none of the images in {folder}", "give the labels of these images")
    part = out / f"labels-{limit}.json"
    write_atomically(part, msgspec.json.encode([labelled[frame.name] for frame in frames]))
    return SharedInputs(FoundImages(frames, {}), part, LabelFile(part))


def spread(frames: Sequence[Frame], limit: int) -> list[Frame]:
    """Return at most ``limit`` frames, at equal distances, in their order."""
    number = min(limit, len(frames))
    return [frames[place * len(frames) // number] for place in range(number)]

"""Generate the frames and labels that the package ships for the demo.

    python -m tools.demo_frames

writes them to bdd100k_zoo/demo_run/data. The frames of val are synthetic scenes as ``tools.scenes`` writes them; with
other frames, the scores in README.md and docs/demo.md would change. The frames of train are other scenes, at half the
width and height: that is the size that the demo's detector is trained with, and it keeps the wheel small.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bdd100k_zoo.data.scalabel import Box2D, ImageSize, Label, LabelFrame
from bdd100k_zoo.demo_run.steps import DATA, FRAMES, TRAIN_FRAMES
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import write_atomically
from tools.scenes.dataset import encode_labels, frame_seed, images_folder, labels_file, write_scenes
from tools.scenes.scene import draw_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tools.scenes.scene import Scene

SEED = 1
"""Another seed than 0, whose scenes the demo's weights were trained and scored on."""
QUALITY = 75
"""Of the JPEG files of train."""
SIDE = 2.0
"""Objects that are narrower or lower than this many pixels at full size have no label at half size."""


def write_demo_frames(root: Path) -> None:
    """Write the dataset of the demo.

    Raises:
        StorageError: the folder cannot be written, or holds images or labels of other frames.
    """
    write_scenes(root, val=FRAMES, seed=SEED)
    labels = []
    for index in range(TRAIN_FRAMES):
        frame, content = halved(draw_scene(frame_seed("train", SEED, index)))
        write_atomically(images_folder(root, "train") / frame.name, content)
        labels.append(frame)
    write_atomically(labels_file(root, "train"), encode_labels(labels))


def halved(scene: Scene) -> tuple[LabelFrame, bytes]:
    """Return a scene's labels and JPEG file at half its width and height: each pixel is the mean of four."""
    height, width, _ = scene.pixels.shape
    fours = scene.pixels.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    content = io.BytesIO()
    Image.fromarray(((fours.sum((1, 3)) + 2) // 4).astype(np.uint8)).save(content, "JPEG", quality=QUALITY)
    labels = tuple(label for each in scene.labels.labels if (label := _halved_label(each)))
    size = ImageSize(width // 2, height // 2)
    return LabelFrame(
        scene.labels.name, attributes=scene.labels.attributes, given_size=size, given_labels=labels
    ), content.getvalue()


def _halved_label(label: Label) -> Label | None:
    box = label.box2d
    if box is None or min(box.x2 - box.x1, box.y2 - box.y1) + 1 < SIDE:
        return None
    # x2 and y2 are the last pixel's: the box ends one pixel further.
    smaller = Box2D(box.x1 / 2, box.y1 / 2, (box.x2 + 1) / 2 - 1, (box.y2 + 1) / 2 - 1)
    return Label(label.given_id, label.category, box2d=smaller, attributes=label.attributes)


def main() -> int:
    """Write the dataset of the demo into the package."""
    try:
        write_demo_frames(DATA)
    except ZooError as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

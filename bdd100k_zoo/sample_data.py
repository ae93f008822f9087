"""Random weights and a synthetic frame, to run a model without a checkpoint and without images.

    python -m bdd100k_zoo.sample_data cascade_rcnn_r50_fpn_3x trial

writes trial/weights.pth and trial/frames/street.jpg. The boxes that such a model finds are meaningless, but they show
that the installation works, from the config to the predictions file. The checkpoint's metadata states that its weights
are random.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw

from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Model

DEFAULT_MODEL = "faster_rcnn_r50_fpn_1x"
FRAME_SIZE = (1280, 720)
"""Width and height of a BDD100K frame, in pixels."""


class SampleData(NamedTuple):
    """The files that were written."""

    weights: Path
    frames: Path


def write_sample_data(model: Model, folder: Path) -> SampleData:
    """Write random weights for a model and a folder with one frame; raises ZooError."""
    import_backend()
    from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights

    trial = SampleData(folder / "weights.pth", folder / "frames")
    save_random_weights(model.config_path, trial.weights)
    with storage_errors(trial.frames):
        trial.frames.mkdir(parents=True, exist_ok=True)
        draw_sample_frame().save(trial.frames / "street.jpg", quality=90)
    return trial


def draw_sample_frame() -> Image.Image:
    """Return a street of simple shapes: sky, road, lane markings, two cars and a traffic light."""
    width, height = FRAME_SIZE
    image = Image.new("RGB", FRAME_SIZE, (150, 190, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 320, width, height), fill=(96, 110, 84))
    draw.polygon([(560, 320), (720, 320), (1240, height), (40, height)], fill=(72, 72, 76))
    for top, bottom in ((340, 372), (400, 456), (510, 600)):
        draw.rectangle((634, top, 646, bottom), fill=(235, 235, 225))
    for left, top, size, colour in ((330, 470, 190, (160, 30, 40)), (740, 390, 90, (30, 60, 150))):
        draw.rectangle((left, top, left + size, top + size // 2), fill=colour)
        draw.rectangle((left + size // 6, top + size // 12, left + size * 5 // 6, top + size // 5), fill=(30, 40, 50))
        for wheel in (left + size // 8, left + size * 5 // 8):
            draw.ellipse((wheel, top + size * 3 // 8, wheel + size // 4, top + size * 5 // 8), fill=(15, 15, 15))
    draw.rectangle((900, 140, 930, 220), fill=(25, 25, 25))
    draw.ellipse((906, 146, 924, 164), fill=(230, 40, 30))
    return image


def write_sample_frames(folder: Path, number: int) -> list[Path]:
    """Write different streets with noise, which take as long to decode as photos; raises StorageError."""
    paths = [folder / f"street{place:03}.jpg" for place in range(number)]
    street, (width, height) = draw_sample_frame(), FRAME_SIZE
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place, path in enumerate(paths):
            rng = random.Random(place)  # noqa: S311  (not a secret)
            left, top = rng.randrange(width // 4), rng.randrange(height // 4)
            part = street.crop((left, top, left + width * 3 // 4, top + height * 3 // 4)).resize(street.size)
            noise = Image.frombytes("L", street.size, rng.randbytes(width * height))
            Image.blend(part, noise.convert("RGB"), 0.1).save(path, quality=90)
    return paths


def main() -> int:
    """Write the weights and the frame, and print the command that runs the model."""
    parser = argparse.ArgumentParser(prog="python -m bdd100k_zoo.sample_data", description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("trial"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        model = load_zoo()[arguments.model]
        trial = write_sample_data(model, arguments.folder)
    except ZooError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    sys.stdout.write(
        f"{trial.weights}: random weights, which are not trained\n"
        f"bdd100k-zoo predict {model.name} --images {trial.frames} --weights {trial.weights}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Time and memory of writing a run's predictions in other formats, compared with writing and reading det.json itself.

    python benchmarks/exports.py [--images 100000] [--boxes 100] [--formats coco yolo csv] [--together]

Writes a synthetic det.json of random boxes, reads it, and exports it in the same process, in each format alone and in
all together. YOLO needs the sizes of the images: they are links to one 1280×720 JPEG. Printed are seconds, processor
seconds and their ratios to writing and to reading det.json, bytes, and by how much the peak of the memory has grown.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bdd100k_zoo.data.detections import Detections, PredictionsWriter, stream_detections
from bdd100k_zoo.data.images import Frame
from bdd100k_zoo.prediction.exports import EXPORTS, remove_exports, write_exports

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def write_predictions(path: Path, frames: Sequence[Frame], boxes: int) -> None:
    """Write random boxes in the range of a frame of BDD100K."""
    rng, writer = np.random.default_rng(0), PredictionsWriter(path)
    for frame in frames:
        corners = rng.random((boxes, 4), np.float32) * np.array([640, 360, 640, 360], np.float32)
        corners[:, 2:] += corners[:, :2]
        writer.write(frame.name, Detections(corners, rng.random(boxes, np.float32), rng.integers(0, 10, boxes)))
    writer.finish()


def make_images(folder: Path, number: int) -> list[Frame]:
    """Write one image, and return that many frames that are links to it."""
    folder.mkdir()
    image = folder / "image.jpg"
    Image.new("RGB", (1280, 720)).save(image)
    frames = [Frame(f"{n:07}.jpg", folder / f"{n:07}.jpg") for n in range(number)]
    for frame in frames:
        frame.path.symlink_to(image)
    return frames


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def measure(title: str, job: Callable[[], object], base: Sequence[float] = ()) -> float:
    """Run a job, print what it took, and return its processor seconds."""
    before, start, busy = _peak_mebibytes(), perf_counter(), process_time()
    job()
    seconds, busy = perf_counter() - start, process_time() - busy
    ratios = "".join(f"  {busy / each:6.2f}" for each in base)
    grown = _peak_mebibytes() - before
    print(f"{title:16} {seconds:8.1f} s  {busy:8.1f} s CPU{ratios}  peak +{grown:.1f} MiB", flush=True)
    return busy


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--formats", nargs="+", choices=EXPORTS, default=list(EXPORTS))
    parser.add_argument("--together", action="store_true", help="only all formats in one pass, not each alone")
    parser.add_argument("--out", type=Path, help="where to make a temporary folder")
    options = parser.parse_args()
    print(f"{options.images:,} images, {options.boxes} boxes each; {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory(dir=options.out) as made:
        folder = Path(made)
        frames = make_images(folder / "images", options.images)
        predictions = folder / "det.json"
        write = measure("write det.json", lambda: write_predictions(predictions, frames, options.boxes))
        read = measure("read det.json", lambda: sum(len(found) for _, found in stream_detections(predictions)))
        copy = folder / "copy.json"
        measure("copy det.json", lambda: (shutil.copyfile(predictions, copy), os.sync()))
        copy.unlink()
        print(f"det.json: {size_of(predictions):,} bytes; ratios are to writing and to reading it")
        alone = [] if options.together else [[each] for each in options.formats]
        for formats in [*alone, options.formats]:
            measure(" ".join(formats), lambda formats=formats: write_exports(folder, formats, frames), (write, read))
            print("  " + ", ".join(f"{EXPORTS[each]}: {size_of(folder / EXPORTS[each]):,} bytes" for each in formats))
            remove_exports(folder)


if __name__ == "__main__":
    main()

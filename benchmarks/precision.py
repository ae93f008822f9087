"""What a precision other than fp32 changes, on frames of a folder and with random weights that find boxes.

    python benchmarks/precision.py MODEL… [--images DIR] [--precision bf16] [--device cuda]

A box is found again where one of its class overlaps it by at least --overlap (IoU), one for one, best scores first. Of
these pairs the differences of scores and corners are printed. Random weights say nothing about AP.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.backends.mmdet3 import load
from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.sample_data import write_sample_frames

if TYPE_CHECKING:
    from bdd100k_zoo.data.detections import Detections


def pairs_of(exact: Detections, found: Detections, overlap: float) -> list[tuple[float, float]]:
    """Pair boxes, and give how far each pair is apart: in score, and in pixels at the corner that differs most."""
    ious = ious_of(exact.boxes, found.boxes)
    ious[exact.classes[:, None] != found.classes[None]] = 0
    pairs = []
    for row in np.argsort(-exact.scores, kind="stable"):
        column = int(ious[row].argmax()) if len(found) else 0
        if len(found) and ious[row, column] >= overlap:
            ious[:, column] = 0
            apart = float(np.abs(exact.boxes[row] - found.boxes[column]).max())
            pairs.append((float(abs(exact.scores[row] - found.scores[column])), apart))
    return pairs


def ious_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of all boxes of one list with all of another."""
    tops = np.maximum(one[:, None, :2], other[None, :, :2])
    ends = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (ends - tops).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    return both / (areas[0][:, None] + areas[1][None] - both)


def detect(name: str, weights: Path, precision: str, paths: list[str], device: str) -> tuple[list[Detections], float]:
    """Return the detections of all frames, and the seconds of an image: the median, one by one."""
    detector = load(name, load_zoo()[name].config_path, weights, device, precision=precision)
    found, seconds = [], []
    for path in paths:
        pixels = read_image(Path(path))
        start = time.perf_counter()
        found.append(detector.detect(pixels))
        seconds.append(time.perf_counter() - start)
    return found, median(seconds)


def main() -> None:
    """Print a line of a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", help="frames to use; default: synthetic ones")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--overlap", type=float, default=0.9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [str(frame.path) for frame in find_images([arguments.images]).frames] if arguments.images else []
        paths = given or list(map(str, write_sample_frames(folder, 4)))
        for model in arguments.models:
            weights = folder / f"{model}.pth"
            save_calibrated_random_weights(load_zoo()[model].config_path, read_image(Path(paths[0])), weights)
            exact, usual = detect(model, weights, "fp32", paths, arguments.device)
            found, short = detect(model, weights, arguments.precision, paths, arguments.device)
            pairs = [
                pair
                for one, other in zip(exact, found, strict=True)
                for pair in pairs_of(one, other, arguments.overlap)
            ]
            scores, corners = map(np.array, zip(*pairs, strict=True))
            print(
                f"| `{model}` | {len(pairs)} of {sum(map(len, exact))} | "
                f"{np.median(scores):.1e}, {scores.max():.1e} | {np.median(corners):.2f}, {corners.max():.1f} px | "
                f"{usual:.2f} s → {short:.2f} s |"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""One small job per extra, on inputs with a known right answer. Each returns a short result, or raises."""

from __future__ import annotations

import importlib
import json
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import InvalidFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable
    from bdd100k_zoo.evaluation.scores import Scores

BOX = {"x1": 10.0, "y1": 20.0, "x2": 49.0, "y2": 59.0}
VIDEO_SIDE = 64
"""Pixels."""


def try_scores() -> str:
    """Score one right detection with our own evaluation."""
    with _one_right_detection() as (labels, predictions):
        return _describe_scores(labels, _score(labels, predictions))


def try_evaluator() -> str:
    """Score one right detection with the official packages, and compare all numbers with ours.

    Raises:
        MissingPackageError: they are missing, or their import fails.
        InvalidFileError: their scores differ.
    """
    from bdd100k_zoo.evaluation import official

    with _one_right_detection() as (labels, predictions):
        found, ours = official.score_with_official_tool(labels, predictions), _score(labels, predictions)
        if found.official_json() != ours.official_json():
            problem = f"the official packages score AP {found.ap}, and this package scores {ours.ap}"
            raise InvalidFileError(predictions, problem)
        return f"{_describe_scores(labels, found)}, all 132 numbers equal ours"


def try_viewer() -> str:
    """Draw one box with the official viewer.

    Raises:
        MissingPackageError: it is missing, or its import fails.
        InvalidFileError: there is no box in the picture.
    """
    from PIL import Image

    from bdd100k_zoo.data.drawing.boxes import BoxMark
    from bdd100k_zoo.reporting import official_viewer

    drawn = official_viewer.draw_with_official_viewer(
        Image.new("RGB", (160, 90)), [BoxMark((40, 20, 120, 60), 2, 0.9, "detection")]
    )
    if drawn.size != (160, 90) or not drawn.crop((30, 10, 130, 70)).getbbox():
        raise InvalidFileError("viewer.png", f"is {drawn.size} pixels, and shows no box")
    return "draws a box"


def try_video() -> str:
    """Write a video of three grey frames, and read the last one.

    Raises:
        MissingPackageError: the import of PyAV fails.
        InvalidFileError: the frame differs.
    """
    import av
    import numpy as np

    from bdd100k_zoo.data.video import VideoReader

    greys = (40, 120, 200)
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-doctor-") as folder:
        path = Path(folder, "grey.avi")
        with av.open(str(path), "w") as output:
            stream = output.add_stream("mjpeg", rate=1)
            stream.width = stream.height = VIDEO_SIDE
            stream.pix_fmt = "yuvj420p"
            for grey in greys:
                frame = av.VideoFrame.from_ndarray(np.full((VIDEO_SIDE, VIDEO_SIDE, 3), grey, np.uint8), format="rgb24")
                output.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            output.mux(stream.encode())
        with closing(VideoReader(path)) as video:
            found = float(np.mean(video.read(len(greys) - 1)))
    if abs(found - greys[-1]) > 3:  # JPEG is lossy
        raise InvalidFileError(path.name, f"the last frame has grey {found:.0f}, expected {greys[-1]}")
    return "reads a frame"


def try_pages() -> str:
    """Draw a plot for a page, and compute the error breakdown of one right detection.

    Raises:
        MissingPackageError: the import of a package of the extra fails.
        InvalidFileError: there is no plot, or the breakdown finds errors.
    """
    from bdd100k_zoo.evaluation.error_analysis import compute_tide_errors
    from bdd100k_zoo.evaluation.pairing import pair_frames
    from bdd100k_zoo.reporting.figures import check_report_installed
    from bdd100k_zoo.reporting.plots import plot_bars

    check_report_installed()
    if "</svg>" not in plot_bars("doctor", "Nothing", ["none"], [[1.0]], unit=""):
        raise InvalidFileError("plot.svg", "is not an SVG drawing")
    with _one_right_detection() as (labels, predictions):
        errors = compute_tide_errors(pair_frames(*_read(labels, predictions)))
        if any(errors.counts.values()):
            raise InvalidFileError(predictions, f"the only car is found, and errors are counted: {dict(errors.counts)}")
    return "draws a plot, breaks down errors"


def try_hub() -> str:
    """Import the client of Hugging Face; nothing is contacted."""
    importlib.import_module("huggingface_hub")
    return "imports"


@contextmanager
def _one_right_detection() -> Iterator[tuple[Path, Path]]:
    """Yield labels of one frame with one car, and predictions that find it."""
    label = {"id": "1", "category": "car", "box2d": BOX}
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-doctor-") as folder:
        paths = Path(folder, "labels.json"), Path(folder, "predictions.json")
        for path, fields in zip(paths, ({}, {"score": 0.9}), strict=True):
            path.write_text(json.dumps([{"name": "a.jpg", "labels": [label | fields]}]))
        yield paths


def _read(labels: Path, predictions: Path) -> tuple[LabelTable, PredictionTable]:
    from bdd100k_zoo.data.tables import read_label_table, read_prediction_table

    return read_label_table(labels), read_prediction_table(predictions)


def _score(labels: Path, predictions: Path) -> Scores:
    from bdd100k_zoo.evaluation.scoring import score_predictions

    return score_predictions(*_read(labels, predictions))


def _describe_scores(labels: Path, scores: Scores) -> str:
    if round(scores.ap, 9) != 100:  # the official sums end in 99.99999999999997
        raise InvalidFileError(labels, f"the only car is found with AP {scores.ap}, expected 100")
    return f"AP {scores.ap:.0f} on one box"

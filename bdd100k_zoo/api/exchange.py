"""convert, submit: files for other tools, and for the evaluation server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.api.arguments import check_choice, dataset_root, optional_path, path_texts, prediction_names
from bdd100k_zoo.data.convert import convert_file
from bdd100k_zoo.data.formats import AnnotationFormat, TargetFormat
from bdd100k_zoo.data.images import split_image_folder
from bdd100k_zoo.errors import StorageError, ZooError
from bdd100k_zoo.evaluation import submission
from bdd100k_zoo.evaluation.runs import check_run_split, resolve_single
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from bdd100k_zoo.api.arguments import AnyPath, AnyPaths, AnyPredictions
    from bdd100k_zoo.data.convert import ConversionResult
    from bdd100k_zoo.evaluation.submission import Submission
    from bdd100k_zoo.registry import Zoo


def convert(
    source: AnyPath,
    out: AnyPath,
    to: TargetFormat,
    *,
    source_format: AnnotationFormat | None = None,
    labels: AnyPath | None = None,
    images: AnyPaths = (),
) -> ConversionResult:
    """Convert labels or results between Scalabel and COCO, without loss, or to YOLO or CSV.

    Args:
        source: the file, a folder of files, or a run.
        out: the file to write; an existing one is replaced. For ``yolo`` a folder, in which only what this package
            wrote is replaced.
        to: the format to write: ``scalabel``, ``coco``, ``yolo`` or ``csv``.
        source_format: the format of ``source`` (the option ``--from``); by default it is found from the content.
        labels: for results: the labels of their images, in either format.
        images: for ``yolo``: the images (folders, files, patterns), whose sizes it needs. They can be left out for
            files that have the sizes, and for frames with names of BDD100K, which are 1280×720.

    Returns:
        What was found and written, and the numbers of images and objects.

    Raises:
        ZooError: ``images`` are given for another format than ``yolo``.
        ImagesError: the size of an image is needed and unknown.
        InputsError: a file is not in its format, results have no box, or boxes are not in pixels.
        InvalidFileError: a file has a fault.
        StorageError: a file cannot be read or written.
    """
    check_choice("to", to, TargetFormat)
    if source_format is not None:
        check_choice("source_format", source_format, AnnotationFormat)
    given = path_texts(images)
    if given and to != "yolo":
        raise ZooError(f"images: only yolo needs the sizes of images, and to is {to!r}", "leave out images")
    _refuse_overwriting(Path(source), Path(out))
    return convert_file(_read_of(Path(source)), Path(out), to, source_format, optional_path(labels), given)


def submit(
    predictions: AnyPredictions,
    images: AnyPath | None = None,
    *,
    out: AnyPath,
    data: AnyPath | None = None,
    split: str = "test",
    runs: AnyPath = "runs",
    clip: bool = False,
    zoo: Zoo | None = None,
) -> Submission:
    """Validate predictions and write the file for the evaluation server; works offline.

    Args:
        predictions: a predictions file, a folder of such files, a run, or a model with one run on the split.
        images: the images of the split: a folder, or a text file with one name per line; by default
            ``images/100k/SPLIT`` below the dataset's root.
        out: the file to write; an existing one is replaced.
        data: root of the dataset; by default that of BDD100K_ROOT.
        split: the split of the run and images.
        runs: where the runs of models are.
        clip: clip boxes that extend beyond their image.
        zoo: the known models; None for ``load_zoo()``.

    Returns:
        The path and size of the file, its numbers of frames and boxes, and notes.

    Raises:
        SubmissionError: all problems of the predictions; nothing was written.
        InputsError: there are several runs of the model on the split, or none, or the run is on another split.
        UnknownNameError: there is neither a file nor a model of that name.
        StorageError: a file cannot be read or written.
        ZooError: any other failure.
    """
    (name,) = prediction_names(predictions)
    subject = resolve_single(name, load_zoo() if zoo is None else zoo, split, Path(runs))
    _refuse_overwriting(subject.predictions, Path(out))
    if images is None:
        check_run_split(subject, split)
        images = _split_images(dataset_root(data), split)
    return submission.submit(subject.predictions, os.fspath(images), Path(out), clip=clip)


def _split_images(root: Path | None, split: str) -> str:
    if root is None:
        raise ZooError(
            f"no images of {split}: neither --images nor the dataset's root is given",
            f"use --images PATH, or --data ROOT (or BDD100K_ROOT) with images/100k/{split}",
        )
    return split_image_folder(root, split)


def would_overwrite(source: Path, out: Path) -> bool:
    """Return whether ``out`` is the file that is read, or a JSON file in the folder that is read."""
    read = _read_of(source)
    # realpath: Path.resolve raises RuntimeError for a link that leads to itself.
    real, target = Path(os.path.realpath(read)), Path(os.path.realpath(out))
    return real == target or (read.is_dir() and out.suffix == ".json" and target.parent == real)


def _read_of(source: Path) -> Path:
    """Return the predictions of a run's folder; anything else as it is."""
    return source / PREDICTIONS_FILE if (source / PREDICTIONS_FILE).is_file() else source


def _refuse_overwriting(source: Path, out: Path) -> None:
    if would_overwrite(source, out):
        raise StorageError(out, "is the file that is read, or in the folder that is read", "choose another path")

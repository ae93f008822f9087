"""show, report: predictions → pictures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.api.arguments import (
    DEFAULT_MIN_SCORE,
    check_at_least,
    check_choice,
    dataset_root,
    optional_path,
    path_texts,
    prediction_names,
)
from bdd100k_zoo.data.classes import CLASSES, class_indices
from bdd100k_zoo.data.images import STANDARD_INPUT, split_image_folder
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.evaluation.runs import check_run_split, find_labels_file, resolve_single
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.picture_files import PictureFormat, Viewer
from bdd100k_zoo.reporting.report import ReportRequest, write_report
from bdd100k_zoo.reporting.show import ShowRequest, read_frame_names, show_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.api.arguments import AnyPath, AnyPaths, AnyPredictions
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.evaluation.runs import EvaluationSubject
    from bdd100k_zoo.registry import Zoo
    from bdd100k_zoo.reporting.report import WrittenReport
    from bdd100k_zoo.reporting.show import ShowResult

PICTURES_FOLDER = "pictures"
"""In the folder of a run."""


def show(
    predictions: AnyPredictions,
    images: AnyPaths | None = None,
    out: AnyPath | None = None,
    *,
    data: AnyPath | None = None,
    split: str | None = None,
    runs: AnyPath = "runs",
    labels: AnyPath | None = None,
    min_score: float = DEFAULT_MIN_SCORE,
    classes: Sequence[str | int] | None = None,
    frames: str | Sequence[str] = (),
    top_errors: int | None = None,
    every: int = 1,
    format: PictureFormat = "jpg",  # noqa: A002  (the option's name)
    viewer: Viewer = "own",
    workers: int | None = 1,
    fresh: bool = False,
    zoo: Zoo | None = None,
    progress: AnyProgress = None,
) -> ShowResult:
    """Draw predictions into their images; with labels, mark matched, missed and false boxes.

    An existing picture that would look the same is not drawn again.

    Args:
        predictions: a predictions file, a run, or a model with one run on the split.
        images: the images, as for ``predict``; by default those of the split below the dataset's root, and for a run on
            other images those that it was given.
        out: folder of the pictures; by default ``pictures`` in the run's folder.
        data: root of the dataset; by default that of BDD100K_ROOT.
        split: the split of the run, images and labels; by default that of a run's folder, or else ``val``.
        runs: where the runs of models are.
        labels: labels, for the marks; without them boxes are marked only for ``top_errors``.
        min_score: leave out detections with lower scores, from 0 to 1.
        classes: only these, by name or index; None for all.
        frames: only these, by name; a name that ends in ``.txt`` is a list with one per line.
        top_errors: only so many frames, those that cost the most AP, the worst first. Labels are by default
            ``labels/det_20/det_SPLIT.json`` below the dataset's root.
        every: predictions are of every Nth frame of a video.
        format: ``jpg`` or ``png``.
        viewer: ``own``, or ``scalabel``, the official viewer.
        workers: processes that draw, None for one per core. More than one need ``if __name__ == "__main__":`` in a
            script.
        fresh: draw existing pictures again.
        zoo: the known models; None for ``load_zoo()``.
        progress: None, True for bars, or a ``Progress``.

    Returns:
        The pictures with their paths, the numbers of boxes, and what has no picture: ``without_image``, ``unreadable``.

    Raises:
        ImagesError: none of the frames has an image, or there is no folder of the split.
        InputsError: there are several runs of the model on the split, or none, or the run is on another split.
        UnknownNameError: there is neither a file nor a model of that name.
        InvalidFileError: a frame is not among the predictions.
        ZooError: any other failure.
    """
    check_choice("format", format, PictureFormat)
    check_choice("viewer", viewer, Viewer)
    check_at_least(1, top_errors=top_errors, every=every, workers=workers)
    if viewer == "scalabel" and (labels is not None or top_errors):
        raise ZooError("the viewer scalabel draws predictions only", "leave out labels and top_errors, or viewer")
    (name,) = prediction_names(predictions)
    subject = resolve_single(name, load_zoo() if zoo is None else zoo, split or "val", Path(runs))
    with storage_errors(subject.predictions):
        subject.predictions.stat()  # a wrong path is reported before what else is missing
    if split:
        check_run_split(subject, split)
    root = dataset_root(data)
    label_file = optional_path(labels)
    if top_errors:
        label_file = find_labels_file(label_file, root, split or _recorded_split(subject) or "val")
    request = ShowRequest(
        predictions=subject.predictions,
        images=_default_images(subject, root, split) if images is None else path_texts(images),
        out=_default_picture_folder(subject) if out is None else Path(out),
        every=every,
        labels=label_file,
        min_score=min_score,
        classes=tuple(class_indices(CLASSES if classes is None else classes)),
        frames=read_frame_names((frames,) if isinstance(frames, str) else frames),
        top_errors=top_errors,
        form=format,
        viewer=viewer,
        workers=workers,
        fresh=fresh,
    )
    return show_predictions(request, resolve_progress(progress))


def _recorded_split(subject: EvaluationSubject) -> str | None:
    """Return the split that a run is on; None for other images, and for predictions that belong to no run."""
    return subject.run.request.split if subject.run else None


def _default_images(subject: EvaluationSubject, root: Path | None, split: str | None) -> tuple[str, ...]:
    """Return the images of predictions: those of the split below the dataset's root, or those that the run was given.

    The dataset serves a run on other images only where the caller names the split: equal names of frames do not make
    them the same images.

    Raises:
        ImagesError: there is no folder of the split.
        ZooError: it is not known where the images are.
    """
    split = split or (_recorded_split(subject) if subject.run else "val")
    if root and split:
        return (split_image_folder(root, split),)
    given = subject.run.request.image_roots if subject.run else ()
    if not given or STANDARD_INPUT in given:
        raise ZooError(
            f"{subject.predictions}: it is not known where the images are",
            f"use --images PATH, or --data ROOT (or BDD100K_ROOT) with images/100k/{split or 'SPLIT'}",
        )
    return given


def _default_picture_folder(subject: EvaluationSubject) -> Path:
    if subject.folder is None:
        raise ZooError(
            f"{subject.predictions}: belongs to no run, in whose folder the pictures would be", "use --out DIR"
        )
    return subject.folder / PICTURES_FOLDER


def report(
    predictions: AnyPredictions | Sequence[AnyPredictions],
    labels: AnyPath | None = None,
    *,
    data: AnyPath | None = None,
    split: str = "val",
    runs: AnyPath = "runs",
    images: AnyPath | None = None,
    confidence: bool = False,
    resamples: int = 1000,
    out: AnyPath = "report.html",
    title: str | None = None,
    lenient: bool = False,
    zoo: Zoo | None = None,
    progress: AnyProgress = None,
) -> WrittenReport:
    """Write a report on predictions as one HTML page: scores, curves, errors, comparison, pictures.

    Args:
        predictions: predictions files, runs, or models (all their runs); one or several.
        labels: labels; by default ``labels/det_20/det_SPLIT.json`` below the dataset's root.
        data: root of the dataset; by default that of BDD100K_ROOT.
        split: the split of runs and labels.
        runs: where the runs of models are.
        images: folder of the frames; adds pictures of the worst and of random ones.
        confidence: add 95 % intervals by bootstrap over frames.
        resamples: how many, at least 100.
        out: file to write the page to.
        title: of the page; None for the names of the runs.
        lenient: accept what the official evaluator accepts.
        zoo: the known models; None for ``load_zoo()``.
        progress: None, True for bars, or a ``Progress``.

    Returns:
        The ``path`` of the page, its ``size`` in bytes, and the ``report`` as numbers.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        StorageError: the path holds a file that this package has not written.
        ZooError: any other failure.
    """
    check_at_least(100, resamples=resamples)
    request = ReportRequest(
        zoo=load_zoo() if zoo is None else zoo,
        names=prediction_names(predictions),
        labels=find_labels_file(optional_path(labels), dataset_root(data), split),
        out=Path(out),
        split=split,
        runs=Path(runs),
        images=optional_path(images),
        title=title,
        resamples=resamples if confidence else 0,
        lenient=lenient,
    )
    return write_report(request, resolve_progress(progress))

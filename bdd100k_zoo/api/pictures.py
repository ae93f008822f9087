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
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.evaluation.runs import find_labels_file
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.picture_files import PictureFormat, Viewer
from bdd100k_zoo.reporting.report import ReportRequest, write_report
from bdd100k_zoo.reporting.show import ShowRequest, read_frame_names, show_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.api.arguments import AnyPath, AnyPaths, AnyPredictions
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.registry import Zoo
    from bdd100k_zoo.reporting.report import WrittenReport
    from bdd100k_zoo.reporting.show import ShowResult


def show(
    predictions: AnyPath,
    images: AnyPaths,
    out: AnyPath,
    *,
    labels: AnyPath | None = None,
    min_score: float = DEFAULT_MIN_SCORE,
    classes: Sequence[str | int] | None = None,
    frames: str | Sequence[str] = (),
    top_errors: int | None = None,
    every: int = 1,
    format: PictureFormat = "jpg",  # noqa: A002  (the option's name)
    viewer: Viewer = "own",
    jobs: int | None = 1,
    fresh: bool = False,
    progress: AnyProgress = None,
) -> ShowResult:
    """Draw predictions into their images; with labels, mark matched, missed and false boxes.

    An existing picture that would look the same is not drawn again.

    Args:
        predictions: a predictions file or a run.
        images: the images, as for ``predict``.
        out: folder of the pictures.
        labels: labels, for the marks.
        min_score: leave out detections with lower scores, from 0 to 1.
        classes: only these, by name or index; None for all.
        frames: only these, by name; a name that ends in ``.txt`` is a list with one per line.
        top_errors: only so many frames, those that cost the most AP, the worst first; needs ``labels``.
        every: predictions are of every Nth frame of a video.
        format: ``jpg`` or ``png``.
        viewer: ``own``, or ``scalabel``, the official viewer.
        jobs: processes that draw, None for one per core. More than one need ``if __name__ == "__main__":`` in a script.
        fresh: draw existing pictures again.
        progress: None, True for bars, or a ``Progress``.

    Returns:
        The pictures with their paths, the numbers of boxes, and what has no picture: ``without_image``, ``unreadable``.

    Raises:
        ImagesError: none of the frames has an image.
        InvalidFileError: a frame is not among the predictions.
        ZooError: any other failure.
    """
    check_choice("format", format, PictureFormat)
    check_choice("viewer", viewer, Viewer)
    check_at_least(1, top_errors=top_errors, every=every, jobs=jobs)
    if top_errors and labels is None:
        raise ZooError("top_errors needs labels", "give labels=FILE: which frames cost AP is known from labels alone")
    if viewer == "scalabel" and labels is not None:
        raise ZooError("the viewer scalabel draws predictions only", "leave out labels or viewer")
    request = ShowRequest(
        predictions=Path(predictions),
        images=path_texts(images),
        out=Path(out),
        every=every,
        labels=optional_path(labels),
        min_score=min_score,
        classes=tuple(class_indices(CLASSES if classes is None else classes)),
        frames=read_frame_names((frames,) if isinstance(frames, str) else frames),
        top_errors=top_errors,
        form=format,
        viewer=viewer,
        jobs=jobs,
        fresh=fresh,
    )
    return show_predictions(request, resolve_progress(progress))


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

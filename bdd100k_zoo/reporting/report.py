"""Predictions files → a report: a page that shows how good they are, where they fail, and which is better."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.drawing.boxes import BoxMark, draw_boxes
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.tables import read_labels, read_predictions
from bdd100k_zoo.errors import ImagesError, UnreadableImageError
from bdd100k_zoo.evaluation.analysis import RunAnalysis, analyse_run, compare_runs
from bdd100k_zoo.evaluation.bootstrap import SEED
from bdd100k_zoo.evaluation.error_analysis import check_hotcoco_installed
from bdd100k_zoo.evaluation.frame_matching import build_match_outcomes, worst_frames
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames, unique_frame_names
from bdd100k_zoo.evaluation.runs import EvaluationSubject, note_limits, resolve_name
from bdd100k_zoo.evaluation.scores import fingerprint_file
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.reporting.figures import check_report_installed
from bdd100k_zoo.reporting.frame_boxes import build_outcome_marks
from bdd100k_zoo.reporting.page import check_page_replaceable
from bdd100k_zoo.reporting.picture_files import read_picture
from bdd100k_zoo.reporting.report_page import Album, Picture, Report, ReportRun, render_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """What a report is to contain."""

    zoo: Zoo
    names: tuple[str, ...]
    """Predictions files, folders of runs, or models: all runs of a model."""
    labels: Path
    out: Path
    split: str = "val"
    runs: Path = Path("runs")
    images: Path | None = None
    """Folder of the frames, for pictures."""
    title: str | None = None
    resamples: int = 0
    """Number of bootstrap resamples for intervals; 0 for no intervals."""
    lenient: bool = False


class WrittenReport(NamedTuple):
    """A report on disk."""

    path: Path
    size: int
    """Bytes."""
    report: Report

    def __repr__(self) -> str:
        return f"WrittenReport({str(self.path)!r}, {self.size:,} bytes)"


def write_report(request: ReportRequest, progress: Progress) -> WrittenReport:
    """Compute and write a report.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        ImagesError: the folder of images holds none of the labelled frames.
        StorageError: the report's path holds a file that this package has not written.
        ZooError: labels or predictions cannot be scored, see ``data.tables`` and ``evaluation.pairing``.
    """
    check_report_installed()
    check_hotcoco_installed()
    check_page_replaceable(request.out)
    subjects = [
        subject
        for name in request.names
        for subject in resolve_name(name, request.zoo, request.split, request.runs, progress)
    ]
    note_limits(subjects, progress)
    labels = read_labels(request.labels, lenient=request.lenient)
    images = find_frame_images(request.images, labels, progress) if request.images else {}
    analysed = [_analyse(subject, labels, images, request, progress) for subject in subjects]
    without_image = len(labels.frames) - len(images)
    albums, notes = draw_gallery([frames for *_, frames in analysed], without_image, progress) if images else ([], [])
    first, *others = (analysis for _, analysis, _ in analysed)
    names = [subject.name for subject in subjects]
    report = Report(
        title=request.title or (" and ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} others"),
        labels=fingerprint_file(request.labels),
        runs=tuple(run for run, *_ in analysed),
        resamples=request.resamples,
        seed=SEED,
        comparisons=tuple(compare_runs(first, other) for other in others),
        albums=tuple(albums),
        notes=tuple(notes),
    )
    content = render_report(report)
    write_atomically(request.out, content, follow_links=True)
    return WrittenReport(request.out, len(content), report)


def _analyse(
    subject: EvaluationSubject,
    labels: LabelTable,
    images: Mapping[int, Path],
    request: ReportRequest,
    progress: Progress,
) -> tuple[ReportRun, RunAnalysis, GalleryFrames]:
    progress.note(f"analysing {subject.name}")
    predictions = read_predictions(subject.predictions, labels, lenient=request.lenient)
    paired = pair_frames(labels, predictions, lenient=request.lenient)
    matches = match_detections(paired)
    analysis = analyse_run(paired, matches, request.resamples, progress)
    run = ReportRun(
        name=subject.name,
        predictions=fingerprint_file(subject.predictions),
        analysis=analysis.analysis,
        published_ap=subject.published_ap,
        model=subject.model,
        family=subject.model.family_record if subject.model else None,
        record=subject.run,
        let_through=paired.let_through,
    )
    return run, analysis, choose_gallery_frames(paired, matches, images) if images else GalleryFrames((), ())


# Pictures -------------------------------------------------------------------------------------------------------------

MIN_SCORE = 0.3
"""Detections with lower scores are not drawn."""
GALLERY_SEED = 0
MAX_PAGE_BYTES = 10_000_000
"""Size of all pictures together; in the page, as base64, they are a third larger."""


class GallerySize(NamedTuple):
    """How many pictures a report shows, and how large."""

    worst: int
    """Of each run."""
    random: int
    """The same frames for all runs."""
    width: int
    """Pixels, at most."""
    quality: int
    """Of the JPEG, 1 to 95."""


GALLERY_SIZES = (
    GallerySize(12, 8, 960, 80),
    GallerySize(12, 8, 640, 75),
    GallerySize(6, 4, 640, 75),
    GallerySize(4, 2, 480, 70),
    GallerySize(2, 1, 320, 70),
)
"""The first size whose pictures fit into ``MAX_PAGE_BYTES`` is used."""


class GalleryFrame(NamedTuple):
    """A frame to show."""

    frame: str
    image: Path
    marks: tuple[BoxMark, ...]
    caption: str


class GalleryFrames(NamedTuple):
    """The frames of one run to show."""

    worst: tuple[GalleryFrame, ...]
    """The worst first."""
    random: tuple[GalleryFrame, ...]


def find_frame_images(folder: Path, labels: LabelTable, progress: Progress) -> dict[int, Path]:
    """Return the images of a folder by the index of their labelled frame, and report what else the folder holds.

    Images are looked up by name: a frame's name is never joined to a path. Raises ImagesError where there are none,
    and as ``data.images.find_images`` does.
    """
    found = find_images((str(folder),))
    if ignored := found.describe_ignored():
        progress.note(ignored)
    paths = {frame.name: frame.path for frame in found.frames if frame.index is None}
    names = zip(unique_frame_names(labels), labels.frames, strict=True)
    matched = {place: paths.get(key) or paths.get(name) for place, (key, name) in enumerate(names)}
    images = {place: path for place, path in matched.items() if path}
    if not images:
        hint = "--images takes the folder that holds the frames of the labels, under their names"
        raise ImagesError(f"{folder}: holds an image of none of the labelled frames", hint)
    return images


def choose_gallery_frames(paired: PairedFrames, matches: Matches, images: Mapping[int, Path]) -> GalleryFrames:
    """Choose, among the frames that have an image, those that cost a run the most AP, and some at random."""
    losses = {loss.frame: loss for loss in worst_frames(matches, len(matches.frames))}
    worst = [place for place in losses if place in images][: GALLERY_SIZES[0].worst]
    rng = random.Random(GALLERY_SEED)  # noqa: S311  (no secret)
    others = rng.sample(sorted(images), min(GALLERY_SIZES[0].random, len(images)))
    outcomes = build_match_outcomes(paired, matches)

    def build(place: int) -> GalleryFrame:
        marks = build_outcome_marks(outcomes.of_frame(place), MIN_SCORE)
        kinds = [mark.kind for mark in marks]
        caption = f"{kinds.count('true')} matched, {kinds.count('false')} false, {kinds.count('missed')} missed"
        if loss := losses.get(place):
            caption += f"; costs {loss.lost:.3f} AP, of which {loss.to_false:.3f} by false detections"
        else:
            caption += "; costs no AP"
        return GalleryFrame(matches.frames[place], images[place], marks, caption)

    return GalleryFrames(tuple(map(build, worst)), tuple(map(build, others)))


def draw_gallery(
    runs: Sequence[GalleryFrames], without_image: int, progress: Progress
) -> tuple[list[Album], list[str]]:
    """Draw the pictures of all runs, as large and as many as the page has room for; also return remarks on them.

    Args:
        runs: the frames to show of each run.
        without_image: number of labelled frames that have no image.
        progress: reports how many pictures are drawn.
    """
    albums: list[Album] = []
    unreadable: list[str] = []
    for size in GALLERY_SIZES:
        if drawn := _draw_albums(runs, size, progress):
            albums, unreadable = drawn
            break
    notes = [
        f"Detections with scores below {MIN_SCORE} are not drawn, and objects that only they found count as missed."
    ]
    if without_image:
        notes.append(f"{without_image:,} of the labelled frames have no image in the folder, and are left out.")
    if size != GALLERY_SIZES[0]:
        notes.append("There are fewer or smaller pictures than usual, to keep the page small.")
    if unreadable:
        notes.append(f"{len(unreadable)} images cannot be read; the first is that of {unreadable[0]}.")
    return albums, notes


def _draw_albums(
    runs: Sequence[GalleryFrames], size: GallerySize, progress: Progress
) -> tuple[list[Album], list[str]] | None:
    """Draw all pictures in one size; return None as soon as they do not fit into a page.

    Also returns the frames whose image cannot be read; they are left out.
    """
    parts = [
        (run, *part)
        for run, frames in enumerate(runs)
        for part in (
            ("The frames that cost the most AP", frames.worst[: size.worst]),
            ("Frames at random", frames.random[: size.random]),
        )
    ]
    albums: list[Album] = []
    unreadable: list[str] = []
    total = 0
    with progress.task("Drawing", sum(len(frames) for *_, frames in parts), "images") as task:
        for run, title, frames in parts:
            pictures = []
            for frame in frames:
                try:
                    pictures.append(_draw(frame, size))
                    total += len(pictures[-1].jpeg)
                except UnreadableImageError:
                    unreadable.append(frame.frame)
                task.advance(1)
                if total > MAX_PAGE_BYTES:
                    return None
            albums.append(Album(run, title, tuple(pictures)))
    return albums, unreadable


def _draw(frame: GalleryFrame, size: GallerySize) -> Picture:
    image, marks = _scale(read_picture(frame.image), frame.marks, size.width)
    content = io.BytesIO()
    draw_boxes(image, marks).save(content, "JPEG", quality=size.quality, optimize=True)
    return Picture(frame.frame, content.getvalue(), *image.size, frame.caption)


def _scale(image: Image.Image, marks: Sequence[BoxMark], width: int) -> tuple[Image.Image, list[BoxMark]]:
    """Shrink an image to at most ``width`` pixels, and its marks with it, so that lines and text keep their size."""
    factor = min(1.0, width / image.width)
    size = max(round(image.width * factor), 1), max(round(image.height * factor), 1)
    smaller = image.resize(size, reducing_gap=2.0) if factor < 1 else image
    boxes = [(x1 * factor, y1 * factor, x2 * factor, y2 * factor) for x1, y1, x2, y2 in (mark.box for mark in marks)]
    return smaller, [mark._replace(box=box) for mark, box in zip(marks, boxes, strict=True)]

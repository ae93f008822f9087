"""Predictions files → a report: a page that shows how good they are, where they fail, and which is better."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.load import read_labels, read_predictions
from bdd100k_zoo.evaluation.analysis import RunAnalysis, analyse_run, compare_runs
from bdd100k_zoo.evaluation.bootstrap import SEED
from bdd100k_zoo.evaluation.error_analysis import check_hotcoco_installed
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.resolve_runs import EvaluationSubject, resolve_name
from bdd100k_zoo.evaluation.scores import fingerprint_file
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.prediction.run import read_run
from bdd100k_zoo.reporting import report_page as page
from bdd100k_zoo.reporting.figures import check_report_installed
from bdd100k_zoo.reporting.gallery import FolderImages, GalleryFrames, choose_gallery_frames, draw_gallery
from bdd100k_zoo.reporting.page import check_page_replaceable
from bdd100k_zoo.reporting.provenance import ReportRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """What a report is asked to tell."""

    zoo: Zoo
    names: tuple[str, ...]
    """Predictions files, folders of runs, or models, of which all runs count."""
    labels: Path
    out: Path
    split: str = "val"
    runs: Path = Path("runs")
    images: Path | None = None
    """Folder of the frames, for pictures."""
    title: str | None = None
    resamples: int = 0
    """For intervals; 0 for none."""
    lenient: bool = False


class WrittenReport(NamedTuple):
    """A report on disk."""

    path: Path
    size: int
    """Bytes."""
    report: page.Report


def write_report(request: ReportRequest, progress: Progress) -> WrittenReport:
    """Compute and write a report.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        NoImagesError: the folder of images holds none of the labelled frames.
        OtherFilesError: a file stands under the report's name that is none of our pages.
        ZooError: labels or predictions cannot be scored, see ``records.tables`` and ``evaluation.pairing``.
    """
    check_report_installed()
    check_hotcoco_installed()
    check_page_replaceable(request.out)
    subjects = [
        subject for name in request.names for subject in resolve_name(name, request.zoo, request.split, request.runs)
    ]
    labels = read_labels(request.labels, lenient=request.lenient)
    images = FolderImages(request.images).of(labels) if request.images else {}
    looked = [_look_at(subject, labels, images, request, progress) for subject in subjects]
    gallery = (
        draw_gallery([each.pieces for each in looked], len(labels.frames) - len(images), progress) if images else None
    )
    report = page.Report(
        title=request.title or _title(subjects),
        labels=fingerprint_file(request.labels),
        runs=tuple(each.run for each in looked),
        resamples=request.resamples,
        seed=SEED,
        comparisons=_comparisons([each.overview for each in looked]),
        albums=gallery.albums if gallery else (),
        notes=gallery.notes if gallery else (),
    )
    content = page.render_report(report)
    write_atomically(request.out, content, follow_links=True)
    return WrittenReport(request.out, len(content), report)


class _Looked(NamedTuple):
    run: ReportRun
    overview: RunAnalysis
    pieces: GalleryFrames


def _look_at(
    subject: EvaluationSubject,
    labels: LabelTable,
    images: Mapping[int, Path],
    request: ReportRequest,
    progress: Progress,
) -> _Looked:
    progress.note(f"analysing {subject.name}")
    predictions = read_predictions(subject.predictions, labels, lenient=request.lenient)
    paired = pair_frames(labels, predictions, lenient=request.lenient)
    matches = match_detections(paired)
    overview = analyse_run(paired, matches, request.resamples, progress)
    run = ReportRun(
        name=subject.name,
        predictions=fingerprint_file(subject.predictions),
        analysis=overview.analysis,
        published_ap=subject.published_ap,
        model=subject.model,
        family=request.zoo.family(subject.model.family) if subject.model else None,
        record=read_run(subject.folder) if subject.folder else None,
        let_through=paired.let_through,
    )
    return _Looked(run, overview, choose_gallery_frames(paired, matches, images) if images else GalleryFrames((), ()))


def _comparisons(overviews: Sequence[RunAnalysis]) -> tuple[page.RunComparison, ...]:
    first, *others = overviews
    return tuple(page.RunComparison(place, compare_runs(first, other)) for place, other in enumerate(others, start=1))


def _title(subjects: Sequence[EvaluationSubject]) -> str:
    names = [subject.name for subject in subjects]
    return " and ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} others"

"""Predictions files → a report: a page that shows how good they are, where they fail, and which is better."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.evaluation.analysis import SEED
from bdd100k_zoo.evaluation.matching import match
from bdd100k_zoo.evaluation.overview import Overview, compare, look_over
from bdd100k_zoo.evaluation.pairing import pair
from bdd100k_zoo.records.files import write_whole
from bdd100k_zoo.records.kept import facts_of
from bdd100k_zoo.records.run import read_run
from bdd100k_zoo.rendering import report as page
from bdd100k_zoo.rendering.provenance import Run
from bdd100k_zoo.rendering.surface import check_installed
from bdd100k_zoo.workflows.gallery import Images, Pieces, choose, hang
from bdd100k_zoo.workflows.inputs import read_labels, read_predictions
from bdd100k_zoo.workflows.pages import check_free
from bdd100k_zoo.workflows.subjects import Finder, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.manifest import Zoo
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.records.tables import LabelTable


@dataclass(frozen=True, kw_only=True)
class Request:
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


class Written(NamedTuple):
    """A report on disk."""

    path: Path
    size: int
    """Bytes."""
    report: page.Report


def write_report(request: Request, progress: Progress) -> Written:
    """Compute and write a report.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        NoImagesError: the folder of images holds none of the labelled frames.
        OtherFilesError: a file stands under the report's name that is none of our pages.
        ZooError: labels or predictions cannot be scored, see ``records.tables`` and ``evaluation.pairing``.
    """
    check_installed()
    check_free(request.out)
    finder = Finder(request.zoo, request.split, request.runs)
    subjects = [subject for name in request.names for subject in finder.named(name)]
    labels = read_labels(request.labels, lenient=request.lenient)
    images = Images(request.images).of(labels) if request.images else {}
    looked = [_look_at(subject, labels, images, request, progress) for subject in subjects]
    gallery = hang([each.pieces for each in looked], len(labels.frames) - len(images), progress) if images else None
    report = page.Report(
        title=request.title or _title(subjects),
        labels=facts_of(request.labels),
        runs=tuple(each.run for each in looked),
        resamples=request.resamples,
        seed=SEED,
        comparisons=_comparisons([each.overview for each in looked]),
        albums=gallery.albums if gallery else (),
        notes=gallery.notes if gallery else (),
    )
    content = page.render(report)
    write_whole(request.out, content, follow_links=True)
    return Written(request.out, len(content), report)


class _Looked(NamedTuple):
    run: Run
    overview: Overview
    pieces: Pieces


def _look_at(
    subject: Subject, labels: LabelTable, images: Mapping[int, Path], request: Request, progress: Progress
) -> _Looked:
    progress.note(f"analysing {subject.name}")
    predictions = read_predictions(subject.predictions, labels, lenient=request.lenient)
    paired = pair(labels, predictions, lenient=request.lenient)
    matches = match(paired)
    overview = look_over(paired, matches, request.resamples, progress)
    run = Run(
        name=subject.name,
        predictions=facts_of(subject.predictions),
        analysis=overview.analysis,
        published_ap=subject.published_ap,
        model=subject.model,
        family=request.zoo.family(subject.model.family) if subject.model else None,
        record=read_run(subject.folder) if subject.folder else None,
        let_through=paired.let_through,
    )
    return _Looked(run, overview, choose(paired, matches, images) if images else Pieces((), ()))


def _comparisons(overviews: Sequence[Overview]) -> tuple[page.Comparison, ...]:
    first, *others = overviews
    return tuple(page.Comparison(place, compare(first, other)) for place, other in enumerate(others, start=1))


def _title(subjects: Sequence[Subject]) -> str:
    names = [subject.name for subject in subjects]
    return " and ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} others"

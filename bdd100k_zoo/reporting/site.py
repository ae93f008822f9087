"""The zoo as one page: a table of all models, plots of their AP and speed, a card for each."""

from __future__ import annotations

import shlex
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.runs import read_measured_results
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.addresses import address_problem
from bdd100k_zoo.registry.models import best_of_families, describe_training, format_parameters
from bdd100k_zoo.reporting.figures import ap_limits, check_report_installed
from bdd100k_zoo.reporting.page import check_page_replaceable, markup, render_page
from bdd100k_zoo.reporting.site_plots import Group, Point, ap_plot, family_marker, parameters_plot, speed_plot
from bdd100k_zoo.reporting.tables import SPEED, Speeds, format_speed, models_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from bdd100k_zoo.evaluation.runs import SkippedRecord
    from bdd100k_zoo.registry import Artifact, Family, Model, Zoo
    from bdd100k_zoo.reporting.site_plots import FamilyMarker

    ModelScores = Mapping[str, Mapping[str, float | None]]
    """By metric and class, in percent, with OVERALL."""

SITE_PAGE = "index.html"
TITLE = "The BDD100K detection model zoo"
CLASS_METRICS = ("AP", "AP50", "AP75")

KINDS = {
    "weights": "weights",
    "preds": "predictions",
    "visuals": "visuals",
    "scores-val": "scores on val",
    "scores-test": "scores on test",
}
"""Names on the page of the kinds of files."""

DEAD_HOST = "dl.cv.ethz.ch"
"""Host of the published weights; reported dead since March 2026 (SysCV/bdd100k-models issue 28)."""


class WrittenSite(NamedTuple):
    """A page on disk."""

    path: Path
    size: int
    """Bytes."""
    left_out: tuple[SkippedRecord, ...] = ()
    """Runs and speed records that the page does not show."""


def write_site(zoo: Zoo, out: Path, runs: Path | None = None, speed: Path | None = None) -> WrittenSite:
    """Write the page of a zoo, ``index.html``; other files of the folder stay as they are.

    Args:
        zoo: what the page shows.
        out: the folder, created where it is missing.
        runs: folder of runs whose measured scores are shown beside the published AP.
        speed: file of speed records.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        StorageError: the folder cannot be written, or its ``index.html`` is not a page of this package.
        InputsError: no run has scores that can be shown.
        InvalidFileError: the file of speed records has none.
    """
    check_report_installed()
    path = out / SITE_PAGE
    check_page_replaceable(path)
    found = read_measured_results({model.name for model in zoo.models}, runs, speed)
    scores = None if found.scores is None else {model: stored.scores for model, stored in found.scores.items()}
    content = render_site(zoo, scores, found.speeds, found.left_out)
    write_atomically(path, content, follow_links=True)
    return WrittenSite(path, len(content), found.left_out)


class Entry(NamedTuple):
    """A model on the page."""

    model: Model
    family: Family
    mark: FamilyMarker
    measured: float | None
    """Overall AP on val, in percent."""
    speeds: tuple[float | None, ...]
    """Images per second, in the order of the columns."""
    by_class: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Measured on val: the values of ``CLASS_METRICS`` for each class, then for their mean."""
    command: str
    """What runs it."""

    @property
    def files(self) -> list[Artifact]:
        """The published files of the model."""
        artifacts = (self.model.artifact(what) for what in ARTIFACT_KINDS)
        return [artifact for artifact in artifacts if artifact.addresses]


class DeviceSpeeds(NamedTuple):
    """The speeds of the models on one device."""

    on: str
    plot: object
    """Markup."""
    unbeaten: list[Point]
    """The Pareto front, from the best AP to the fastest: each is faster than all that are better."""


def render_site(
    zoo: Zoo,
    measured: Mapping[str, ModelScores] | None = None,
    speeds: Speeds | None = None,
    left_out: tuple[SkippedRecord, ...] = (),
) -> bytes:
    """Render the page, UTF-8; the same arguments give the same bytes.

    Args:
        zoo: the models.
        measured: scores on val by model; None where no runs were given.
        speeds: images per second, by device and by model.
        left_out: runs and speed records that are not shown.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
    """
    speeds = speeds or {}
    families = [
        (family, [_entry(zoo, family, place, model, measured or {}, speeds) for model in models_of(zoo, family)])
        for place, family in enumerate(zoo.families)
    ]
    families = [(family, entries) for family, entries in families if entries]
    entries = [entry for _, of_family in families for entry in of_family]
    groups = [Group(family.title, tuple(_points(entries))) for family, entries in families]
    groups = sorted((group for group in groups if group.points), key=lambda group: -group.points[0].ap_val)
    sections = {family.name: f"family-{place}" for place, (family, _) in enumerate(families, start=1)}
    by_name = {entry.model.name: entry for entry in entries}
    best = best_of_families(entry.model for entry in entries)
    hosts = {urlsplit(entry.model.weights.address).hostname for entry in entries}
    return render_page(
        "site.html",
        "site.css",
        "site.js",
        title=TITLE,
        measured=measured,
        speeds=speeds,
        left_out=left_out,
        families=families,
        entries=sorted(entries, key=_best_first),
        best=[(sections[model.family], by_name[model.name]) for model in best],
        sizes=_parameters_figure(groups),
        backbones=sorted({entry.model.backbone for entry in entries if entry.model.backbone}),
        schedules=sorted(
            {entry.model.schedule for entry in entries if entry.model.schedule},
            key=lambda schedule: float(schedule[:-1]),
        ),
        figures=list(_ap_figures(groups)),
        races=list(_speed_figures(speeds, groups)),
        dead_host=DEAD_HOST if DEAD_HOST in hosts else None,
        class_metrics=CLASS_METRICS,
        kinds=KINDS,
        SPEED=SPEED,
        format_speed=format_speed,
        format_parameters=format_parameters,
        linkable=linkable,
        describe_training=describe_training,
        displayed=displayed,
    )


def linkable(address: str | None) -> bool:
    """Return whether an address may become a link: plain http or https, no script and no embedded content."""
    return address is not None and not address_problem(address)


def displayed(address: str) -> str:
    """Return an address as the page shows it: a file of this machine without its folder, which is nobody's business."""
    return unquote(address.rpartition("/")[2]) if address.startswith("file://") else address


def _entry(
    zoo: Zoo, family: Family, place: int, model: Model, measured: Mapping[str, ModelScores], speeds: Speeds
) -> Entry:
    scores = measured.get(model.name, {})
    by_class = [
        (name, tuple(scores.get(metric, {}).get(name) for metric in CLASS_METRICS)) for name in (*CLASSES, OVERALL)
    ]
    # A zoo file is named without its folder, which would publish the folder names of whoever writes the page.
    option = "" if model.zoo_file == zoo.files[0] else f"--zoo {shlex.quote(model.zoo_file.name)} "
    return Entry(
        model=model,
        family=family,
        mark=family_marker(place),
        measured=scores.get("AP", {}).get(OVERALL),
        speeds=tuple(by_model.get(model.name) for by_model in speeds.values()),
        by_class=tuple(by_class) if scores else (),
        command=f"bdd100k-zoo {option}predict {model.name} image.jpg",
    )


def _best_first(entry: Entry) -> tuple[bool, float, str]:
    """Sort by the published AP on val, models without one last."""
    ap = entry.model.ap_val
    return ap is None, -(ap or 0), entry.model.name


def _points(entries: Iterable[Entry]) -> Iterator[Point]:
    for model, mark in ((entry.model, entry.mark) for entry in sorted(entries, key=_best_first)):
        if model.ap_val is not None:
            label = " ".join(filter(None, (model.backbone, model.schedule))) or model.name
            yield Point(model.name, label, mark, model.ap_val, model.ap_test, parameters=model.parameters or 0)


def _ap_figures(groups: list[Group]) -> Iterator[object]:
    """Plot the families in two columns, half of them in each."""
    points = [point for group in groups for point in group.points]
    aps = [ap for point in points for ap in (point.ap_val, point.ap_test) if ap is not None]
    cut = (len(groups) + 1) // 2
    for place, half in enumerate(half for half in (groups[:cut], groups[cut:]) if half):
        margin = max(0.04 * (max(aps) - min(aps)), 0.2)
        limits = ap_limits(min(aps) - margin, max(aps) + margin, floor=0)
        yield markup(ap_plot(f"ap-plot-{place}", half, limits))


def _parameters_figure(groups: list[Group]) -> object:
    """Plot AP over parameters; None if those of no model are known."""
    points = [point for group in groups for point in group.points if point.parameters]
    front = _pareto_front(points, lambda point: -point.parameters)
    return markup(parameters_plot("parameters-plot", points, front)) if points else None


def _speed_figures(speeds: Speeds, groups: list[Group]) -> Iterator[DeviceSpeeds]:
    for place, (on, by_model) in enumerate(speeds.items()):
        points = [
            point._replace(images_per_second=by_model[point.name])
            for group in groups
            for point in group.points
            if 0 < by_model.get(point.name, 0) < inf
        ]
        if points:
            unbeaten = _pareto_front(points, lambda point: point.images_per_second)
            yield DeviceSpeeds(on, markup(speed_plot(f"speed-plot-{place}", on, points, unbeaten)), unbeaten)


def _pareto_front(points: Iterable[Point], merit: Callable[[Point], float]) -> list[Point]:
    """Return the points that no other surpasses in AP without less of another merit, from the best AP on."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (-merit(each), -each.ap_val)):
        if not front or point.ap_val > front[0].ap_val:
            front.insert(0, point)
    return front

"""The zoo as one page: a table of all models, their AP as a plot, a card for each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.runs import SkippedRecord, read_measured_results
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.addresses import address_problem
from bdd100k_zoo.reporting.figures import ap_limits, check_report_installed
from bdd100k_zoo.reporting.page import check_page_replaceable, markup, render_page
from bdd100k_zoo.reporting.tables import SPEED, Speeds, format_speed, models_of
from bdd100k_zoo.reporting.zoo_plots import FamilyMarker, Group, Point, ap_plot, family_marker, speed_plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bdd100k_zoo.registry import Artifact, Family, Model, Zoo

TITLE = "The BDD100K detection model zoo"
CLASS_METRICS = ("AP", "AP50", "AP75")

KINDS = {
    "weights": "weights",
    "preds": "predictions",
    "visuals": "visuals",
    "scores-val": "scores on val",
    "scores-test": "scores on test",
}
"""What the page calls the kinds of files."""

DEAD_HOST = "dl.cv.ethz.ch"
"""Where the publishers keep the weights; reported dead since March 2026 (SysCV/bdd100k-models issue 28)."""

ModelScores = Mapping[str, Mapping[str, float | None]]
"""By metric and class, in percent, with OVERALL."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that the page shows."""

    zoo: Zoo
    measured: Mapping[str, ModelScores] | None = None
    """On val, by model; None where no runs were asked for."""
    speeds: Speeds = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()
    """Runs and speed records that are not shown, by name, each with the reason."""


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
    """Measured on val: the values of ``CLASS_METRICS`` for each class and, at last, their mean."""
    command: str
    """What runs it."""

    @property
    def files(self) -> list[Artifact]:
        """What is published of it."""
        artifacts = (self.model.artifact(what) for what in ARTIFACT_KINDS)
        return [artifact for artifact in artifacts if artifact.addresses]


class DeviceSpeeds(NamedTuple):
    """The models of the zoo on one device."""

    on: str
    plot: object
    """Markup."""
    unbeaten: list[Point]
    """From the best to the fastest: each is faster than all that are better."""


def render_site(site: Site) -> bytes:
    """Render the page, UTF-8; the same zoo gives the same bytes.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
    """
    families = [
        (family, _entries(site, family, family_marker(place))) for place, family in enumerate(site.zoo.families)
    ]
    families = [(family, entries) for family, entries in families if entries]
    entries = [entry for _, of_family in families for entry in of_family]
    groups = _groups(families)
    return render_page(
        "site.html",
        "site.css",
        "site.js",
        title=TITLE,
        site=site,
        families=families,
        entries=sorted(entries, key=_from_the_best),
        backbones=sorted({entry.model.backbone for entry in entries}),
        schedules=sorted({entry.model.schedule for entry in entries}, key=lambda schedule: float(schedule[:-1])),
        figures=list(_ap_plots(groups)),
        races=list(_races(site.speeds, groups)),
        silent_host=DEAD_HOST if any(map(_is_on_silent_host, entries)) else None,
        class_metrics=CLASS_METRICS,
        kinds=KINDS,
        SPEED=SPEED,
        format_speed=format_speed,
        linkable=linkable,
    )


def linkable(address: str | None) -> bool:
    """Tell whether an address may become a link: plain http or https, no script and no content of its own."""
    return address is not None and not address_problem(address)


def _entries(site: Site, family: Family, mark: FamilyMarker) -> list[Entry]:
    return [_entry(site, family, mark, model) for model in models_of(site.zoo, family)]


def _entry(site: Site, family: Family, mark: FamilyMarker, model: Model) -> Entry:
    scores = (site.measured or {}).get(model.name, {})
    return Entry(
        model=model,
        family=family,
        mark=mark,
        measured=scores.get("AP", {}).get(OVERALL),
        speeds=tuple(by_model.get(model.name) for by_model in site.speeds.values()),
        by_class=tuple((name, _values(scores, name)) for name in (*CLASSES, OVERALL)) if scores else (),
        command=_command(site.zoo, model),
    )


def _is_on_silent_host(entry: Entry) -> bool:
    return urlsplit(entry.model.weights.address).hostname == DEAD_HOST


def _values(scores: ModelScores, name: str) -> tuple[float | None, ...]:
    return tuple(scores.get(metric, {}).get(name) for metric in CLASS_METRICS)


def _command(zoo: Zoo, model: Model) -> str:
    """Give the command without the folder of a zoo file, which is nobody else's business."""
    option = "" if model.zoo_file == zoo.files[0] else f"--zoo {shlex.quote(model.zoo_file.name)} "
    return f"bdd100k-zoo {option}predict {model.name} --images DIR"


def _from_the_best(entry: Entry) -> tuple[bool, float, str]:
    ap = entry.model.ap_val
    return ap is None, -(ap or 0), entry.model.name


def _groups(families: Iterable[tuple[Family, list[Entry]]]) -> list[Group]:
    """Give the families that have an AP to plot, the best first."""
    groups = [Group(family.title, tuple(_points(entries))) for family, entries in families]
    return sorted((group for group in groups if group.points), key=lambda group: -group.points[0].ap_val)


def _ap_plots(groups: list[Group]) -> Iterator[object]:
    for place, half in enumerate(_halves(groups)):
        yield markup(ap_plot(f"ap-plot-{place}", half, _limits(groups)))


def _halves(groups: list[Group]) -> list[list[Group]]:
    """Share families out to plots that stand side by side, as even as they can be; one alone is not shared."""
    lines = [1 + len(group.points) for group in groups]
    cut = min(range(len(groups) + 1), key=lambda place: abs(sum(lines[:place]) - sum(lines[place:])), default=0)
    return [half for half in (groups[:cut], groups[cut:]) if half]


def _limits(groups: list[Group]) -> tuple[float, float]:
    points = [point for group in groups for point in group.points]
    aps = [ap for point in points for ap in (point.ap_val, point.ap_test) if ap is not None]
    margin = max(0.04 * (max(aps) - min(aps)), 0.2)
    return ap_limits(min(aps) - margin, max(aps) + margin, floor=0)


def _points(entries: Iterable[Entry]) -> Iterator[Point]:
    for model, mark in ((entry.model, entry.mark) for entry in sorted(entries, key=_from_the_best)):
        if model.ap_val is not None:
            yield Point(model.name, f"{model.backbone} {model.schedule}", mark, model.ap_val, model.ap_test)


def _races(speeds: Speeds, groups: list[Group]) -> Iterator[DeviceSpeeds]:
    for place, (on, by_model) in enumerate(speeds.items()):
        points = [
            point._replace(images_per_second=by_model[point.name])
            for group in groups
            for point in group.points
            if 0 < by_model.get(point.name, 0) < inf
        ]
        if points:
            unbeaten = list(_unbeaten(points))[::-1]
            yield DeviceSpeeds(on, markup(speed_plot(f"speed-plot-{place}", on, points, unbeaten)), unbeaten)


def _unbeaten(points: Iterable[Point]) -> Iterator[Point]:
    """Give those that no other surpasses in AP without being slower, from the fastest to the best."""
    best = -inf
    for point in sorted(points, key=lambda each: (-each.images_per_second, -each.ap_val)):
        if point.ap_val > best:
            best = point.ap_val
            yield point


SITE_PAGE = "index.html"


class WrittenSite(NamedTuple):
    """A page on disk."""

    path: Path
    size: int
    """Bytes."""
    left_out: tuple[SkippedRecord, ...] = ()
    """Runs and speed records that the page does not show."""


def write_site(zoo: Zoo, out: Path, runs: Path | None = None, speed: Path | None = None) -> WrittenSite:
    """Write the page of a zoo, ``index.html``; what else the folder holds stays as it is.

    Args:
        zoo: what the page shows.
        out: the folder, made where it is missing.
        runs: folder of runs whose measured scores are shown beside the published AP.
        speed: file of speed records.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        OtherFilesError: the folder has an ``index.html`` that is none of our pages.
        NoRunsError: no run has scores that can be shown.
        StorageError, RecordError: there are no speed records, or the folder cannot be written.
    """
    check_report_installed()
    path = out / SITE_PAGE
    check_page_replaceable(path)
    found = read_measured_results({model.name for model in zoo.models}, runs, speed)
    scores = None if found.scores is None else {model: kept.scores for model, kept in found.scores.items()}
    left_out = tuple((each.name, each.reason) for each in found.left_out)
    content = render_site(Site(zoo=zoo, measured=scores, speeds=found.speeds, left_out=left_out))
    write_atomically(path, content, follow_links=True)
    return WrittenSite(path, len(content), found.left_out)

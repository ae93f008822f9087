"""The zoo as one page: a table of all models, their AP as a plot, a card for each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.manifest import WHATS
from bdd100k_zoo.manifest.addresses import address_problem
from bdd100k_zoo.records.scores import OVERALL
from bdd100k_zoo.rendering.page import markup, render_page
from bdd100k_zoo.rendering.tables import SPEED, Speeds, format_speed, models_of
from bdd100k_zoo.rendering.zoo_plots import Group, Mark, Point, ap_plot, mark_of, speed_plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bdd100k_zoo.manifest import Artifact, Family, Model, Zoo

TITLE = "The BDD100K detection model zoo"
CLASS_METRICS = ("AP", "AP50", "AP75")

Scores = Mapping[str, Mapping[str, float | None]]
"""By metric and class, in percent, with OVERALL."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that the page shows."""

    zoo: Zoo
    measured: Mapping[str, Scores] | None = None
    """On val, by model; None where no runs were asked for."""
    speeds: Speeds = field(default_factory=dict)


class Entry(NamedTuple):
    """A model on the page."""

    model: Model
    family: Family
    mark: Mark
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
        artifacts = (self.model.artifact(what) for what in WHATS)
        return [artifact for artifact in artifacts if artifact.addresses]


def render(site: Site) -> bytes:
    """Render the page, UTF-8; the same zoo gives the same bytes.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
    """
    families = [(family, _entries(site, family, mark_of(place))) for place, family in enumerate(site.zoo.families)]
    families = [(family, entries) for family, entries in families if entries]
    entries = [entry for _, of_family in families for entry in of_family]
    return render_page(
        "site.html",
        "site.css",
        "site.js",
        title=TITLE,
        site=site,
        families=families,
        entries=sorted(entries, key=_from_the_best),
        backbones=sorted({entry.model.backbone for entry in entries}),
        schedules=sorted({entry.model.schedule for entry in entries}, key=_length),
        figures={name: markup(svg) for name, svg in _figures(site, families)},
        class_metrics=CLASS_METRICS,
        SPEED=SPEED,
        format_speed=format_speed,
        length=_length,
        linkable=linkable,
    )


def linkable(address: str | None) -> bool:
    """Tell whether an address may become a link: plain http or https, no script and no content of its own."""
    return address is not None and not address_problem(address)


def _entries(site: Site, family: Family, mark: Mark) -> list[Entry]:
    return [_entry(site, family, mark, model) for model in models_of(site.zoo, family)]


def _entry(site: Site, family: Family, mark: Mark, model: Model) -> Entry:
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


def _values(scores: Scores, name: str) -> tuple[float | None, ...]:
    return tuple(scores.get(metric, {}).get(name) for metric in CLASS_METRICS)


def _command(zoo: Zoo, model: Model) -> str:
    """Give the command without the folder of a zoo file, which is nobody else's business."""
    option = "" if model.zoo_file == zoo.files[0] else f"--zoo {shlex.quote(model.zoo_file.name)} "
    return f"bdd100k-zoo {option}predict {model.name} --images DIR"


def _from_the_best(entry: Entry) -> tuple[bool, float, str]:
    ap = entry.model.ap_val
    return ap is None, -(ap or 0), entry.model.name


def _length(schedule: str) -> int:
    return int(schedule[:-1])


def _figures(site: Site, families: list[tuple[Family, list[Entry]]]) -> Iterator[tuple[str, str]]:
    groups = [Group(family.title, tuple(_points(entries))) for family, entries in families]
    groups = [group for group in groups if group.points]
    if groups:
        yield "ap", ap_plot("ap-plot", sorted(groups, key=lambda group: -group.points[0].ap_val))
    for place, (on, by_model) in enumerate(site.speeds.items()):
        points = [
            point._replace(images_per_second=by_model[point.name])
            for group in groups
            for point in group.points
            if point.name in by_model
        ]
        if points:
            yield f"speed-{place}", speed_plot(f"speed-plot-{place}", on, points)


def _points(entries: Iterable[Entry]) -> Iterator[Point]:
    for model, mark in ((entry.model, entry.mark) for entry in sorted(entries, key=_from_the_best)):
        if model.ap_val is not None:
            yield Point(model.name, f"{model.backbone} {model.schedule}", mark, model.ap_val, model.ap_test)

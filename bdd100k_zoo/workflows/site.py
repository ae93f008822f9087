"""The zoo → a page that can be put on any web server."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.records.files import write_whole
from bdd100k_zoo.rendering.site import Site, render
from bdd100k_zoo.rendering.surface import check_installed
from bdd100k_zoo.workflows.measured import LeftOut, measured
from bdd100k_zoo.workflows.pages import check_free

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.manifest import Zoo

PAGE = "index.html"


class Written(NamedTuple):
    """A page on disk."""

    path: Path
    size: int
    """Bytes."""
    left_out: tuple[LeftOut, ...] = ()
    """Runs and speed records that the page does not show."""


def write_site(zoo: Zoo, out: Path, runs: Path | None = None, speed: Path | None = None) -> Written:
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
    check_installed()
    path = out / PAGE
    check_free(path)
    found = measured({model.name for model in zoo.models}, runs, speed)
    scores = None if found.scores is None else {model: kept.scores for model, kept in found.scores.items()}
    left_out = tuple((each.name, each.reason) for each in found.left_out)
    content = render(Site(zoo=zoo, measured=scores, speeds=found.speeds, left_out=left_out))
    write_whole(path, content, follow_links=True)
    return Written(path, len(content), found.left_out)

"""The zoo → a page that can be put on any web server."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.records.files import write_whole
from bdd100k_zoo.rendering.site import Site, render
from bdd100k_zoo.rendering.surface import check_installed
from bdd100k_zoo.workflows.measured import measured_scores, measured_speeds
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
        NoRunsError: no run has scores.
        StorageError, RecordError: there are no speed records, or the folder cannot be written.
    """
    check_installed()
    path = out / PAGE
    check_free(path)
    measured = {model: kept.scores for model, kept in measured_scores(runs).items()} if runs else None
    content = render(Site(zoo=zoo, measured=measured, speeds=measured_speeds(speed) if speed else {}))
    write_whole(path, content, follow_links=True)
    return Written(path, len(content))

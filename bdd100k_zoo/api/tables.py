"""table: the zoo → the tables of published results.

The command loads this module, so it imports neither numpy nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from bdd100k_zoo.api.arguments import check_choice, optional_path
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.evaluation.runs import read_measured_results
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.models import best_of_families, select_edition, select_families
from bdd100k_zoo.reporting import tables as job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.api.arguments import AnyPath
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.registry import Zoo

TableFormat = Literal["markdown", "csv", "latex", "json"]


def table(
    *,
    family: str | Sequence[str] = (),
    edition: str | None = None,
    format: TableFormat = "markdown",  # noqa: A002  (the option's name)
    config_root: str | None = None,
    runs: AnyPath | None = None,
    speed: AnyPath | None = None,
    check: AnyPath | None = None,
    out: AnyPath | None = None,
    zoo: Zoo | None = None,
    progress: AnyProgress = None,
) -> str:
    """Return the tables of published results as text; also write them to a file, or check those of a document.

    Args:
        family: names or titles of families, one or several; none for all.
        edition: only models that were published by the end of this year, month or day: ``2021``, ``2022-06-18``. The
            APs are those of today.
        format: ``markdown`` for one table per family as published; ``csv`` or ``latex`` for one table of all models;
            ``json`` for every field.
        config_root: what links to configs begin with, in Markdown; None for ``./configs/det``, or with ``check`` and
            ``out`` the folder of configs beside the document.
        runs: add the AP measured on the runs below this folder.
        speed: add the speeds of this file, which ``bench --out FILE`` wrote.
        check: check that the tables in this document are up to date.
        out: write the tables to this file. In a document that has the markers of the tables, only what is between
            them changes, and what is between the markers of the best models. A new file in Markdown has the markers
            of the tables; a file in another format is replaced.
        zoo: whose tables; None for ``load_zoo()``.
        progress: receives notes on runs that are left out.

    Raises:
        UnknownNameError: there is no such family, or not in that edition.
        InvalidFileError: an existing document lacks the markers of the tables, or, with ``check``, is not up to date;
            or a file in another format would replace a document that has the markers.
        ZooError: any other failure.
    """
    check_choice("format", format, TableFormat)
    if check is not None and out is not None:
        raise ZooError("check and out exclude one another", "give one of them")
    if check is not None and format != "markdown":
        raise ZooError("check needs the format markdown", "leave out format")
    document = optional_path(check if check is not None else out)
    known, shown = load_zoo() if zoo is None else zoo, resolve_progress(progress)
    known = select_edition(known, edition) if edition else known
    families = select_families(known, (family,) if isinstance(family, str) else family)
    models = {model.name for each in families for model in job.models_of(known, each)}
    found = read_measured_results(models, optional_path(runs), optional_path(speed))
    for each in found.left_out:
        shown.note(f"left out {each}")
    if format == "json":
        content = msgspec.json.encode(job.table_records(known, families, found), enc_hook=str)
        text = msgspec.json.format(content, indent=2).decode() + "\n"
    else:
        root = job.config_root_for(document) if config_root is None else config_root
        text = job.render_tables(known, families, format, root, found.aps, found.speeds)
    if document and format == "markdown":
        best = job.render_list(best_of_families(known.models), "markdown")
        was_stale = job.update_block(document, text, best=best, check=check is not None)
        shown.note(f"{document}: {'updated' if was_stale else 'up to date'}")
    elif document:
        job.write_tables(document, text)
        shown.note(f"{document}: written")
    return text

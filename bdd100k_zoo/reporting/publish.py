"""The zoo's result tables: printed, written into a document, checked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import StaleBlockError
from bdd100k_zoo.evaluation.runs import read_measured_results
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.registry.models import select_families
from bdd100k_zoo.reporting import tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.evaluation.runs import MeasuredResults
    from bdd100k_zoo.registry import Zoo

BEGIN = "<!-- bdd100k-zoo table: begin -->"
END = "<!-- bdd100k-zoo table: end -->"


def is_block_current(path: Path, block: str) -> bool:
    """Tell whether the generated block of a file is ``block``; raises StaleError, StorageError."""
    text = _read(path)
    return _replaced(path, text, block) == text


def write_block(path: Path, block: str) -> bool:
    """Bring the generated block of a file up to date; tell whether it was stale; raises StaleError, StorageError."""
    text = _read(path)
    updated = _replaced(path, text, block)
    if updated != text:
        write_atomically(path, updated.encode(), follow_links=True)
    return updated != text


def _read(path: Path) -> str:
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StaleBlockError(path, f"is not UTF-8 text (byte {error.start})") from error


def _replaced(path: Path, text: str, block: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise StaleBlockError(path, f"expected one line `{BEGIN}` and, after it, one line `{END}`")
    before, _, rest = text.partition(BEGIN)
    line_end = "\r\n" if rest.startswith("\r\n") else "\n"
    generated = f"{BEGIN}\n\n{block}\n{END}".replace("\n", line_end)
    return f"{before}{generated}{rest.partition(END)[2]}"


CONFIG_ROOTS = ("./configs/det", "bdd100k_zoo/configs/det")
"""Folders of configs that a document may have beside it: that of the published repository, and that of this one."""


def config_root_for(document: Path | None) -> str | None:
    """Return what a document's links to configs begin with.

    Returns:
        The published form where there is no document; for a document, the first of ``CONFIG_ROOTS`` that exists beside
        it; None where none does: a link would be dead.
    """
    if document is None:
        return tables.PUBLISHED_CONFIG_ROOT
    return next((root for root in CONFIG_ROOTS if (document.parent / root).is_dir()), None)


def result_tables(
    zoo: Zoo,
    families: Sequence[str],
    form: tables.Format,
    config_root: str | None,
    found: MeasuredResults,
) -> str:
    """Render the result tables of some families, or of all.

    Args:
        zoo: where the models are.
        families: their names or titles; none for all.
        form: of the tables.
        config_root: what links to configs begin with; None for file names without links.
        found: what ``measured_beside`` has found, whose AP is set beside the published one and whose speeds become
            columns.

    Raises:
        UnknownNameError: there is no such family.
    """
    return tables.render_tables(zoo, select_families(zoo, families), form, config_root, found.aps, found.speeds)


def read_table_measurements(
    zoo: Zoo, families: Sequence[str], runs: Path | None, speed: Path | None
) -> MeasuredResults:
    """Return what runs and speed records add to the tables of some families; raises as ``measured`` does.

    Args:
        zoo: where the models are.
        families: their names or titles; none for all.
        runs: folder of runs; None for none.
        speed: file of speed records; None for none.
    """
    shown = (model.name for family in select_families(zoo, families) for model in tables.models_of(zoo, family))
    return read_measured_results(set(shown), runs, speed)


def result_records(zoo: Zoo, families: Sequence[str], found: MeasuredResults) -> dict[str, Any]:
    """Return the same tables as records for programs, and what of ``found`` is left out.

    Arguments and errors are those of ``result_tables``.
    """
    aps = found.aps or {}
    records = [
        {
            "family": family.name,
            "title": family.title,
            "models": [
                msgspec.to_builtins(model, enc_hook=str)
                | {"measured_ap_val": aps.get(model.name)}
                | {"images_per_second": {on: by_model.get(model.name) for on, by_model in found.speeds.items()}}
                for model in tables.models_of(zoo, family)
            ],
        }
        for family in select_families(zoo, families)
    ]
    return {"families": records, "left_out": found.left_out}


def check_document(path: Path, block: str) -> None:
    """Raise StaleError where the generated block of a document is not ``block``."""
    if not is_block_current(path, block):
        raise StaleBlockError(path, "the tables between its markers are not those of the zoo")


def write_document(path: Path, block: str) -> bool:
    """Bring the generated block of a document up to date, and tell whether it was stale."""
    return write_block(path, block)

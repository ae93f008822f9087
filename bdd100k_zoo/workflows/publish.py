"""The zoo's result tables: printed, written into a document, checked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import StaleError
from bdd100k_zoo.rendering import readme, tables
from bdd100k_zoo.workflows.catalog import select_families
from bdd100k_zoo.workflows.measured import measured_ap, measured_speeds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.manifest import Zoo


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
    runs: Path | None = None,
    speed: Path | None = None,
) -> str:
    """Render the result tables of some families, or of all.

    Args:
        zoo: where the models are.
        families: their names or titles; none for all.
        form: of the tables.
        config_root: what links to configs begin with; None for file names without links.
        runs: folder of runs whose measured AP is set beside the published one.
        speed: file of speed records, which become columns.

    Raises:
        UnknownNameError: there is no such family.
        NoRunsError: no run has scores.
        StorageError, RecordError: there are no speed records.
    """
    measured = measured_ap(runs) if runs else None
    speeds = measured_speeds(speed) if speed else None
    return tables.render(zoo, select_families(zoo, families), form, config_root, measured, speeds)


def result_records(
    zoo: Zoo, families: Sequence[str], runs: Path | None = None, speed: Path | None = None
) -> list[dict[str, Any]]:
    """Give the same tables as records for programs; arguments and errors as those of ``result_tables``."""
    measured = measured_ap(runs) if runs else {}
    speeds = measured_speeds(speed) if speed else {}
    return [
        {
            "family": family.name,
            "title": family.title,
            "models": [
                msgspec.to_builtins(model, enc_hook=str)
                | {"measured_ap_val": measured.get(model.name)}
                | {"images_per_second": {on: by_model.get(model.name) for on, by_model in speeds.items()}}
                for model in tables.models_of(zoo, family)
            ],
        }
        for family in select_families(zoo, families)
    ]


def check_document(path: Path, block: str) -> None:
    """Raise StaleError where the generated block of a document is not ``block``."""
    if not readme.is_current(path, block):
        raise StaleError(path, "the tables between its markers are not those of the zoo")


def write_document(path: Path, block: str) -> bool:
    """Bring the generated block of a document up to date, and tell whether it was stale."""
    return readme.write_block(path, block)

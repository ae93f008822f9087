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


def result_tables(
    zoo: Zoo,
    families: Sequence[str],
    form: tables.Format,
    config_root: str,
    runs: Path | None = None,
    speed: Path | None = None,
) -> str:
    """Render the result tables of some families, or of all.

    Args:
        zoo: where the models are.
        families: their names or titles; none for all.
        form: of the tables.
        config_root: what links to configs begin with.
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

"""The zoo's result tables: printed, written into a document, checked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import StaleError
from bdd100k_zoo.rendering import readme, tables
from bdd100k_zoo.workflows.catalog import select_families
from bdd100k_zoo.workflows.measured import measured_ap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.manifest import Zoo


def result_tables(
    zoo: Zoo, families: Sequence[str], form: tables.Format, config_root: str, runs: Path | None = None
) -> str:
    """Render the result tables of the named families, or of all, with the AP measured on ``runs`` beside.

    Raises:
        UnknownNameError: there is no such family.
        NoRunsError: no run has scores.
    """
    measured = measured_ap(runs) if runs else None
    return tables.render(zoo, select_families(zoo, families), form, config_root, measured)


def result_records(zoo: Zoo, families: Sequence[str], runs: Path | None = None) -> list[dict[str, Any]]:
    """Give the same tables as records for programs; raises UnknownNameError, NoRunsError."""
    measured = measured_ap(runs) if runs else {}
    return [
        {
            "family": family.name,
            "title": family.title,
            "models": [
                msgspec.to_builtins(model, enc_hook=str) | {"measured_ap_val": measured.get(model.name)}
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

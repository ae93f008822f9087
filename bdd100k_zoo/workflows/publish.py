"""The zoo's result tables: printed, written into a document, checked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import StaleError
from bdd100k_zoo.rendering import readme, tables
from bdd100k_zoo.workflows.catalog import select_families

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.manifest import Zoo


def result_tables(zoo: Zoo, families: Sequence[str], form: tables.Format, config_root: str) -> str:
    """Render the result tables of the named families, or of all; raises UnknownNameError."""
    return tables.render(zoo, select_families(zoo, families), form, config_root)


def result_records(zoo: Zoo, families: Sequence[str]) -> list[dict[str, Any]]:
    """Give the same tables as records for programs; raises UnknownNameError."""
    return [
        {
            "family": family.name,
            "title": family.title,
            "models": msgspec.to_builtins(tables.models_of(zoo, family), enc_hook=str),
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

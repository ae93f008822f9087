"""A complete zoo file of a user, in which tests change one place at a time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from zoo_entries import FAMILY, MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Document = dict[str, Any]
    Write = Callable[..., Path]


class _SpelledOut(yaml.SafeDumper):
    """Writes a repeated value twice, where the library would write an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.fixture
def document() -> Document:
    """A new family with one model."""
    return copy.deepcopy({"families": [FAMILY], "models": [MODEL]})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a zoo file, with the config that its model names beside it."""

    def write(content: Document | str | bytes, name: str = "mine.yaml") -> Path:
        folder = tmp_path / "zoo files"
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / "night_net.py").write_text("model = dict()\n")
        if isinstance(content, dict):
            content = yaml.dump(content, Dumper=_SpelledOut, allow_unicode=True)
        file = folder / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write

"""The generated block of a Markdown file, between two markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.errors import StaleError
from bdd100k_zoo.records.files import storage_errors, write_whole

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = "<!-- bdd100k-zoo table: begin -->"
END = "<!-- bdd100k-zoo table: end -->"


def is_current(path: Path, block: str) -> bool:
    """Tell whether the generated block of a file is ``block``; raises StaleError, StorageError."""
    text = _read(path)
    return _replaced(path, text, block) == text


def write_block(path: Path, block: str) -> bool:
    """Bring the generated block of a file up to date; tell whether it was stale; raises StaleError, StorageError."""
    text = _read(path)
    updated = _replaced(path, text, block)
    if updated != text:
        write_whole(path, updated.encode(), follow_links=True)
    return updated != text


def _read(path: Path) -> str:
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StaleError(path, f"is not UTF-8 text (byte {error.start})") from error


def _replaced(path: Path, text: str, block: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise StaleError(path, f"expected one line `{BEGIN}` and, after it, one line `{END}`")
    before, _, rest = text.partition(BEGIN)
    line_end = "\r\n" if rest.startswith("\r\n") else "\n"
    generated = f"{BEGIN}\n\n{block}\n{END}".replace("\n", line_end)
    return f"{before}{generated}{rest.partition(END)[2]}"

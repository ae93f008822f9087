"""Which frame names are safe to join to a folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import FrameNameError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PLAIN = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_./ -]*")
"""Names that are beyond doubt: the closer look takes 40 times as long, and runs have a hundred thousand names."""


def check_frame_name(name: str) -> str:
    """Return ``name`` where it is a relative path inside its folder, on any system.

    Raises:
        FrameNameError: it is empty, absolute, climbs out of its folder, or is no text that JSON can hold.
    """
    if not PLAIN.fullmatch(name) and not _is_safe(name):
        raise FrameNameError(name)
    return name


def with_suffix(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Add ``.jpg`` to the names that are known with it alone: BDD100K's old labels and submissions leave it out."""
    known = set(known)
    return tuple(f"{name}.jpg" if name not in known and f"{name}.jpg" in known else name for name in names)


def _is_safe(name: str) -> bool:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in posix.parts or ".." in windows.parts
    return bool(posix.name) and not (posix.is_absolute() or windows.anchor or leaves) and _is_plain_text(name)


def _is_plain_text(name: str) -> bool:
    """File systems hand out undecodable bytes as lone surrogates; control characters could drive a terminal."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)

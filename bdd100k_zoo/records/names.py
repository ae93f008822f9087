"""Which frame names are safe to join to a folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

from bdd100k_zoo.errors import FrameNameError

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


def _is_safe(name: str) -> bool:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in posix.parts or ".." in windows.parts
    return bool(posix.name) and not (posix.is_absolute() or windows.anchor or leaves) and _is_plain_text(name)


def _is_plain_text(name: str) -> bool:
    """File systems hand out undecodable bytes as lone surrogates; control characters could drive a terminal."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)

"""Where files are in the cache, and where damaged files are moved."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import platformdirs

from bdd100k_zoo.files import storage_errors

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Artifact, ArtifactKind

SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
PUBLISHED_SUFFIX = "_det_bdd100k"
"""What the publishers append to a model's name in the names of its files."""

LEDGER_SUFFIX = ".ledger.json"
LOCK_SUFFIX = ".lock"
PARTIAL_SUFFIX = ".partial"
PARTIAL_FACTS_SUFFIX = ".partial.json"
DAMAGED_SUFFIX = ".damaged"
RESERVED_SUFFIXES = (LEDGER_SUFFIX, LOCK_SUFFIX, PARTIAL_SUFFIX, PARTIAL_FACTS_SUFFIX, DAMAGED_SUFFIX)
"""How the files end that stand beside an artifact's own."""

MIRROR_FOLDERS: dict[ArtifactKind, str] = {
    "weights": "models",
    "preds": "preds",
    "visuals": "visuals",
    "scores-val": "scores-val",
    "scores-test": "scores-test",
    "start-values": "start-values",
}
"""The folders below ``det/`` in which the published host keeps each kind of file; mirrors have the same."""


def default_cache_root() -> Path:
    """Find the cache: BDD100K_ZOO_CACHE where it is set, else the user's cache folder of this platform."""
    chosen = os.environ.get("BDD100K_ZOO_CACHE")
    # Path.expanduser raises RuntimeError for an unknown ~user; this leaves it as it stands.
    return Path(os.path.expanduser(chosen)) if chosen else platformdirs.user_cache_path("bdd100k-zoo")  # noqa: PTH111


def cache_file_name(artifact: Artifact) -> str:
    """Name an artifact's file so that no two models can ever share one.

    A file that is published as ``MODEL.*`` or ``MODEL_det_bdd100k.*`` keeps its name; any other is called
    ``MODEL-NAME``, or ``MODEL-WHAT`` where the address ends in no safe name. The names of models hold no hyphen and
    no dot, so the model can be read back from each of these: two models whose addresses end in the same name, on
    one server or on two, get two files. One model whose addresses change keeps its file name; the ledger tells
    from which address the file came.
    """
    published = _last_segment(artifact.addresses[0]) if artifact.addresses else ""
    if not SAFE_NAME.fullmatch(published) or published.endswith(RESERVED_SUFFIXES):
        return f"{artifact.model}-{artifact.what}"
    if published.partition(".")[0].removesuffix(PUBLISHED_SUFFIX) == artifact.model:
        return published
    return f"{artifact.model}-{published}"


def _last_segment(address: str) -> str:
    try:
        return unquote(urlsplit(address).path.rpartition("/")[2])
    except ValueError:
        return ""


def ledger_path(path: Path) -> Path:
    """Name the ledger of a cached file."""
    return path.with_name(path.name + LEDGER_SUFFIX)


def lock_path(path: Path) -> Path:
    """Name the lock that a process holds while it downloads a file."""
    return path.with_name(path.name + LOCK_SUFFIX)


def partial_path(path: Path, unique: str) -> Path:
    """Name the file that holds what has arrived so far; ``unique`` keeps processes apart where locks fail."""
    return path.with_name(f"{path.name}.{unique}{PARTIAL_SUFFIX}")


def partial_facts_path(partial: Path) -> Path:
    """Name the file that says where a partial file comes from."""
    return partial.with_name(partial.name.removesuffix(PARTIAL_SUFFIX) + PARTIAL_FACTS_SUFFIX)


def damaged_path(path: Path, stamp: str) -> Path:
    """Name a file that is set aside because its bytes are wrong; ``stamp`` is the time, in digits and ``T``."""
    return path.with_name(f"{path.name}.{stamp}{DAMAGED_SUFFIX}")


def mirror_path(artifact: Artifact) -> str:
    """Say where a mirror keeps an artifact, relative to its base: the layout of the published host."""
    return f"det/{MIRROR_FOLDERS[artifact.what]}/{cache_file_name(artifact)}"


def mirror_digest_path(artifact: Artifact) -> str:
    """Say where a mirror keeps an artifact's MD5 digest: ``.md5`` in place of ``.pth``, else after the name."""
    return mirror_path(artifact).removesuffix(".pth") + ".md5"


def quarantine_file(path: Path, *, keep_ledger: bool) -> Path:
    """Rename a file of the cache, whose lock the caller holds, so that its name is free; give its new name.

    Args:
        path: the file.
        keep_ledger: its ledger tells what the right bytes are, and stays to hold the next file to them. Otherwise it
            goes with the file.

    Raises:
        StorageError: the folder cannot be written.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    while (aside := damaged_path(path, stamp)).exists():
        stamp += "T"
    with storage_errors(path):
        path.rename(aside)
        if not keep_ledger and ledger_path(path).is_file():
            ledger_path(path).rename(ledger_path(aside))
    return aside

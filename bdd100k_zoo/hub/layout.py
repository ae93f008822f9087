"""The names of files in the cache and at mirrors; renaming a damaged file."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import platformdirs

from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.registry.models import PUBLISHED_SUFFIX

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Artifact, ArtifactKind

SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")

LEDGER_SUFFIX = ".ledger.json"
LOCK_SUFFIX = ".lock"
PARTIAL_SUFFIX = ".partial"
PARTIAL_FACTS_SUFFIX = ".partial.json"
DAMAGED_SUFFIX = ".damaged"
RESERVED_SUFFIXES = (LEDGER_SUFFIX, LOCK_SUFFIX, PARTIAL_SUFFIX, PARTIAL_FACTS_SUFFIX, DAMAGED_SUFFIX)
"""Suffixes of the files beside an artifact's own."""

MIRROR_FOLDERS: dict[ArtifactKind, str] = {
    "weights": "models",
    "preds": "preds",
    "visuals": "visuals",
    "scores-val": "scores-val",
    "scores-test": "scores-test",
    "start-values": "start-values",
}
"""The folders below ``det/`` of the published host; mirrors have the same."""


def default_cache_root() -> Path:
    """Return BDD100K_ZOO_CACHE if it is set, else the user's cache folder of this platform."""
    chosen = os.environ.get("BDD100K_ZOO_CACHE")
    # Path.expanduser raises RuntimeError for an unknown ~user; this leaves it as it is.
    return Path(os.path.expanduser(chosen)) if chosen else platformdirs.user_cache_path("bdd100k-zoo")  # noqa: PTH111


def cache_file_name(artifact: Artifact) -> str:
    """Return an artifact's file name, which no two models ever share.

    A file that is published as ``MODEL.*`` or ``MODEL_det_bdd100k.*`` keeps its name; any other is called
    ``MODEL-NAME``, or ``MODEL-WHAT`` if its address ends in no safe name. Model names hold no hyphen and no dot, so the
    model can be read back from each of these: two models whose addresses end in the same name get two files. A model
    whose addresses change keeps its file name; the ledger records from which address the file came.
    """
    try:
        published = unquote(urlsplit(artifact.addresses[0]).path.rpartition("/")[2]) if artifact.addresses else ""
    except ValueError:
        published = ""
    if not SAFE_NAME.fullmatch(published) or published.endswith(RESERVED_SUFFIXES):
        return f"{artifact.model}-{artifact.what}"
    if published.partition(".")[0].removesuffix(PUBLISHED_SUFFIX) == artifact.model:
        return published
    return f"{artifact.model}-{published}"


def ledger_path(path: Path) -> Path:
    """Return the ledger of a cached file."""
    return path.with_name(path.name + LEDGER_SUFFIX)


def lock_path(path: Path) -> Path:
    """Return the lock that a process holds while it downloads a file."""
    return path.with_name(path.name + LOCK_SUFFIX)


def partial_path(path: Path, token: str) -> Path:
    """Return the file for what has arrived so far; ``token`` keeps processes apart where locks fail."""
    return path.with_name(f"{path.name}.{token}{PARTIAL_SUFFIX}")


def partial_facts_path(partial: Path) -> Path:
    """Return the file that records where a partial file comes from."""
    return partial.with_name(partial.name.removesuffix(PARTIAL_SUFFIX) + PARTIAL_FACTS_SUFFIX)


def damaged_path(path: Path, timestamp: str) -> Path:
    """Return the name of a file that is set aside; ``timestamp`` consists of digits and ``T``."""
    return path.with_name(f"{path.name}.{timestamp}{DAMAGED_SUFFIX}")


def mirror_path(artifact: Artifact) -> str:
    """Return where a mirror has an artifact, relative to its base: the layout of the published host."""
    return f"det/{MIRROR_FOLDERS[artifact.what]}/{cache_file_name(artifact)}"


def mirror_digest_path(artifact: Artifact) -> str:
    """Return where a mirror has an artifact's MD5 digest: ``.md5`` in place of ``.pth``, else after the name."""
    return mirror_path(artifact).removesuffix(".pth") + ".md5"


def quarantine_file(path: Path, *, keep_ledger: bool) -> Path:
    """Rename a damaged file of the cache, whose lock the caller holds; return its new name.

    Args:
        path: the file.
        keep_ledger: its ledger describes the right bytes, and stays to verify the next file. Otherwise it is renamed
            with the file.

    Raises:
        StorageError: the folder cannot be written.
    """
    timestamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    while (aside := damaged_path(path, timestamp)).exists():
        timestamp += "T"
    with storage_errors(path):
        path.rename(aside)
        if not keep_ledger and ledger_path(path).is_file():
            ledger_path(path).rename(ledger_path(aside))
    return aside


def local_copy_hint(model: str = "MODEL", what: str = "weights") -> str:
    """Return the hint for users who have the file, or know a place that has it."""
    if what == "start-values":
        return "--pretrained FILE starts from a file that you have, --from-scratch from random values"
    return (
        f"with a copy of the file, `bdd100k-zoo cache import {model} FILE{what_option(what)}` checks it and puts it "
        "into the cache; BDD100K_ZOO_MIRRORS names other places that have it"
    )


def what_option(what: str) -> str:
    """Return the option that chooses a kind of file in commands whose default is the weights."""
    return "" if what == "weights" else f" --what {what}"

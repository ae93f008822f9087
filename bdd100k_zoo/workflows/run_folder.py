"""The folder of a run: its name, one process at a time in it, and whether what stands there may be replaced."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from bdd100k_zoo.artifacts.locking import take
from bdd100k_zoo.errors import BusyFolderError, OtherRunError, RecordError
from bdd100k_zoo.inference import lists, videos
from bdd100k_zoo.inference.folders import suffix_of
from bdd100k_zoo.inference.lists import STANDARD_INPUT
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.run import PREDICTIONS, RUN, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bdd100k_zoo.records.run import RunRecord

LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What tells a run from another one of the same folder; see the fields of ``RunRecord``."""

    model: str
    image_roots: tuple[str, ...]
    """As ``resolved`` gives them."""
    every: int = 1
    split: str | None = None
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    weights_sha256: str | None = None
    """None as long as they are not at hand: any weights will do."""


def default_folder(model: str, images: Sequence[str], split: str | None) -> Path:
    """Give the folder of a run that was not given one: runs/MODEL/SPLIT, or runs/MODEL/images-NAME.

    NAME is that of the first folder, list or video; ``list`` for standard input.

    Raises:
        StorageError: the working folder is gone.
    """
    if split:
        return Path("runs", model, split)
    name = "list" if images[0] == STANDARD_INPUT else _name_of(Path(_real(images[0])))
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
    return Path("runs", model, f"images-{safe or 'root'}")


def _name_of(path: Path) -> str:
    """A folder, list or video is named after itself, an image or a pattern after the folder that it is in."""
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir may raise)
        return path.name
    is_whole = suffix_of(path.name) in (*lists.SUFFIXES, *videos.SUFFIXES) and os.path.isfile(path)  # noqa: PTH113
    return path.stem if is_whole else path.parent.name


def resolved(given: str) -> str:
    """Give what a folder, file or pattern means from anywhere, as text that JSON can hold; raises StorageError.

    Standard input means the same anywhere.
    """
    if given == STANDARD_INPUT:
        return given
    return _real(given).encode("utf-8", "backslashreplace").decode()


def _real(given: str) -> str:
    """``Path``'s own ways raise RuntimeError for an unknown ~user and for links that lead in a circle."""
    with storage_errors(Path(given)):
        return os.path.realpath(os.path.expanduser(given))  # noqa: PTH111


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder and keep other processes out of it; folders that nothing came into are removed again.

    Raises:
        BusyFolderError: another process is at work there; it is not waited for.
        StorageError: the folder cannot be made or written.
    """
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]  # noqa: PTH110  (as above)
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            yield
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK)
    with storage_errors(folder):
        taken = take(lock)
    if not taken:
        raise BusyFolderError(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it on release, and refuses before
            (folder / LOCK).unlink()
        lock.release()


def check_replaceable(folder: Path, plan: Plan) -> None:
    """Refuse to replace what is no earlier run of the same plan: its predictions may be the only ones.

    Raises:
        OtherRunError: predictions of another run, or of one that nothing is known of.
        StorageError: the folder cannot be read.
    """
    with storage_errors(folder):
        has_record, has_predictions = (folder / RUN).exists(), (folder / PREDICTIONS).exists()
    if not has_record and has_predictions:
        raise OtherRunError(folder, (f"its {PREDICTIONS} has no {RUN} beside it",))
    if not has_record:
        return
    try:
        found = differences(read_run(folder), plan)
    except RecordError as error:
        raise OtherRunError(folder, (f"its {RUN} {error.problem}",)) from error
    if found:
        raise OtherRunError(folder, found)


def differences(standing: RunRecord, plan: Plan) -> tuple[str, ...]:
    """Say in what a finished run is not the one that is planned; nothing where it is."""
    facts = {
        "model": (standing.model, plan.model),
        "split": (standing.split, plan.split),
        "every": (standing.every, plan.every),
        "images": (_roots(standing.image_roots), _roots(plan.image_roots)),
        "cfg_options": (_options(standing.cfg_options), _options(plan.cfg_options)),
        "weights' SHA-256": (standing.weights.sha256, plan.weights_sha256 or standing.weights.sha256),
    }
    return tuple(
        f"{name}: {there or 'none'} there, {here or 'none'} now"
        for name, (there, here) in facts.items()
        if there != here
    )


def _roots(given: Sequence[str]) -> str:
    return ", ".join(sorted({resolved(root) for root in given}))


def _options(options: Mapping[str, object]) -> str:
    """JSON, since a record holds lists where an override had tuples, and text where it had what JSON lacks."""
    return json.dumps(dict(options), sort_keys=True, default=repr) if options else ""

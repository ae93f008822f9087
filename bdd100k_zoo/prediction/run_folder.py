"""The folder of a run: its name, which process may write into it, and what it already holds."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from filelock import FileLock

from bdd100k_zoo.data.images import LIST_SUFFIXES, STANDARD_INPUT
from bdd100k_zoo.data.video import VIDEO_SUFFIXES
from bdd100k_zoo.errors import FolderBusyError, InvalidFileError, RunMismatchError, StorageError
from bdd100k_zoo.files import lower_suffix, sha256_of, storage_errors
from bdd100k_zoo.hub.locks import acquire_lock
from bdd100k_zoo.prediction.journal import (
    JournalHeader,
    Journals,
    delete_journals,
    journal_paths,
    read_journal,
    read_journals,
)
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, check_same_run, compared, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bdd100k_zoo.prediction.run import RunRecord, RunRequest


RUN_LOCK_PREFIX = ".lock-"
"""Followed by a rank, or ``merge``."""
RUN_LOCK_SECONDS = 2.0
"""Seconds to wait for a lock: another process may hold it only for a moment, to clean up."""


class Inputs(NamedTuple):
    """What a run reads: two runs of the same inputs belong into one folder."""

    roots: tuple[str, ...]
    """The folders, files and patterns that were given, resolved, without repetitions, sorted."""
    frames_sha256: str | None
    """That of all frames, where standard input named them; the others may change where they are."""

    @classmethod
    def of(cls, request: RunRequest) -> Inputs:
        """Return the inputs of a run."""
        roots = tuple(sorted({resolve_input(each) for each in request.image_roots}))
        return cls(roots, request.frames_sha256 if STANDARD_INPUT in roots else None)


def default_run_folder(request: RunRequest) -> Path:
    """Return ``runs/MODEL/SPLIT`` or ``runs/MODEL/images-NAME``, the folder of a run if no other run has it.

    NAME is that of the folder or file that was given. Of several inputs, it is that of the first folder, list or video,
    or of the folder of the first image; of a pattern, that of its folder; ``list`` for standard input.

    Raises:
        StorageError: the working folder is gone.
    """
    if request.split:
        return Path("runs", request.model, request.split)
    first, *others = request.image_roots
    path = Path("list") if first == STANDARD_INPUT else Path(_real_path(first))
    if first == STANDARD_INPUT or os.path.isdir(path):  # noqa: PTH112  (Path.is_dir may raise)
        name = path.name
    else:
        names_run = not others or lower_suffix(path.name) in (*LIST_SUFFIXES, *VIDEO_SUFFIXES)
        name = path.stem if names_run and os.path.isfile(path) else path.parent.name  # noqa: PTH113  (as above)
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
    return Path("runs", request.model, f"images-{safe or 'root'}")


def choose_run_folder(request: RunRequest, *, ranks: bool = False) -> tuple[Path, Path]:
    """Return the folder of a run without ``--out``, and the default one.

    It is the folder that has a run of the same inputs, or else a free one: where a run of other inputs has the default
    folder, the name gets a number: images-NAME-2.

    Args:
        request: what the run is asked to do.
        ranks: several processes choose at the same time, so that none may look at what the others have begun: the name
            gets the first digits of the inputs' digest instead of a number.

    Raises:
        StorageError: a folder cannot be read.
    """
    default = default_run_folder(request)
    if request.split:
        return default, default
    inputs = Inputs.of(request)
    if ranks:
        digest = hashlib.sha256("\n".join((*inputs.roots, inputs.frames_sha256 or "")).encode()).hexdigest()
        return default.with_name(f"{default.name}-{digest[:8]}"), default
    form = re.compile(re.escape(default.name) + r"(-\d+|-[0-9a-f]{8})?")
    with storage_errors(default.parent):
        names = sorted(os.listdir(default.parent)) if default.parent.is_dir() else []  # noqa: PTH208
    taken = {name: _read_inputs(default.with_name(name)) for name in names if form.fullmatch(name)}
    numbered = chain([default.name], (f"{default.name}-{number}" for number in count(2)))
    free = next(name for name in numbered if taken.get(name) is None)
    return default.with_name(next((name for name, found in taken.items() if found == inputs), free)), default


def _read_inputs(folder: Path) -> Inputs | None:
    """Return the inputs of the run in a folder; None if it holds none, or one that cannot be read."""
    with suppress(InvalidFileError):
        if _exists(folder / RUN_FILE):
            return Inputs.of(read_run(folder).request)
        for path in journal_paths(folder).values():
            first = next(read_journal(path), None)
            return Inputs.of(first.content.request) if first and isinstance(first.content, JournalHeader) else None
    return None


def resolve_input(given: str) -> str:
    """Return the absolute path of a folder, file or pattern, as text that JSON can hold; raises StorageError.

    Standard input stays as it is.
    """
    if given == STANDARD_INPUT:
        return given
    return _real_path(given).encode("utf-8", "backslashreplace").decode()


def _real_path(given: str) -> str:
    with storage_errors(Path(given)):
        # Path's own methods raise RuntimeError for an unknown ~user and for links that form a circle.
        return os.path.realpath(os.path.expanduser(given))  # noqa: PTH111


@contextmanager
def run_folder_lock(folder: Path, rank: int = 0) -> Iterator[None]:
    """Create a folder and lock it for one process of each rank; at the end remove the folders that stay empty.

    Raises:
        FolderBusyError: another process of that rank holds the lock for longer than RUN_LOCK_SECONDS.
        StorageError: the folder cannot be created or written.
    """
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]  # noqa: PTH110  (as above)
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _folder_lock(folder, str(rank), RUN_LOCK_SECONDS) as taken:
            if not taken:
                raise FolderBusyError(folder)
            yield
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


@contextmanager
def merge_lock(folder: Path) -> Iterator[bool]:
    """Lock the merging of journals; yield False if another process holds that lock. Raises StorageError."""
    with _folder_lock(folder, "merge") as taken:
        yield taken


@contextmanager
def exports_lock(folder: Path) -> Iterator[bool]:
    """Lock the files beside the predictions; yield False if another process holds that lock. Raises StorageError."""
    with _folder_lock(folder, "exports") as taken:
        yield taken


@contextmanager
def _folder_lock(folder: Path, name: str, seconds: float = 0.0) -> Iterator[bool]:
    path = folder / f"{RUN_LOCK_PREFIX}{name}"
    lock = FileLock(path)
    with storage_errors(folder):
        taken = acquire_lock(lock, seconds)
    try:
        yield taken
    finally:
        if taken:
            with suppress(OSError):  # Windows deletes the file on release, and refuses to do so before
                path.unlink()
            lock.release()


def remove_journals(folder: Path, rank: int = 0) -> None:
    """Remove the journals in a folder; the caller holds the lock of ``rank`` itself.

    Raises:
        FolderBusyError: a process is writing one of them; none is removed.
        StorageError: one cannot be removed.
    """
    with ExitStack() as stack:
        for other in journal_paths(folder):
            if other != rank and not stack.enter_context(_folder_lock(folder, str(other))):
                raise FolderBusyError(folder)
        delete_journals(folder)


def clean_run_folder(folder: Path) -> None:
    """Remove what a complete run no longer needs: its journals, and the files that killed processes left behind.

    Raises:
        StorageError: a journal cannot be removed.
    """
    delete_journals(folder)
    for path in folder.glob(f"{RUN_LOCK_PREFIX}*"):
        with suppress(StorageError), _folder_lock(folder, path.name.removeprefix(RUN_LOCK_PREFIX)):
            pass  # releasing removes the file
    for path in folder.glob(f".{RUN_FILE}.*"):
        with suppress(OSError):
            path.unlink()


class RunFolderState(NamedTuple):
    """What the folder of a run holds."""

    journals: Journals
    """Of a run that is under way; empty without one."""
    existing: Mapping[str, object] = {}
    """What is compared of that run, or else of a finished one; empty without either."""
    finished: RunRecord | None = None
    """The finished run, if no other one is under way."""
    replaces: str = ""
    """SHA-256 of the run.json in the folder; empty without one."""


def read_run_folder(folder: Path, requested: Mapping[str, object], replaceable: str | None = None) -> RunFolderState:
    """Read what a folder holds, and refuse another run than the requested one: its predictions may be the only ones.

    A journal that was begun before the run.json beside it was written is a left-over of that run, and does not count.

    Args:
        folder: the run's folder.
        requested: what is compared of the requested run.
        replaceable: the SHA-256 of a run.json that may be replaced, whatever run it is of (empty: there is none).

    Raises:
        RunMismatchError: frames or predictions of another run, or predictions without a record.
        InvalidFileError: a file of a journal's name is no journal.
        StorageError: the folder cannot be read.
    """
    journals, replaces = read_journals(folder), read_run_digest(folder)
    begun_later = any(header.replaces == replaces for header in journals.headers)
    if begun_later or (journals.header and not replaces) or replaces == replaceable:
        existing = journals.header.compared() if journals.header else {}
        state = RunFolderState(journals, existing, replaces=replaces)
    elif replaces:
        state = _read_finished(folder, replaces)
    elif _exists(folder / PREDICTIONS_FILE):
        raise RunMismatchError(folder, (f"its {PREDICTIONS_FILE} has no {RUN_FILE} beside it",))
    else:
        state = RunFolderState(journals)
    check_same_run(folder, state.existing, requested)
    return state


def _read_finished(folder: Path, replaces: str) -> RunFolderState:
    try:
        record = read_run(folder)
    except InvalidFileError as error:
        raise RunMismatchError(folder, (f"its {RUN_FILE} {error.problem}",)) from error
    roots = tuple(map(resolve_input, record.request.image_roots))
    existing = compared(msgspec.structs.replace(record.request, image_roots=roots))
    return RunFolderState(Journals(), existing, record if _exists(folder / PREDICTIONS_FILE) else None, replaces)


def read_run_digest(folder: Path) -> str:
    """Return the SHA-256 of the run.json in a folder; empty without one. Raises StorageError."""
    return sha256_of(folder / RUN_FILE) if _exists(folder / RUN_FILE) else ""


def _exists(path: Path) -> bool:
    with storage_errors(path):
        return path.exists()

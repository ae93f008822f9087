"""The folder of a run: its name, who may work in it, and what stands there already."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock
from msgspec import UNSET

from bdd100k_zoo.data.images import LIST_SUFFIXES, STANDARD_INPUT
from bdd100k_zoo.data.video import VIDEO_SUFFIXES
from bdd100k_zoo.errors import FolderBusyError, RecordError, RunMismatchError, StorageError
from bdd100k_zoo.files import lower_suffix, sha256_of, storage_errors
from bdd100k_zoo.hub.locks import acquire_lock
from bdd100k_zoo.prediction.journal import rank_of
from bdd100k_zoo.prediction.journals import Journals, journal_paths
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, RunPlan, options_text, read_run, run_plan_differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.prediction.run import RunRecord


RUN_LOCK_PREFIX = ".lock-"
"""Followed by a rank, or ``merge``."""
RUN_LOCK_SECONDS = 2.0
"""Seconds to wait for a lock that may only be held, or just be removed, by a process that tidies up."""


def default_run_folder(model: str, images: Sequence[str], split: str | None) -> Path:
    """Give the folder of a run that was not given one: runs/MODEL/SPLIT, or runs/MODEL/images-NAME.

    NAME is that of the first folder, list or video; ``list`` for standard input.

    Raises:
        StorageError: the working folder is gone.
    """
    if split:
        return Path("runs", model, split)
    name = "list" if images[0] == STANDARD_INPUT else _name_of(Path(_real_path(images[0])))
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
    return Path("runs", model, f"images-{safe or 'root'}")


def _name_of(path: Path) -> str:
    """A folder, list or video is named after itself, an image or a pattern after the folder that it is in."""
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir may raise)
        return path.name
    is_whole = lower_suffix(path.name) in (*LIST_SUFFIXES, *VIDEO_SUFFIXES) and os.path.isfile(path)  # noqa: PTH113
    return path.stem if is_whole else path.parent.name


def resolve_input(given: str) -> str:
    """Give what a folder, file or pattern means from anywhere, as text that JSON can hold; raises StorageError.

    Standard input means the same anywhere.
    """
    if given == STANDARD_INPUT:
        return given
    return _real_path(given).encode("utf-8", "backslashreplace").decode()


def _real_path(given: str) -> str:
    """``Path``'s own ways raise RuntimeError for an unknown ~user and for links that lead in a circle."""
    with storage_errors(Path(given)):
        return os.path.realpath(os.path.expanduser(given))  # noqa: PTH111


@contextmanager
def run_folder_lock(folder: Path, rank: int = 0) -> Iterator[None]:
    """Make a folder and keep other processes of the same rank out of it; folders that nothing came into are removed.

    Raises:
        BusyFolderError: another process of that rank is at work there; it is not waited for longer than TIDYING.
        StorageError: the folder cannot be made or written.
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
    """Tell whether this process may put the run together: one at a time does. Raises StorageError."""
    with _folder_lock(folder, "merge") as taken:
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
            with suppress(OSError):  # Windows removes it on release, and refuses before
                path.unlink()
            lock.release()


def remove_journals(folder: Path, rank: int = 0) -> None:
    """Remove the journals in a folder, for a run of rank ``rank`` that starts afresh.

    Raises:
        BusyFolderError: a process is writing one of them; none is removed.
        StorageError: one cannot be removed.
    """
    with ExitStack() as stack:
        for path in journal_paths(folder):
            other = rank_of(path)
            if other != rank and not stack.enter_context(_folder_lock(folder, str(other))):
                raise FolderBusyError(folder)
        Journals(folder).remove()


def clean_run_folder(folder: Path) -> None:
    """Remove what a complete run needs no more: its journals, and what killed processes have left beside them.

    Raises:
        StorageError: a journal cannot be removed.
    """
    Journals(folder).remove()
    for path in folder.glob(f"{RUN_LOCK_PREFIX}*"):
        with (
            suppress(StorageError),
            _folder_lock(folder, path.name.removeprefix(RUN_LOCK_PREFIX)),
        ):  # it goes as it is released
            pass
    for path in folder.glob(f".{RUN_FILE}.*"):
        with suppress(OSError):
            path.unlink()


class RunFolderState(NamedTuple):
    """What stands in the folder of a run."""

    journals: Journals
    """Of a run that is not put together yet; empty where there is none."""
    plan: RunPlan | None = None
    """What that run, or else a finished one, was made by."""
    finished: RunRecord | None = None
    """The run that is complete, where nothing of another one is under way."""
    replaces: str = ""
    """SHA-256 of the run.json in the folder; empty where there is none."""


def read_run_folder(folder: Path, plan: RunPlan, replaceable: str | None = None) -> RunFolderState:
    """Look at what stands in a folder, which must be of the same plan: its predictions may be the only ones.

    A journal that was begun before the run.json beside it was written is a left-over of that run, and does not count.

    Args:
        folder: the run's folder.
        plan: what the run is to be made by, as far as it is known.
        replaceable: the SHA-256 of a run.json that may be replaced, whatever it is of (empty: what has no run.json).

    Raises:
        OtherRunError: frames or predictions of another run, or predictions that nothing is known of.
        RecordError: a journal is none.
        StorageError: the folder cannot be read.
    """
    found = _look_at(folder, replaceable)
    if found.plan:
        check_same_plan(folder, found.plan, plan)
    return found


def _look_at(folder: Path, replaceable: str | None) -> RunFolderState:
    journals, replaces = Journals(folder).look(), read_run_digest(folder)
    begun_later = any(header.replaces == replaces for header in journals.headers)
    if begun_later or (journals.plan and not replaces) or replaces == replaceable:
        return RunFolderState(journals, journals.plan, replaces=replaces)
    if not replaces:
        if _exists(folder / PREDICTIONS_FILE):
            raise RunMismatchError(folder, (f"its {PREDICTIONS_FILE} has no {RUN_FILE} beside it",))
        return RunFolderState(journals)
    try:
        record = read_run(folder)
    except RecordError as error:
        raise RunMismatchError(folder, (f"its {RUN_FILE} {error.problem}",)) from error
    whole = _exists(folder / PREDICTIONS_FILE)
    return RunFolderState(Journals(folder), plan_from_record(record), record if whole else None, replaces)


def read_run_digest(folder: Path) -> str:
    """Give the SHA-256 of the run.json in a folder; empty where there is none. Raises StorageError."""
    return sha256_of(folder / RUN_FILE) if _exists(folder / RUN_FILE) else ""


def check_same_plan(folder: Path, standing: RunPlan, wanted: RunPlan) -> None:
    """Raise OtherRunError where a folder's plan is not the one that is wanted, as far as both are known."""
    if found := run_plan_differences(standing, wanted):
        raise RunMismatchError(folder, found)


def plan_from_record(record: RunRecord) -> RunPlan:
    """Give what is compared of a finished run: everything but the machine."""
    return RunPlan(
        model=record.model,
        config_sha256=record.config_sha256,
        cfg_options=options_text(record.cfg_options),
        split=record.split,
        every=record.every,
        image_roots=tuple(map(resolve_input, record.image_roots)),
        frames=record.counts.images,
        frames_sha256=record.frames_sha256 or UNSET,
        weights_sha256=record.weights.sha256,
        backend=record.backend,
        precision=record.precision,
        batch_size=record.batch_size or UNSET,
    )


def _exists(path: Path) -> bool:
    with storage_errors(path):
        return path.exists()

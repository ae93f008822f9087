"""Published files into the cache, several at once."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import ArtifactError, DownloadsFailedError
from bdd100k_zoo.hub.cache import StoredFile
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.registry import Artifact

    Outcome: TypeAlias = StoredFile | Exception
    Told: TypeAlias = tuple[Artifact, Outcome]
    Fetch: TypeAlias = Callable[[Artifact], StoredFile]

JOBS = 4
"""Files that are transferred at once where nothing else is asked for."""


def fetch_all(
    store: Store,
    artifacts: Sequence[Artifact],
    progress: Progress,
    *,
    require_digest: bool = False,
    jobs: int = JOBS,
) -> list[StoredFile]:
    """Fetch every artifact once, going on after a failure, so that one dead address does not hold up the rest.

    An interrupt ends it at once and leaves the threads behind: the process may end in the middle of any transfer, for
    what has arrived can be gone on from.

    Args:
        store: the cache.
        artifacts: what to fetch; one that is listed twice counts once.
        progress: where to report, from several threads.
        require_digest: refuse a file that no digest vouches for.
        jobs: how many to fetch at once; with 1, or for a single artifact, this thread does it.

    Returns:
        The files in the order asked for.

    Raises:
        ArtifactError: the failure, where one file was asked for.
        SeveralFailedError: all failures, where several were.
        StorageError: the cache cannot be written or read; no further file was begun, those under way were ended.
        KeyboardInterrupt: as it came, and says which files are whole and which are partly here.
    """
    wanted = list(dict.fromkeys(artifacts))
    fetch = partial(store.fetch, progress=progress, require_digest=require_digest)
    outcomes: dict[Artifact, Outcome] = {}
    try:
        with _overall(progress, len(wanted)) as overall, closing(_fetch(fetch, wanted, jobs)) as told:
            for artifact, outcome in told:
                outcomes[artifact] = outcome
                overall.advance(int(isinstance(outcome, StoredFile)))
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(_what_is_here(store, wanted, outcomes)) from interrupt
    return _files(wanted, outcomes)


def _overall(progress: Progress, count: int) -> AbstractContextManager[Task]:
    return (progress if count > 1 else NO_PROGRESS).task("Downloading", count, "files")


def _fetch(fetch: Fetch, wanted: Sequence[Artifact], jobs: int) -> Generator[Told, None, None]:
    """Tell what became of each artifact as soon as it is known."""
    workers = min(jobs, len(wanted))
    waiting = deque(wanted)
    return _in_threads(fetch, waiting, workers) if workers > 1 else _one_by_one(fetch, waiting)


def _in_threads(fetch: Fetch, waiting: deque[Artifact], workers: int) -> Generator[Told, None, None]:
    told: SimpleQueue[Told | None] = SimpleQueue()

    def work() -> None:
        try:
            for each in _one_by_one(fetch, waiting):
                told.put(each)
        finally:
            told.put(None)

    for number in range(workers):
        # Daemons, for the end of the process must not wait for a server that says nothing.
        Thread(target=work, name=f"fetch-{number}", daemon=True).start()
    try:
        for _ in range(workers):
            yield from iter(told.get, None)
    finally:
        waiting.clear()  # where nobody listens any more, no further file is begun


def _one_by_one(fetch: Fetch, waiting: deque[Artifact]) -> Generator[Told, None, None]:
    while (artifact := _next(waiting)) is not None:
        try:
            yield artifact, fetch(artifact)
        except ArtifactError as failure:
            yield artifact, failure
        except Exception as failure:  # noqa: BLE001  (raised again when the files under way are ended)
            waiting.clear()
            yield artifact, failure


def _next(waiting: deque[Artifact]) -> Artifact | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _files(wanted: Sequence[Artifact], outcomes: Mapping[Artifact, Outcome]) -> list[StoredFile]:
    """Give the files in the order asked for, or raise what stood in the way."""
    broken = [each for each in outcomes.values() if isinstance(each, Exception) and not isinstance(each, ArtifactError)]
    if broken:
        raise broken[0]
    ordered = [outcomes[artifact] for artifact in wanted]
    files = [each for each in ordered if isinstance(each, StoredFile)]
    failures = tuple(each for each in ordered if isinstance(each, ArtifactError))
    if failures and len(wanted) == 1:
        raise failures[0]
    if failures:
        raise DownloadsFailedError(failures, tuple(stored.path for stored in files))
    return files


def _what_is_here(store: Store, wanted: Sequence[Artifact], outcomes: Mapping[Artifact, Outcome]) -> str:
    """Say what an interrupt leaves behind."""
    missing = [artifact for artifact in wanted if not isinstance(outcomes.get(artifact), StoredFile)]
    whole = f"interrupted: {len(wanted) - len(missing)} of {len(wanted)} files are whole"
    parts = [part for artifact in missing if (part := _part_of(store, artifact))]
    if not parts:
        return f"{whole}; the same command goes on from there"
    return "\n  ".join((f"{whole}, partly here:", *parts)) + "\nthe same command goes on from there"


def _part_of(store: Store, artifact: Artifact) -> str | None:
    """Say how much of an artifact has arrived, where something has."""
    largest = max(store.partials(artifact), key=lambda partial: partial.size, default=None)
    if largest is None or not largest.size:
        return None
    of_total = "" if largest.total is None else f" of {largest.total:,}"
    return f"{artifact.model} {artifact.what}: {largest.size:,}{of_total} bytes"

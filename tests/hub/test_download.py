"""Several files at once: order, failures, interrupts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fault_host import HASTE, Reply, Told, artifact_of, running_host

from bdd100k_zoo.errors import ArtifactError, StorageError, TransferError
from bdd100k_zoo.hub import Store
from bdd100k_zoo.hub.download import fetch_all
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_host import Host

    from bdd100k_zoo.hub import StoredFile
    from bdd100k_zoo.registry import Artifact

CONTENT = b"weights " * 500_000


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        yield host


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cache", retry_policy=HASTE) as store:
        yield store


def served_artifacts(host: Host, *names: str) -> list[Artifact]:
    return [artifact_of(host.serves(f"/{name}.pth", CONTENT), model=name) for name in names]


def stalled_artifact(host: Host, name: str) -> Artifact:
    half = Reply(CONTENT[: len(CONTENT) // 2], promised=len(CONTENT), stalls=True)
    return artifact_of(host.serves(f"/{name}.pth", half), model=name)


def wait_for(condition: Any) -> None:
    while not condition():
        time.sleep(0.01)


class Threads(Told):
    """Remembers the threads that opened tasks, by their units."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: dict[str, set[threading.Thread]] = {}

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Told]:
        self.threads.setdefault(unit, set()).add(threading.current_thread())
        with super().task(title, total, unit, done) as task:
            yield task


@pytest.mark.parametrize("jobs", [1, 2, 4, 99])
def test_files_come_in_the_order_requested_and_each_once(host, store, jobs):
    a, b, c, d = served_artifacts(host, "a", "b", "c", "d")
    files = fetch_all(store, [c, a, c, d, b, a], NO_PROGRESS, jobs=jobs)
    assert [stored.path for stored in files] == [store.path(each) for each in (c, a, d, b)]
    assert all(stored.path.read_bytes() == CONTENT for stored in files)
    assert host.asked == Counter({"/a.pth": 1, "/b.pth": 1, "/c.pth": 1, "/d.pth": 1})


@pytest.mark.parametrize(("names", "jobs"), [("a", 4), ("abc", 1)])
def test_a_single_file_or_one_job_stays_in_the_calling_thread(host, store, names, jobs):
    told = Threads()
    fetch_all(store, served_artifacts(host, *names), told, jobs=jobs)
    assert told.threads["bytes"] == {threading.current_thread()}


def test_several_jobs_work_in_threads_and_the_calling_thread_counts_the_files(host, store):
    told = Threads()
    fetch_all(store, served_artifacts(host, *"abcd"), told, jobs=2)
    assert threading.current_thread() not in told.threads["bytes"]
    assert len(told.threads["bytes"]) <= 2
    assert told.threads["files"] == {threading.current_thread()}
    assert ("Downloading", 4) in told.tasks


def test_a_silent_server_does_not_hold_up_the_others(host, store):
    silent = artifact_of(host.serves("/silent.pth", Reply(silent=True)), model="silent")
    others = served_artifacts(host, *"abc")
    release = threading.Thread(
        target=lambda: (wait_for(lambda: all(store.path(each).exists() for each in others)), host.over.set())
    )
    release.start()
    with pytest.raises(ArtifactError) as caught:
        fetch_all(store, [silent, *others], NO_PROGRESS, jobs=2)
    release.join()
    assert str(caught.value).startswith("1 of 4 files could not be downloaded:\n- the weights of silent")
    assert str(caught.value).endswith("in the cache:" + "".join(f"\n  {store.path(each)}" for each in others))


@pytest.mark.parametrize("jobs", [1, 4])
def test_failures_are_listed_in_the_requested_order(host, store, jobs):
    missing = [artifact_of(f"{host.address}/{name}.pth", model=name) for name in ("x", "y", "z")]
    (fine,) = served_artifacts(host, "a")
    with pytest.raises(ArtifactError) as caught:
        fetch_all(store, [missing[0], missing[1], fine, missing[2]], NO_PROGRESS, jobs=jobs)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 4 files could not be downloaded:"
    failures = [f"- the weights of {name} could not be downloaded; tried:" for name in "xyz"]
    assert [line for line in lines if line.startswith("- ")] == failures
    assert lines[-2:] == ["in the cache:", f"  {store.path(fine)}"]


def test_a_single_failure_is_raised_as_it_is(host, store):
    missing = artifact_of(f"{host.address}/x.pth", model="x")
    with pytest.raises(TransferError):
        fetch_all(store, [missing, missing], NO_PROGRESS)


class Watched(Store):
    """Counts what was begun; what is requested together begins together."""

    def __init__(self, root: Path, together: int = 1) -> None:
        super().__init__(root)
        self.begun: list[str] = []
        self._together = threading.Barrier(together)

    def fetch(self, artifact: Artifact, *rest: Any, **named: Any) -> StoredFile:
        self.begun.append(artifact.model)
        self._together.wait()
        if artifact.model == "bug":
            raise ZeroDivisionError
        return super().fetch(artifact, *rest, **named)


def full_disk(root: Path) -> None:
    """Have a file where the folder of visuals should be, so that nothing can be written there."""
    (root / "det").mkdir(parents=True)
    (root / "det" / "visuals").write_text("in the way")


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_storage_error_nothing_more_is_begun(host, tmp_path, jobs):
    full_disk(tmp_path)
    visuals = [artifact_of(host.serves(f"/{name}.zip", b"zip"), model=name, what="visuals") for name in "abcdefgh"]
    with Watched(tmp_path) as store:
        with pytest.raises(StorageError):
            fetch_all(store, visuals, NO_PROGRESS, jobs=jobs)
        assert 1 <= len(store.begun) <= jobs
    assert host.asked == Counter()


def test_transfers_in_progress_at_a_storage_error_end_first(host, tmp_path):
    full_disk(tmp_path)
    visuals = artifact_of(host.serves("/a.zip", b"zip"), model="a", what="visuals")
    weights, later = served_artifacts(host, "b", "c")
    with Watched(tmp_path, together=2) as store:
        with pytest.raises(StorageError):
            fetch_all(store, [visuals, weights, later], NO_PROGRESS, jobs=2)
        assert store.path(weights).read_bytes() == CONTENT


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_that_is_none_of_ours_comes_out_as_it_is(host, tmp_path, jobs):
    bug, *others = served_artifacts(host, "bug", *"abcdef")
    with Watched(tmp_path) as store, pytest.raises(ZeroDivisionError):
        fetch_all(store, [bug, *others], NO_PROGRESS, jobs=jobs)


class Interrupting(Told):
    """Interrupts as soon as something has arrived of everything that is under way."""

    def __init__(self, store: Store, under_way: list[Artifact]) -> None:
        super().__init__()
        self._store, self._under_way = store, under_way
        self._caller = threading.current_thread()

    def advance(self, amount: int) -> None:
        if threading.current_thread() is self._caller:
            wait_for(lambda: all(_arrived(self._store, each) for each in self._under_way))
            raise KeyboardInterrupt


def _arrived(store: Store, artifact: Artifact) -> int:
    return max((each.size for each in store.partials(artifact)), default=0)


def test_an_interrupt_reports_complete_and_partial_files_and_starts_nothing_more(host, store):
    whole, *later = served_artifacts(host, *"abcd")
    stalled = [stalled_artifact(host, name) for name in ("x", "y")]
    with pytest.raises(KeyboardInterrupt) as caught:
        fetch_all(store, [stalled[0], whole, stalled[1], *later], Interrupting(store, stalled), jobs=2)
    sizes = [_arrived(store, each) for each in stalled]
    assert all(0 < size < len(CONTENT) for size in sizes)
    assert str(caught.value).splitlines() == [
        "interrupted: 1 of 6 files are complete, partly here:",
        f"  x weights: {sizes[0]:,} of {len(CONTENT):,} bytes",
        f"  y weights: {sizes[1]:,} of {len(CONTENT):,} bytes",
        "the same command resumes from there",
    ]
    host.over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("hub-"):
            thread.join()
    assert not any(host.asked[f"/{each.model}.pth"] for each in later)


def test_an_interrupt_before_anything_has_arrived_is_reported_in_one_line(host, store):
    class Impatient(Told):
        def task(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fetch_all(store, served_artifacts(host, "a"), Impatient())
    assert str(caught.value) == "interrupted: 0 of 1 files are complete; the same command resumes"

"""Processes that are killed, and many that want one file at once. Children are forked from a warm process."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fault_host import HASTE, Reply, artifact_of, md5_of
from faults import BODY
from filelock import FileLock

from bdd100k_zoo.hub import Store
from bdd100k_zoo.hub.ledger import LedgerEntry, read_ledger
from bdd100k_zoo.hub.verify import Hashes
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import ForkServerProcess

    from fault_host import Host

    from bdd100k_zoo.registry import Artifact

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["__main__", "bdd100k_zoo.hub.cache", "fault_host", "faults"])
SLOW = Reply(BODY, etag='"1"', ranges="honoured", slow=0.004)
"""Takes about an eighth of a second."""
WHOLE_HASHES = Hashes(len(BODY), md5_of(BODY), hashlib.sha256(BODY).hexdigest())
ROUNDS = [5, pytest.param(30, marks=pytest.mark.slow)]
OURS = re.compile(r"x\.pth(\.lock|\.ledger\.json|\.[0-9a-f]{8}\.partial(\.json)?)?|\.x\.pth\..*\.[0-9a-f]{32}")
"""Every name that the cache may contain; the last form is a small file that is being written."""


def _fetch(root: Path, artifact: Artifact, prepare: Callable[..., None] | None = None, *arguments: Any) -> None:
    if prepare:
        prepare(root, *arguments)
    with Store(root, retry_policy=HASTE) as store:
        stored = store.fetch(artifact, NO_PROGRESS)
        if stored.path.read_bytes() != BODY:
            sys.exit("the file is wrong")


def _child(*arguments: Any) -> ForkServerProcess:
    process = WARM.Process(target=_fetch, args=arguments)
    process.start()
    return process


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(params=["digest recorded", "no digest"])
def artifact(host: Host, request: pytest.FixtureRequest) -> Artifact:
    digest = f"md5:{md5_of(BODY)}" if request.param == "digest recorded" else None
    return artifact_of(host.serves("/x.pth", SLOW), model="x", digest=digest)


def _check(root: Path, artifact: Artifact) -> int:
    """Check that nothing in the cache is wrong; return how many bytes are kept of an incomplete file."""
    path = Store(root).path(artifact)
    for found in path.parent.glob("*"):
        assert OURS.fullmatch(found.name), found
        if found.suffix == ".partial":
            assert BODY.startswith(found.read_bytes())
    if path.exists():
        assert path.read_bytes() == BODY
        entry = read_ledger(path)
        assert isinstance(entry, LedgerEntry)
        assert entry.has_bytes(WHOLE_HASHES)
    return max((state.size for state in Store(root).partials(artifact)), default=0)


def _finish(root: Path, artifact: Artifact) -> None:
    """Let an undisturbed process finish, check the cache, and empty it."""
    process = _child(root, artifact)
    process.join()
    assert process.exitcode == 0
    _check(root, artifact)
    path = Store(root).path(artifact)
    names = {found.name for found in path.parent.glob("[!.]*")}  # unfinished ledgers are removed later
    assert names - {"x.pth.lock"} == {"x.pth", "x.pth.ledger.json"}
    path.unlink()
    Path(f"{path}.ledger.json").unlink()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_process_that_is_killed_at_any_moment_loses_and_breaks_nothing(
    host: Host, root: Path, artifact: Artifact, rounds: int
) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        kept = 0
        for _ in range(3):
            asked = len(host.seen_headers)
            process = _child(root, artifact)
            time.sleep(chance.uniform(0, 0.2))
            process.kill()
            process.join()
            ranges = [headers.get("Range") for headers in host.seen_headers[asked:]]
            if kept and ranges and kept < len(BODY):
                assert ranges == [f"bytes={kept}-"]
            kept = _check(root, artifact)
        _finish(root, artifact)


def _die_at_step(root: Path, step: int) -> None:
    """Kill this process just before a numbered step in the cache's folder."""
    steps = count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.truncate"):
            return
        about = arguments[0] if isinstance(arguments[0], (str, os.PathLike)) else ""
        if os.fspath(about).startswith(str(root)) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.parametrize(
    "artifact", ["no digest", pytest.param("digest recorded", marks=pytest.mark.slow)], indirect=True
)
def test_a_process_that_is_killed_before_any_of_its_steps_in_the_cache_breaks_nothing(
    host: Host, root: Path, artifact: Artifact
) -> None:
    host.serves("/x.pth", Reply(BODY, etag='"1"', ranges="honoured"))
    for step in count(1):
        process = _child(root, artifact, _die_at_step, step)
        process.join()
        _check(root, artifact)
        _finish(root, artifact)
        if process.exitcode == 0:
            break
    assert step > 15


def _start_together(_: Path, barrier: Any) -> None:
    barrier.wait(30)


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_of_eight_processes_one_downloads_and_all_get_the_file(
    host: Host, root: Path, artifact: Artifact, rounds: int
) -> None:
    for number in range(rounds):
        for process in _eight(root, artifact, _start_together):
            process.join()
            assert process.exitcode == 0
        assert host.asked["/x.pth"] == 2 * number + 1
        _finish(root, artifact)
        assert host.asked["/x.pth"] == 2 * number + 1
        host.asked["/x.pth"] += 1


def _eight(root: Path, artifact: Artifact, prepare: Callable[..., None]) -> Iterator[ForkServerProcess]:
    barrier = WARM.Barrier(8)
    yield from [_child(root, artifact, prepare, barrier) for _ in range(8)]


def _start_together_without_locks(root: Path, barrier: Any) -> None:
    FileLock.acquire = lambda self, *_, **__: None  # type: ignore[method-assign,assignment]
    _start_together(root, barrier)


def test_eight_processes_whose_locks_silently_do_nothing_all_get_the_file(
    host: Host, root: Path, artifact: Artifact
) -> None:
    for process in _eight(root, artifact, _start_together_without_locks):
        process.join()
        assert process.exitcode == 0
    assert host.asked["/x.pth"] > 1
    _check(root, artifact)
    _finish(root, artifact)


def test_waiting_processes_resume_where_a_killed_one_has_stopped(host: Host, root: Path, artifact: Artifact) -> None:
    host.serves("/x.pth", replace(SLOW, slow=1.0), SLOW)  # the first one is not done before it is killed
    first = _child(root, artifact)
    while not Store(root).partials(artifact):
        time.sleep(0.005)
    others = [_child(root, artifact) for _ in range(3)]
    first.kill()
    for process in others:
        process.join()
        assert process.exitcode == 0
    assert host.asked["/x.pth"] == 2
    assert host.seen_headers[1]["Range"].startswith("bytes=")
    _finish(root, artifact)

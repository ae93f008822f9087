"""A file that a live process works on is known by its lock and by what is recorded beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from filelock import FileLock

from bdd100k_zoo.hub.inventory import CacheItem
from bdd100k_zoo.hub.layout import lock_path, partial_facts_path, partial_path
from bdd100k_zoo.hub.locks import REMOTE_IDLE_LIMIT, find_owner, lock_if_free, read_recorded_owner

if TYPE_CHECKING:
    from pathlib import Path

HERE = socket.gethostname()


def item_of(target: Path, kind: Any = "partial", age: timedelta = timedelta(0), **facts: Any) -> CacheItem:
    partial = partial_path(target, "1a2b3c4d")
    partial_facts_path(partial).write_bytes(
        msgspec.json.encode({"model": "tiny_1x", "what": "weights", "address": None, **facts})
    )
    changed = (datetime.now(timezone.utc) - age).isoformat(timespec="seconds")
    return CacheItem(path=partial, target=target, kind=kind, size=1, changed=changed)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "tiny_1x.pth"


@pytest.fixture
def dead_pid() -> int:
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_a_partial_file_of_a_live_process_has_an_owner(target: Path) -> None:
    assert read_recorded_owner(item_of(target, host=HERE, pid=os.getpid())) == f"process {os.getpid()} works on it"
    assert read_recorded_owner(item_of(target, host=HERE, pid=1)) == "process 1 works on it"


def test_a_partial_file_of_a_dead_process_has_none(target: Path, dead_pid: int) -> None:
    assert find_owner(item_of(target, host=HERE, pid=dead_pid)) == ""


@pytest.mark.parametrize("pid", [0, -1, 1 << 40, None])
def test_a_number_that_is_no_process_owns_nothing(target: Path, pid: int | None) -> None:
    assert find_owner(item_of(target, host=HERE, pid=pid)) == ""


def test_a_process_elsewhere_is_believed_while_the_file_is_young(target: Path) -> None:
    assert "on elsewhere may work" in find_owner(item_of(target, host="elsewhere", pid=5))
    assert find_owner(item_of(target, age=2 * REMOTE_IDLE_LIMIT, host="elsewhere", pid=5)) == ""


def test_a_file_that_is_no_partial_one_has_no_recorded_owner(target: Path) -> None:
    assert read_recorded_owner(item_of(target, kind="damaged", host=HERE, pid=os.getpid())) == ""


@pytest.mark.parametrize("kind", ["file", "partial", "damaged"])
def test_whoever_holds_the_lock_owns_what_stands_beside_the_file(target: Path, kind: str) -> None:
    item = item_of(target, kind=kind)
    with FileLock(lock_path(target)):
        assert find_owner(item) == "another process holds its lock"
        with lock_if_free(target) as taken:
            assert not taken
    assert find_owner(item) == ""
    with lock_if_free(target) as taken:
        assert taken
        with lock_if_free(target) as again:
            assert not again


def test_asking_makes_no_lock(target: Path) -> None:
    assert find_owner(item_of(target)) == ""
    assert not lock_path(target).exists()

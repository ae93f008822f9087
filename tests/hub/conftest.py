"""A server with scripted answers, and an empty cache."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from fault_host import HASTE, Told, running_host

from bdd100k_zoo.hub import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fault_host import Host


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        yield host


@pytest.fixture
def dead_address() -> str:
    """An address of this machine without a server."""
    with running_host() as host:
        return host.address


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("BDD100K_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BDD100K_ZOO_CONFIG", os.devnull)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(retry_policy=HASTE) as store:
        yield store


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def body() -> bytes:
    """Contents of a file: more than one chunk, and not a multiple of one."""
    return bytes(range(256)) * 4096 * 2 + b"the end"


@pytest.fixture
def left_over(tmp_path: Path) -> Callable[[], list[str]]:
    """Names of the files in the cache, locks aside."""

    def names() -> list[str]:
        files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
        return sorted(path.name for path in files if path.suffix != ".lock")

    return names

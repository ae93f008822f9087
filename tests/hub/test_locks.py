"""The lock on a file of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock

from bdd100k_zoo.hub.layout import lock_path
from bdd100k_zoo.hub.locks import lock_if_free

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_that_is_held_is_not_taken(tmp_path: Path) -> None:
    target = tmp_path / "tiny_1x.pth"
    with FileLock(lock_path(target)), lock_if_free(target) as taken:
        assert not taken
    with lock_if_free(target) as taken:
        assert taken
        with lock_if_free(target) as again:
            assert not again

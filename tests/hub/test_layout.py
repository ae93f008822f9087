"""A file whose bytes are wrong is renamed, never lost, and its ledger stays or is renamed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.hub.inventory import SIDECAR_PATTERN
from bdd100k_zoo.hub.layout import ledger_path, quarantine_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_1x.pth"
    path.write_bytes(b"wrong")
    ledger_path(path).write_text("{}")
    return path


@pytest.mark.parametrize("keep_ledger", [True, False])
def test_the_name_is_free_and_the_bytes_are_kept(path: Path, keep_ledger: bool) -> None:
    aside = quarantine_file(path, keep_ledger=keep_ledger)
    assert aside.read_bytes() == b"wrong"
    assert not path.exists()
    assert ledger_path(path).exists() == keep_ledger
    assert ledger_path(aside).exists() != keep_ledger
    assert SIDECAR_PATTERN.fullmatch(aside.name)


def test_files_that_are_set_aside_in_one_second_do_not_replace_one_another(path: Path) -> None:
    kept = set()
    for number in range(5):
        path.write_bytes(b"%d" % number)
        kept.add(quarantine_file(path, keep_ledger=True))
    assert sorted(aside.read_bytes() for aside in kept) == [b"0", b"1", b"2", b"3", b"4"]
    assert all(SIDECAR_PATTERN.fullmatch(aside.name) for aside in kept)


def test_a_file_without_a_ledger_is_set_aside_alone(path: Path) -> None:
    ledger_path(path).unlink()
    aside = quarantine_file(path, keep_ledger=False)
    assert [each.name for each in path.parent.iterdir()] == [aside.name]


def test_a_file_that_is_gone_is_a_storage_error(path: Path) -> None:
    path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        quarantine_file(path, keep_ledger=True)

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from fault_host import HASTE, Told, running_host

from bdd100k_zoo.cli.hints import explain
from bdd100k_zoo.errors import ArtifactError, OfflineError, TransferError
from bdd100k_zoo.hub import Store
from bdd100k_zoo.hub.mirrors import Mirror
from bdd100k_zoo.training import start_values
from bdd100k_zoo.training.start_values import fetch_start_values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_host import Host

CONTENT = b"values " * 1000
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}"
DEAD = "https://127.0.0.1:1/models/"
"""Nothing listens there."""


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        yield host


def store(folder: Path, *mirrors: str, offline: bool = False) -> Store:
    return Store(folder / "cache", mirrors=[Mirror(each) for each in mirrors], retry_policy=HASTE, offline=offline)


def test_a_file_is_fetched_once_into_a_folder_of_its_own(tmp_path: Path, host: Host) -> None:
    host.serves(f"/det/start-values/{NAME}.pth", CONTENT)
    for offline in (False, True):
        path = fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address, offline=offline), Told())
        assert path == tmp_path / "cache" / "det" / "start-values" / f"{NAME}.pth"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT, b"something else"])
def test_torchvisions_names_tell_what_the_file_must_be(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(start_values, "TORCHVISION", DEAD)
    host.serves(f"/det/start-values/{NAME}.pth", content)
    told = Told()
    if content == CONTENT:
        assert fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address), told).exists()
        assert not told.warnings
        return
    with pytest.raises(ArtifactError, match=NAME[-8:]):
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address), told)


def test_a_dead_address_is_told_with_what_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="start-values of net") as dead:
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path), Told())
    with pytest.raises(OfflineError) as offline:
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, offline=True), Told())
    for error in (dead.value, offline.value):
        _, hint = explain(error)
        assert "--pretrained FILE" in hint
        assert "--from-scratch" in hint


def test_a_path_is_a_path(tmp_path: Path) -> None:
    assert fetch_start_values(str(tmp_path / "x.pth"), store(tmp_path), Told()) == tmp_path / "x.pth"

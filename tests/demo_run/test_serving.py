"""One file at an address of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from bdd100k_zoo.demo_run.serving import serving
from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_served_on_the_loopback_interface_under_its_name_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"bytes")
    (tmp_path / "other").write_bytes(b"secret")
    with serving(tmp_path / "weights.pth") as address:
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/weights.pth")
        with urlopen(address) as answer:
            assert answer.read() == b"bytes"
        base = address.rpartition("/")[0]
        for path in ("", "/", "/other", "/../other", "/weights.pth/"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(base + path)


def test_the_server_stops_after_the_block(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"bytes")
    with serving(tmp_path / "weights.pth") as address:
        pass
    with pytest.raises(OSError, match="refused"):
        urlopen(address)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), serving(tmp_path / "none.pth"):
        pass

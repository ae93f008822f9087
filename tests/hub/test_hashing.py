from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest
from fault_host import md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.hub.verify import MAX_QUEUED_PIECES, Hasher, Hashes, hash_file

if TYPE_CHECKING:
    from pathlib import Path


@given(pieces=st.lists(st.binary(max_size=50), max_size=3 * MAX_QUEUED_PIECES))
def test_the_digests_are_those_of_the_pieces_in_their_order(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    with Hasher() as hasher:
        for piece in pieces:
            hasher.update(piece)
        assert hasher.hashes() == Hashes(len(whole), md5_of(whole), hashlib.sha256(whole).hexdigest())


def test_a_hasher_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Hasher() as hasher:
        hasher.update(b"some")
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_file_is_hashed_as_a_whole(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(body)
    assert hash_file(file) == Hashes(len(body), md5_of(body), hashlib.sha256(body).hexdigest())


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        hash_file(tmp_path)
    assert caught.value.path == tmp_path

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING

import pytest
from fault_host import Reply, artifact_of, md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.artifacts.network import open_session
from bdd100k_zoo.artifacts.verify import (
    DIGEST_LIMIT,
    Expected,
    Hashes,
    Unknown,
    contradiction,
    hash_file,
    neighbouring_digest,
    parse_md5,
    published_digest,
    read_digest,
)
from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests
    from fault_host import Host

digests = st.text("0123456789abcdefABCDEF", min_size=32, max_size=32)
names = st.text(string.ascii_letters + string.digits + "._- ()", min_size=1).filter(lambda name: name.strip() == name)
margins = st.text(" \t\r\n", max_size=3)
SHA256_OF_NOTHING = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session() as session:
        yield session


@given(digest=digests, name=names, before=margins, after=margins)
def test_every_form_of_a_digest_file_gives_its_digest(digest: str, name: str, before: str, after: str) -> None:
    forms = (digest, f"{digest}  {name}", f"{digest} *{name}", f"{digest}\t{name}", f"MD5 ({name}) = {digest}")
    for form in forms:
        assert parse_md5(before + form + after) == digest.lower()


@given(text=st.text())
def test_any_text_gives_a_digest_that_stands_in_it_or_none(text: str) -> None:
    found = parse_md5(text)
    assert found is None or (len(found) == 32 and found in text.lower())


@given(digest=digests, other=digests, name=names)
def test_two_digests_are_none(digest: str, other: str, name: str) -> None:
    assert parse_md5(f"{digest}  {name}\n{other}  {name}") is None


@pytest.mark.parametrize(
    "text",
    ["", "<html>" + "a" * 32 + "</html>", "a" * 31, "a" * 33, "g" * 32, SHA256_OF_NOTHING, "MD5 () = " + "a" * 32],
)
def test_what_is_not_an_md5_digest_gives_none(text: str) -> None:
    assert parse_md5(text) is None


@pytest.mark.parametrize("encoded", [b"\xef\xbb\xbf", b""])
def test_a_digest_is_read_from_its_address(host: Host, session: requests.Session, encoded: bytes) -> None:
    address = host.serves("/x.md5", encoded + b"A" * 32 + b"\r\n")
    assert read_digest(session, address) == Expected("md5:" + "a" * 32, address)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(b"", status=404), "answered 404 Not Found"),
        (Reply(b"<html>not yours</html>"), "sent no MD5 digest"),
        (Reply(b"a" * 32 + b" " * DIGEST_LIMIT), "sent no MD5 digest"),
        (Reply(b"a" * DIGEST_LIMIT * 2, promised=1 << 40, stalls=True), "sent no MD5 digest"),
        (Reply(b"\xff" * 32), "sent no MD5 digest"),
        (Reply(b"a" * 32, promised=40), "ended after 32 of 40 bytes"),
    ],
)
def test_what_went_wrong_with_a_digest_is_told(
    host: Host, session: requests.Session, reply: Reply, outcome: str
) -> None:
    address = host.serves("/x.md5", reply)
    assert read_digest(session, address) == Unknown(f"the zoo file records no digest, and {address} {outcome}")


def test_a_digest_over_plain_http_from_another_machine_counts_for_nothing(session: requests.Session) -> None:
    unknown = read_digest(session, "http://models.example.org/x.md5")
    assert isinstance(unknown, Unknown)
    assert "plain http" in unknown.reason


def test_a_recorded_digest_comes_before_the_published_one(host: Host, session: requests.Session) -> None:
    published = host.serves("/x.md5", b"b" * 32)
    recorded = artifact_of(host.address + "/x.pth", digest="sha256:" + "c" * 64, digest_address=published)
    assert published_digest(session, recorded) == Expected("sha256:" + "c" * 64, "zoo file")
    assert not host.asked
    assert published_digest(session, recorded._replace(digest=None)) == Expected("md5:" + "b" * 32, published)


def test_only_weights_have_a_digest_beside_them(host: Host, session: requests.Session) -> None:
    beside = host.serves("/later/x.md5", b"d" * 32)
    assert neighbouring_digest(session, host.address + "/later/x.pth") == Expected("md5:" + "d" * 32, beside)
    assert isinstance(neighbouring_digest(session, host.address + "/later/x.zip"), Unknown)


@given(content=st.binary(max_size=200), size=st.none() | st.integers(0, 200))
def test_only_the_right_digest_and_the_right_size_are_not_contradicted(content: bytes, size: int | None) -> None:
    hashes = Hashes(len(content), md5_of(content), hashlib.sha256(content).hexdigest())
    for digest in (f"md5:{hashes.md5}", f"sha256:{hashes.sha256}"):
        fits = size in (None, len(content))
        assert (contradiction(hashes, "x", Expected(digest, "zoo file"), size) is None) == fits
        wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        error = contradiction(hashes, "x", Expected(wrong, "zoo file"), size)
        assert error is not None
        assert (error.expected, error.found, error.source) == (wrong, digest, "zoo file")


def test_a_file_is_hashed_as_a_whole(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(body)
    assert hash_file(file) == Hashes(len(body), md5_of(body), hashlib.sha256(body).hexdigest())


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        hash_file(tmp_path)
    assert caught.value.path == tmp_path

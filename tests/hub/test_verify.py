"""Digests: computed, fetched, and what they verify."""

from __future__ import annotations

import hashlib
import string
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_host import HASTE, Reply, artifact_of, md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.hub import verify
from bdd100k_zoo.hub.http import open_session
from bdd100k_zoo.hub.ledger import LedgerEntry
from bdd100k_zoo.hub.retry import Timeouts
from bdd100k_zoo.hub.verify import (
    MAX_DIGEST_BYTES,
    MAX_QUEUED_CHUNKS,
    ExpectedDigest,
    Hasher,
    Hashes,
    VerificationPlan,
    digest_mismatch,
    fetch_digest,
    fetch_published_digest,
    hash_file,
    parse_md5,
    pinned_digest,
    plan_verification,
)
from bdd100k_zoo.registry.models import UserDigest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def test_any_text_gives_a_digest_that_it_contains_or_none(text: str) -> None:
    found = parse_md5(text)
    assert found is None or (len(found) == 32 and found in text.lower())


@given(digest=digests, other=digests, name=names)
def test_two_digests_are_none(digest: str, other: str, name: str) -> None:
    assert parse_md5(f"{digest}  {name}\n{other}  {name}") is None


@pytest.mark.parametrize(
    "text",
    ["", "<html>" + "a" * 32 + "</html>", "a" * 31, "a" * 33, "g" * 32, SHA256_OF_NOTHING, "MD5 () = " + "a" * 32],
)
def test_text_that_is_not_an_md5_digest_gives_none(text: str) -> None:
    assert parse_md5(text) is None


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_digest_that_drips_is_given_up(
    host: Host, session: requests.Session, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(verify, "DIGEST_TIMEOUTS", Timeouts(0.1, 0.1))
    monkeypatch.setattr(verify, "SHORT_RETRY_POLICY", HASTE)
    found = fetch_digest(session, host.serves("/x.md5", Reply(start, forever=b"a", slow=0.02)))
    assert isinstance(found, str)
    assert found.endswith("did not send all of it within 0.4 s")


@pytest.mark.parametrize("encoded", [b"\xef\xbb\xbf", b""])
def test_a_digest_is_read_from_its_address(host: Host, session: requests.Session, encoded: bytes) -> None:
    address = host.serves("/x.md5", encoded + b"A" * 32 + b"\r\n")
    assert fetch_digest(session, address) == ExpectedDigest("md5:" + "a" * 32, address)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(b"", status=404), "answered 404 Not Found"),
        (Reply(b"<html>not yours</html>"), "sent no MD5 digest"),
        (Reply(b"a" * 32 + b" " * MAX_DIGEST_BYTES), "sent no MD5 digest"),
        (Reply(b"a" * MAX_DIGEST_BYTES * 2, promised=1 << 40, stalls=True), "sent no MD5 digest"),
        (Reply(b"\xff" * 32), "sent no MD5 digest"),
        (Reply(b"a" * 32, promised=40), "ended after 32 of 40 bytes"),
    ],
)
def test_a_failure_to_read_a_digest_is_reported(
    host: Host, session: requests.Session, reply: Reply, outcome: str
) -> None:
    address = host.serves("/x.md5", reply)
    assert fetch_digest(session, address) == f"the zoo file records no digest, and {address} {outcome}"


def test_a_digest_over_plain_http_from_another_machine_counts_for_nothing(session: requests.Session) -> None:
    unknown = fetch_digest(session, "http://models.example.org/x.md5")
    assert isinstance(unknown, str)
    assert "plain http" in unknown


def test_a_copy_of_this_machine_may_have_its_digest_beside_it(session: requests.Session, tmp_path: Path) -> None:
    (tmp_path / "x.md5").write_text("E" * 32)
    address = (tmp_path / "x.md5").as_uri()
    assert fetch_digest(session, address) == ExpectedDigest("md5:" + "e" * 32, address)
    gone = fetch_digest(session, (tmp_path / "none.md5").as_uri())
    assert isinstance(gone, str)
    assert "cannot be read: No such file" in gone


def test_a_busy_host_is_asked_twice_for_a_digest(
    host: Host, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SHORT_RETRY_POLICY", HASTE._replace(tries=2))
    address = host.serves("/x.md5", Reply(status=503), b"f" * 32)
    assert isinstance(fetch_digest(session, address), ExpectedDigest)
    address = host.serves("/y.md5", Reply(status=503), Reply(status=503), b"f" * 32)
    assert isinstance(fetch_digest(session, address), str)


SHA256 = hashlib.sha256(b"pinned").hexdigest()
PUBLISHED = ExpectedDigest("md5:" + "b" * 32, "https://a.org/x.md5")


MIRRORED = ExpectedDigest("md5:" + "d" * 32, "https://mirror.org/x.md5")
PLACE = Path("/cache/x.pth")
USERS = UserDigest("weights", "sha256:" + "e" * 64, "lab.yaml")


def _pin(verified_by: str | None) -> LedgerEntry:
    facts = {"model": "tiny_1x", "what": "weights", "mtime_ns": 0, "md5": "a" * 32, "address": "https://a.org/x"}
    return LedgerEntry(size=1, sha256=SHA256, verified_by=verified_by, reason=None, **facts)


PINNED = pinned_digest(PLACE, _pin(None))


def _never() -> ExpectedDigest:
    raise AssertionError("the publisher need not be asked")


def test_the_zoo_file_decides_first_then_the_ledger_then_the_user_then_the_publisher() -> None:
    artifact = artifact_of("https://a.org/x.pth")
    recorded = artifact._replace(digest="sha256:" + "c" * 64)
    zoo = ExpectedDigest("sha256:" + "c" * 64, "zoo file")
    assert plan_verification(recorded, _pin("publisher"), PLACE, _never, _never) == VerificationPlan(
        (zoo,), "zoo file", None
    )
    users = ExpectedDigest(USERS.digest, USERS.source)
    both = recorded._replace(user_digests=(USERS,))
    assert plan_verification(both, None, PLACE, _never, _never) == VerificationPlan((zoo, users), "zoo file", None)
    for kind in ("zoo file", "publisher", "user"):
        assert plan_verification(artifact, _pin(kind), PLACE, _never, _never) == VerificationPlan((PINNED,), kind, None)
        given = artifact._replace(user_digests=(USERS,))
        assert plan_verification(given, _pin(kind), PLACE, _never, _never) == VerificationPlan(
            (PINNED, users), kind, None
        )
    for pin in (None, _pin(None)):
        assert plan_verification(given, pin, PLACE, _never, _never) == VerificationPlan((users,), "user", None)
    assert plan_verification(artifact, None, PLACE, lambda: PUBLISHED, _never) == VerificationPlan(
        (PUBLISHED,), "publisher", None, PUBLISHED.source
    )


def test_an_unverified_pin_must_match_beside_the_publishers_digest() -> None:
    artifact = artifact_of("https://a.org/x.pth")
    assert plan_verification(artifact, _pin(None), PLACE, lambda: PUBLISHED, _never) == VerificationPlan(
        (PINNED, PUBLISHED), "publisher", None, PUBLISHED.source
    )
    dead = "dead"
    assert plan_verification(artifact, _pin(None), PLACE, lambda: dead, lambda: None) == VerificationPlan(
        (PINNED,), None, "dead"
    )
    assert plan_verification(artifact, None, PLACE, lambda: dead, lambda: dead) == VerificationPlan((), None, "dead")


@given(pin=st.sampled_from([None, _pin(None)]), digest=digests)
def test_a_mirrors_digest_is_expected_and_verifies_nothing(pin: LedgerEntry | None, digest: str) -> None:
    mirrored = ExpectedDigest(f"md5:{digest.lower()}", MIRRORED.source)
    trust = plan_verification(artifact_of("https://a.org/x.pth"), pin, PLACE, lambda: "dead", lambda: mirrored)
    assert trust.expected == ((PINNED, mirrored) if pin else (mirrored,))
    assert trust.verified_by is None
    assert str(trust.reason).startswith(f"dead; it matches the mirror's digest {mirrored.source}")


def test_the_first_of_the_publishers_addresses_that_has_a_digest_counts(host: Host, session: requests.Session) -> None:
    later = host.serves("/later.md5", b"a" * 32)
    gone = host.address + "/gone.md5"
    artifact = artifact_of("https://a.org/x.pth", digest_addresses=(gone, later))
    assert fetch_published_digest(session, artifact) == ExpectedDigest("md5:" + "a" * 32, later)
    unknown = fetch_published_digest(session, artifact._replace(digest_addresses=(gone, gone)))
    assert unknown == f"the zoo file records no digest, and {gone} answered 404 Not Found"
    none = fetch_published_digest(session, artifact._replace(digest_addresses=()))
    assert none == "the zoo file records no digest and no address of one"


def test_if_two_digests_contradict_each_other_the_error_names_both() -> None:
    hashes = Hashes(1, "a" * 32, "b" * 64)
    expected = (ExpectedDigest("md5:" + "c" * 32, "zoo file"), ExpectedDigest("sha256:" + "b" * 64, "lab.yaml"))
    told = str(digest_mismatch(hashes, "x.pth", expected, None, ""))
    assert all(part in told for part in ("md5:" + "c" * 32, "zoo file", "sha256:" + "b" * 64, "lab.yaml"))


@given(content=st.binary(max_size=200), size=st.none() | st.integers(0, 200))
def test_only_the_right_digest_and_the_right_size_are_not_contradicted(content: bytes, size: int | None) -> None:
    hashes = Hashes(len(content), md5_of(content), hashlib.sha256(content).hexdigest())
    for digest in (f"md5:{hashes.md5}", f"sha256:{hashes.sha256}"):
        fits = size in (None, len(content))
        assert (digest_mismatch(hashes, "x", (ExpectedDigest(digest, "zoo file"),), size, "") is None) == fits
        wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        error = digest_mismatch(hashes, "x", (ExpectedDigest(wrong, "zoo file"),), size, "")
        assert error is not None
        assert (error.expected, error.found, error.source) == (wrong, digest, "zoo file")


@given(pieces=st.lists(st.binary(max_size=50), max_size=3 * MAX_QUEUED_CHUNKS))
def test_the_digests_are_those_of_the_pieces_in_their_order(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    with Hasher() as hasher:
        for piece in pieces:
            hasher.update(piece)
        assert hasher.finish() == Hashes(len(whole), md5_of(whole), hashlib.sha256(whole).hexdigest())


def test_a_hasher_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Hasher() as hasher:
        hasher.update(b"some")
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_file_is_hashed_completely(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(body)
    assert hash_file(file) == Hashes(len(body), md5_of(body), hashlib.sha256(body).hexdigest())


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        hash_file(tmp_path)
    assert caught.value.path == tmp_path

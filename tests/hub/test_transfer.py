from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fault_host import HASTE, Reply, Told, artifact_of, md5_of
from faults import BODY, CUT, HALF, WHOLE

from bdd100k_zoo.errors import DigestMismatchError
from bdd100k_zoo.hub import transfer
from bdd100k_zoo.hub.http import open_session
from bdd100k_zoo.hub.resume import PartialFile, build_partial_facts
from bdd100k_zoo.hub.retry import FailedAttemptError, Timeouts
from bdd100k_zoo.hub.transfer import Meter, Transfer
from bdd100k_zoo.hub.verify import ExpectedDigest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault_host import Host

RIGHT = ExpectedDigest(f"md5:{md5_of(BODY)}", "zoo file")


@pytest.fixture
def receive(tmp_path: Path, told: Told) -> Callable[..., bytes]:
    """Receive addresses one after the other into one partial file, as far as each comes; return its content."""

    def receive_from(*addresses: str, expected: tuple[ExpectedDigest, ...] = (), **known: object) -> bytes:
        artifact = artifact_of(*addresses, **known)
        with (
            open_session() as session,
            PartialFile(tmp_path / "x", build_partial_facts(artifact)) as partial,
            Meter(told, "tiny_1x weights") as meter,
        ):
            receiver = Transfer(session, artifact, partial, meter, told.note, HASTE)
            for address in addresses[:-1]:
                with pytest.raises(FailedAttemptError):
                    receiver.download(address, expected)
            hashes = receiver.download(addresses[-1], expected)
            content = partial.path.read_bytes()
        assert (hashes.size, hashes.md5) == (len(content), md5_of(content))
        return content

    return receive_from


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_a_complete_file_arrives_byte_for_byte(
    host: Host, receive: Callable[..., bytes], told: Told, framing: str
) -> None:
    assert receive(host.serves("/x.pth", Reply(BODY, framing=framing))) == BODY
    assert told.tasks == [("tiny_1x weights", len(BODY) if framing == "length" else None)]
    assert told.done == len(BODY)


def test_another_address_resumes_an_interrupted_transfer_if_a_digest_is_known(
    host: Host, receive: Callable[..., bytes]
) -> None:
    dying = host.serves("/a.pth", CUT, replace(WHOLE, cut=0))
    mirror = host.serves("/b.pth", replace(WHOLE, etag='"of the mirror"'))
    assert receive(dying, mirror, expected=(RIGHT,)) == BODY
    assert host.seen_headers[-1]["Range"] == f"bytes={HALF}-"
    assert "If-Range" not in host.seen_headers[-1]


def test_another_address_starts_over_if_no_digest_is_known(host: Host, receive: Callable[..., bytes]) -> None:
    dying = host.serves("/a.pth", CUT, replace(WHOLE, cut=0))
    mirror = host.serves("/b.pth", replace(WHOLE, body=BODY[::-1]))
    assert receive(dying, mirror) == BODY[::-1]
    assert "Range" not in host.seen_headers[-1]


def test_another_address_with_another_file_starts_over_after_the_digest_differs(
    host: Host, receive: Callable[..., bytes], told: Told
) -> None:
    dying = host.serves("/a.pth", replace(CUT, body=BODY[::-1]), replace(WHOLE, cut=0))
    assert receive(dying, host.serves("/b.pth", WHOLE), expected=(RIGHT,)) == BODY
    assert "does not give the right file" in told.notes[-1]


def test_a_wrong_file_in_one_piece_is_not_requested_twice(host: Host, receive: Callable[..., bytes]) -> None:
    with pytest.raises(DigestMismatchError):
        receive(host.serves("/x.pth", replace(WHOLE, body=BODY[::-1])), expected=(RIGHT,))
    assert host.asked["/x.pth"] == 1


def test_every_expected_digest_must_hold(host: Host, receive: Callable[..., bytes]) -> None:
    wrong = ExpectedDigest("md5:" + "0" * 32, "https://a.org/x.md5")
    with pytest.raises(DigestMismatchError, match="found md5:"):
        receive(host.serves("/x.pth", WHOLE), expected=(RIGHT, wrong))


@pytest.mark.parametrize("validators", [{"etag": 'W/"1"'}, {"etag": None}])
def test_without_a_strong_validator_or_a_digest_the_transfer_starts_over(
    host: Host, receive: Callable[..., bytes], validators: dict[str, str | None]
) -> None:
    assert receive(host.serves("/x.pth", replace(CUT, **validators), replace(WHOLE, **validators))) == BODY
    assert "Range" not in host.seen_headers[-1]


def test_the_date_of_the_last_change_is_a_validator(host: Host, receive: Callable[..., bytes]) -> None:
    dated = {"etag": None, "headers": {"Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT"}}
    assert receive(host.serves("/x.pth", replace(CUT, **dated), replace(WHOLE, **dated))) == BODY
    assert host.seen_headers[-1]["If-Range"] == "Sun, 01 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    "headers",
    [
        {"Last-Modified": "yesterday"},
        {"Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT", "Date": "Sun, 01 Mar 2026 12:00:59 GMT"},
        {"Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT", "Date": "Sat, 28 Feb 2026 12:00:00 GMT"},
        {"Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT", "Date": "today"},
    ],
)
def test_a_date_that_a_later_version_may_share_is_no_validator(
    host: Host, receive: Callable[..., bytes], headers: dict[str, str]
) -> None:
    dated = {"etag": None, "headers": headers}
    assert receive(host.serves("/x.pth", replace(CUT, **dated), replace(WHOLE, **dated))) == BODY
    assert "Range" not in host.seen_headers[-1]


@pytest.mark.parametrize("etag", ['"a\x1b[31mX"', "unquoted", "W/garbage", '"a"\r\n X-Evil: 1'])
def test_an_etag_that_cannot_be_sent_back_is_no_validator(host: Host, receive: Callable[..., bytes], etag: str) -> None:
    assert receive(host.serves("/x.pth", replace(CUT, etag=etag), replace(WHOLE, etag=etag))) == BODY
    assert "Range" not in host.seen_headers[-1]


@pytest.mark.parametrize("size", [1, 7, 511])
def test_a_web_page_that_comes_in_small_pieces_is_recognised(
    host: Host, receive: Callable[..., bytes], size: int
) -> None:
    page = b"<!-- portal -->\n<html>" + b" " * 600
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (page[:size], page[size:]))
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n"
    with pytest.raises(FailedAttemptError, match="sent a web page, not a file"):
        receive(host.serves("/x.pth", Reply(start, forever=b"\n", slow=0.05)))


def test_a_copy_on_this_machine_is_taken_as_a_download_is(receive: Callable[..., bytes], tmp_path: Path) -> None:
    copy = tmp_path / "a copy.pth"
    copy.write_bytes(BODY)
    assert receive(copy.as_uri(), expected=(RIGHT,)) == BODY
    with pytest.raises(FailedAttemptError, match="cannot be read: No such file"):
        receive((tmp_path / "none.pth").as_uri())
    with pytest.raises(DigestMismatchError, match=r"a copy\.pth: expected 5 bytes"):
        receive(copy.as_uri(), size=5)


def test_redirects_within_this_machine_are_followed(host: Host, receive: Callable[..., bytes]) -> None:
    host.serves("/here/x.pth", WHOLE)
    host.serves("/there", Reply(status=307, headers={"Location": f"{host.address}/here/x.pth"}))
    assert receive(host.serves("/x.pth", Reply(b"moved", status=301, headers={"Location": "../there"}))) == BODY


def test_the_body_of_a_redirect_is_not_waited_for(host: Host, receive: Callable[..., bytes]) -> None:
    there = host.serves("/there", WHOLE)
    endless = Reply(b"moved", status=302, headers={"Location": there}, promised=1 << 40, stalls=True)
    assert receive(host.serves("/x.pth", endless)) == BODY


def test_a_pause_that_a_server_asks_for_is_kept_and_reported(
    host: Host, receive: Callable[..., bytes], told: Told
) -> None:
    busy = Reply(status=429, headers={"Retry-After": "1"})
    address = host.serves("/x.pth", busy, WHOLE)
    assert receive(address) == BODY
    assert told.notes == [f"{address} answered 429 Too Many Requests; trying again in 1 s"]


def test_a_file_that_drips_is_given_up(
    host: Host, receive: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.StallDetector, "WINDOW", 0.05)
    monkeypatch.setattr(transfer.StallDetector, "LEAST", 1 << 20)
    with pytest.raises(FailedAttemptError, match=r"sent only .* bytes in 0 s"):
        receive(host.serves("/x.pth", replace(WHOLE, slow=0.02)))
    assert 1 < host.asked["/x.pth"] <= HASTE.tries


def test_bytes_that_are_all_there_are_not_requested_again(
    host: Host, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TRANSFER_TIMEOUTS", Timeouts(0.2, 0.2))
    artifact = artifact_of(host.serves("/x.pth", replace(WHOLE, stalls=False), Reply(status=404)))
    for _ in range(2):
        with (
            open_session() as session,
            PartialFile(tmp_path / "x", build_partial_facts(artifact)) as partial,
            Meter(told, "") as meter,
        ):
            hashes = Transfer(session, artifact, partial, meter, told.note, HASTE).download(artifact.addresses[0])
            assert hashes.md5 == md5_of(BODY)
    assert host.asked["/x.pth"] == 1

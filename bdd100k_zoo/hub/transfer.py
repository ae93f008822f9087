"""One address → the bytes of a whole file, kept and hashed as they come in."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import READ_CHUNK_BYTES, open_regular, storage_errors
from bdd100k_zoo.hub.decisions import DownloadDecision, DownloadState, decide_download
from bdd100k_zoo.hub.http import (
    FailedAttemptError,
    Timeouts,
    is_web_page,
    open_response,
    read_body,
    read_content_length,
    truncation_message,
)
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.resume import build_partial_facts
from bdd100k_zoo.hub.retry import DEFAULT_RETRY_POLICY, Retrier, RetryPolicy, StallDetector
from bdd100k_zoo.hub.verify import digest_mismatch
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.hub.resume import PartialFacts, PartialFile
    from bdd100k_zoo.hub.verify import ExpectedDigest, Hashes
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.registry import Artifact

TRANSFER_TIMEOUTS = Timeouts(connect=10, read=30)
SNIFF_BYTES = 512
"""Bytes of a body that are looked at before the kept bytes are dropped for it."""
MAX_FILE_BYTES = {"weights": 8 << 30}
"""Bytes beyond which an answer is taken for an endless one, where no size is recorded. The largest published
checkpoint has about half a gibibyte."""
MAX_OTHER_FILE_BYTES = 64 << 30
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-(?P<last>\d{1,18})/(?P<total>\d{1,18}|\*)")
CLOCK_SLACK = 60
"""Seconds from Last-Modified to Date that make up for clocks that differ."""
UNSATISFIED_RANGE = re.compile(r"bytes \*/(?P<total>\d{1,18})")


class FileChangedError(FailedAttemptError):
    """The server's file is not the one that the kept bytes are of."""


class Meter:
    """The progress of one artifact, shown from its first answer on."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title
        self._task: Task | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)  # the task is told how it ends

    def begin(self, done: int, total: int | None) -> None:
        """Count from ``done``, of ``total`` bytes."""
        if self._task is None:
            self._task = self._stack.enter_context(self._progress.task(self._title, total, "bytes", done))
        else:
            self._task.restart(done, total)

    def advance(self, amount: int) -> None:
        """Count bytes that have arrived."""
        if self._task is not None:
            self._task.advance(amount)


class Transfer(NamedTuple):
    """How an artifact's bytes get into a partial file, whatever address they come from."""

    session: requests.Session
    artifact: Artifact
    partial: PartialFile
    meter: Meter
    say: Callable[[str], None]
    patience: RetryPolicy = DEFAULT_RETRY_POLICY

    def receive(self, address: str, expected: Sequence[ExpectedDigest] = ()) -> Hashes:
        """Complete the partial file from an address, and check it.

        Kept bytes are asked for again only where nothing would tell a mixture of two versions of the file. Bytes
        that turn out to be of another version, or wrong, are dropped and asked for once more, all of them.

        Args:
            address: https, http, file or hf.
            expected: digests that the whole file must have, all of them.

        Raises:
            FailedAttemptError: the address does not give a whole file; what has come so far is kept.
            DigestMismatchError: it gives other bytes, twice where some were kept from before; nothing is kept.
            StorageError: the disk is full.
        """
        try:
            return self._checked(address, expected)
        except FileChangedError as failure:
            self.say(f"{redact_address(address)} {failure}; fetching all of it")
        self.partial.discard_bytes()
        return self._checked(address, expected, again=True)

    def _checked(self, address: str, expected: Sequence[ExpectedDigest], *, again: bool = False) -> Hashes:
        self._complete(address, expected)
        pieced, hashes = self.partial.pieced, self.partial.hashes()
        mismatch = digest_mismatch(
            hashes, str(local_path(address) or redact_address(address)), expected, self.artifact.size
        )
        if mismatch is None:
            return hashes
        self.partial.discard_bytes()
        if pieced and not again:
            raise FileChangedError("does not make the right file with the bytes kept from before")
        raise mismatch

    def _complete(self, address: str, expected: Sequence[ExpectedDigest]) -> None:
        source = local_path(address)
        if source is not None:
            self._copy(address, source)
            return
        course = Retrier(self.patience)
        while True:
            try:
                self._ask(address, digest_known=bool(expected))
            except FileChangedError:
                raise
            except FailedAttemptError as failure:
                course.bear(failure, self.partial.size, lambda words: self.say(f"{redact_address(address)} {words}"))
            else:
                return

    def _copy(self, address: str, source: Path) -> None:
        """Copy a file of this machine, or of one whose folders it shares."""
        try:
            with open_regular(source) as file:
                total = os.fstat(file.fileno()).st_size
                self._refuse_without_room(total)
                self._begin(build_partial_facts(self.artifact, address, total=total))
                while self.partial.size <= total and (
                    piece := file.read(READ_CHUNK_BYTES)
                ):  # one that grows has no end
                    self.partial.write(piece)
                    self.meter.advance(len(piece))
        except OSError as error:
            raise FailedAttemptError(f"cannot be read: {error.strerror or error}") from error
        if self.partial.size != total:
            raise FailedAttemptError("changed while it was copied")
        if not total:
            raise FailedAttemptError("is an empty file")

    def _ask(self, address: str, *, digest_known: bool) -> None:
        """Ask for what is still to come, once."""
        digest = "known" if digest_known else None
        shown = redact_address(address)  # what is recorded, and compared with what is recorded
        decision = decide_download(DownloadState("absent", self.partial.known, shown, digest, self.artifact.size))
        if decision.action == "resume" and self.partial.facts.total == decision.offset:
            self.meter.begin(decision.offset, decision.offset)
            return
        url, private = resolve_address(address)
        accepted = (HTTPStatus.OK, *RANGE_ANSWERS) if decision.action == "resume" else (HTTPStatus.OK,)
        with open_response(
            self.session, url, TRANSFER_TIMEOUTS, headers=_range(decision), private_headers=private, accepted=accepted
        ) as response:
            if response.status_code == HTTPStatus.OK:
                self._receive_all(response, shown)
            elif not self._is_all_there(response, digest_known=digest_known):
                self._receive_rest(response, shown, decision.offset)

    def _receive_all(self, response: requests.Response, address: str) -> None:
        total = read_content_length(response)
        self._refuse_unless_possible(total)
        pieces = _pieces(response)
        first = b""
        while len(first) < SNIFF_BYTES and (piece := next(pieces, b"")):
            first += piece
        _refuse_web_page(response, first)  # before the kept bytes give way to it
        headers = response.headers
        facts = build_partial_facts(
            self.artifact,
            address,
            etag=headers.get("ETag"),
            last_modified=strong_last_modified(headers.get("Last-Modified"), headers.get("Date")),
            total=total,
        )
        self._begin(facts)
        self._take(first)
        for piece in pieces:
            self._take(piece)
        self._refuse_incomplete(total)

    def _is_all_there(self, response: requests.Response, *, digest_known: bool) -> bool:
        """Tell whether the server says that nothing follows the kept bytes, and a digest will tell if that is so."""
        if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return False
        found = UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found and int(found["total"]) == self.partial.size and digest_known:
            self.meter.begin(self.partial.size, self.partial.size)
            return True
        raise FileChangedError("no longer has the file that was partly received")

    def _receive_rest(self, response: requests.Response, address: str, offset: int) -> None:
        _refuse_web_page(response, b"")
        facts = self.partial.facts
        total = check_content_range(response, facts if facts.address == address else None, offset)
        if self.artifact.size is not None and total is not None and total != self.artifact.size:
            raise FileChangedError(f"has a file of {total:,} bytes; the zoo file records {self.artifact.size:,}")
        self._refuse_unless_possible(total)
        self.partial.carry_on(address)
        self.meter.begin(offset, total)
        for piece in _pieces(response, offset):
            self._take(piece)
        self._refuse_incomplete(total)

    def _begin(self, facts: PartialFacts) -> None:
        self.partial.begin(facts)
        self.meter.begin(0, facts.total if facts.total is not None else self.artifact.size)

    @property
    def _limit(self) -> int:
        return self.artifact.size or MAX_FILE_BYTES.get(self.artifact.what, MAX_OTHER_FILE_BYTES)

    def _take(self, piece: bytes) -> None:
        if self.partial.size + len(piece) > self._limit:
            recorded = "that the zoo file records" if self.artifact.size else "that any such file has"
            self.partial.discard_bytes()
            raise FailedAttemptError(f"sent more than the {self._limit:,} bytes {recorded}")
        self.partial.write(piece)
        self.meter.advance(len(piece))

    def _refuse_unless_possible(self, total: int | None) -> None:
        """Refuse a file of the wrong size, or one that the disk has no room for, before its first byte."""
        if total is None:
            return
        size = self.artifact.size
        if size is not None and total != size:
            raise FailedAttemptError(f"has a file of {total:,} bytes; the zoo file records {size:,}")
        if total > self._limit:
            raise FailedAttemptError(f"announces {total:,} bytes, more than any such file has")
        self._refuse_without_room(total)

    def _refuse_without_room(self, total: int) -> None:
        folder = self.partial.target.parent
        with storage_errors(folder):
            free = shutil.disk_usage(folder).free
        needed = total - self.partial.size  # a file that begins anew gives its room back first
        if needed > free:
            raise StorageError(folder, f"no space for {needed:,} bytes more: {free:,} are free")

    def _refuse_incomplete(self, total: int | None) -> None:
        size = self.partial.size
        if total is not None and size != total:
            raise FailedAttemptError(truncation_message(size, total), passing=True)
        if not size:
            raise FailedAttemptError("sent an empty file")
        recorded = self.artifact.size
        if recorded is not None and size != recorded:
            raise FailedAttemptError(f"has a file of {size:,} bytes; the zoo file records {recorded:,}")


RANGE_ANSWERS = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def _range(decision: DownloadDecision) -> dict[str, str]:
    if decision.action != "resume":
        return {}
    headers = {"Range": f"bytes={decision.offset}-"}
    return headers | ({"If-Range": decision.validator} if decision.validator else {})


def check_content_range(response: requests.Response, facts: PartialFacts | None, offset: int) -> int | None:
    """Check that an answer continues kept bytes, and give the size of the whole file where it says so.

    Args:
        response: with the status 206.
        facts: those of the kept bytes, if they came from the same address.
        offset: how many bytes are kept.

    Raises:
        OtherVersionError: it starts elsewhere, or is of another version of the file.
    """
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or int(found["first"]) != offset:
        raise FileChangedError(f"did not go on at byte {offset:,}, as it was asked to")
    total = None if found["total"] == "*" else int(found["total"])
    if facts is not None:
        versions = (
            (facts.total, total),
            (facts.etag, response.headers.get("ETag")),
            (None if facts.etag else facts.last_modified, response.headers.get("Last-Modified")),
        )
        if any(None not in (kept, now) and kept != now for kept, now in versions):
            raise FileChangedError("has another version of the file than the one that was partly received")
    return total if total is not None or facts is None else facts.total


def strong_last_modified(last_modified: str | None, date: str | None) -> str | None:
    """Return a Last-Modified after which the file cannot have changed unnoticed; None for any other.

    The times have whole seconds: what changed twice in one has one Last-Modified. RFC 9110 8.8.2.2 takes it for a
    strong validator only where the answer was sent well after it.
    """
    try:
        modified, sent = parsedate_to_datetime(last_modified or ""), parsedate_to_datetime(date or "")
        strong = (sent - modified).total_seconds() >= CLOCK_SLACK
    except (ValueError, TypeError, OverflowError):  # no date; one with and one without a time zone
        return None
    return last_modified if strong else None


def _pieces(response: requests.Response, offset: int = 0) -> Iterator[bytes]:
    pace = StallDetector()
    for piece in read_body(response, TRANSFER_TIMEOUTS, offset):
        yield piece
        pace.count(len(piece))


def _refuse_web_page(response: requests.Response, first: bytes) -> None:
    if is_web_page(response.headers.get("Content-Type", ""), first[:SNIFF_BYTES]):
        raise FailedAttemptError("sent a web page, not a file")

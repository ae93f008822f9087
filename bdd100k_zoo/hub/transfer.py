"""The bytes of one file from one address into a partial file, hashed as they arrive."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import READ_CHUNK_BYTES, storage_errors
from bdd100k_zoo.hub.http import is_web_page, open_response, read_body, read_content_length, truncation_message
from bdd100k_zoo.hub.layout import local_copy_hint
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.resume import build_partial_facts, range_headers
from bdd100k_zoo.hub.retry import FailedAttemptError, StallDetector, Timeouts, open_local, retry
from bdd100k_zoo.hub.verify import WRONG_COPY, digest_mismatch
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.hub.resume import PartialFacts, PartialFile
    from bdd100k_zoo.hub.retry import RetryPolicy
    from bdd100k_zoo.hub.verify import ExpectedDigest, Hashes
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.registry import Artifact

TRANSFER_TIMEOUTS = Timeouts(connect=10, read=30)
SNIFF_BYTES = 512
"""Bytes of a body that are examined before the kept bytes are dropped for it."""
MAX_FILE_BYTES = {"weights": 8 << 30}
"""Bytes beyond which an answer counts as endless if no size is recorded. The largest published checkpoint has about
half a gibibyte."""
MAX_OTHER_FILE_BYTES = 64 << 30
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-(?P<last>\d{1,18})/(?P<total>\d{1,18}|\*)")
UNSATISFIED_RANGE = re.compile(r"bytes \*/(?P<total>\d{1,18})")
RANGE_ANSWERS = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
CLOCK_SLACK = 60
"""Seconds from Last-Modified to Date that make up for clocks that differ."""


class FileChangedError(FailedAttemptError):
    """The server's file is not the one that the kept bytes are of."""


class Meter(ExitStack):
    """The progress of one artifact, shown from its first answer on: the bar of a dead address would stay visible."""

    def __init__(self, progress: Progress, title: str) -> None:
        super().__init__()
        self._progress, self._title = progress, title
        self._task: Task | None = None

    def begin(self, done: int, total: int | None) -> None:
        """Count from ``done``, of ``total`` bytes."""
        if self._task is None:
            self._task = self.enter_context(self._progress.task(self._title, total, "bytes", done))
        else:
            self._task.restart(done, total)

    def advance(self, amount: int) -> None:
        """Count bytes that have arrived."""
        if self._task is not None:
            self._task.advance(amount)


class Transfer(NamedTuple):
    """Downloads an artifact's bytes into a partial file."""

    session: requests.Session
    artifact: Artifact
    partial: PartialFile
    meter: Meter
    report: Callable[[str], None]
    retry_policy: RetryPolicy

    def download(self, address: str, expected: Sequence[ExpectedDigest] = ()) -> Hashes:
        """Complete the partial file from an address, and verify it.

        A transfer is resumed only if something would detect a mixture of two versions of the file. Bytes that turn
        out to be of another version, or wrong, are dropped, and the whole file is requested once more.

        Args:
            address: https, http, file or hf.
            expected: digests that the whole file must have, all of them.

        Raises:
            FailedAttemptError: the address does not give a complete file; the bytes received so far are kept.
            DigestMismatchError: it gives other bytes, twice if some were kept from before; nothing is kept.
            StorageError: the disk is full.
        """
        try:
            return self._download_once(address, expected)
        except FileChangedError as failure:
            self.report(f"{redact_address(address)} {failure}; fetching all of it")
        self.partial.discard_bytes()
        return self._download_once(address, expected, again=True)

    def _download_once(self, address: str, expected: Sequence[ExpectedDigest], *, again: bool = False) -> Hashes:
        source, shown = local_path(address), redact_address(address)
        if source is not None:
            self._copy(address, source)
        else:
            retry(
                lambda: self._request(address, digest_known=bool(expected)),
                self.retry_policy,
                lambda: self.partial.size,
                lambda words: self.report(f"{shown} {words}"),
            )
        was_resumed, hashes = self.partial.is_resumed, self.partial.hashes()
        copy_hint = local_copy_hint(self.artifact.model, self.artifact.what)
        hint = WRONG_COPY if source else f"it sent a damaged or another file, and nothing of it was kept; {copy_hint}"
        mismatch = digest_mismatch(hashes, str(source or shown), expected, self.artifact.size, hint)
        if mismatch is None:
            return hashes
        self.partial.discard_bytes()
        if was_resumed and not again:
            raise FileChangedError("does not give the right file together with the bytes kept from before")
        raise mismatch

    def _copy(self, address: str, source: Path) -> None:
        """Copy a file of this machine, or of one whose folders it shares."""
        with open_local(source) as file:
            total = os.fstat(file.fileno()).st_size
            self._check_free_space(total)
            self._restart(build_partial_facts(self.artifact, address, total=total))
            # A file that grows meanwhile would have no end.
            while self.partial.size <= total and (chunk := file.read(READ_CHUNK_BYTES)):
                self.partial.write(chunk)
                self.meter.advance(len(chunk))
        if self.partial.size != total:
            raise FailedAttemptError("changed while it was copied")
        if not total:
            raise FailedAttemptError("is an empty file")

    def _request(self, address: str, *, digest_known: bool) -> None:
        """Request the missing bytes, once."""
        shown = redact_address(address)  # what is recorded, and compared with what is recorded
        kept, facts = self.partial.size, self.partial.facts
        headers = range_headers(facts, kept, shown, digest_known=digest_known, size=self.artifact.size)
        if headers and facts.total == kept:
            self.meter.begin(kept, kept)
            return
        url, private_headers = resolve_address(address)
        with open_response(
            self.session,
            url,
            TRANSFER_TIMEOUTS,
            headers=headers,
            private_headers=private_headers,
            accepted=(HTTPStatus.OK, *(RANGE_ANSWERS if headers else ())),
        ) as response:
            if response.status_code == HTTPStatus.OK:
                self._receive_all(response, shown)
            elif response.status_code == HTTPStatus.PARTIAL_CONTENT:
                self._receive_rest(response, shown)
            else:  # the server has no bytes after the kept ones; only a digest shows whether they are the whole file
                found = UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if not (found and int(found["total"]) == kept and digest_known):
                    raise FileChangedError("no longer has the file that was partly received")
                self.meter.begin(kept, kept)

    def _receive_all(self, response: requests.Response, address: str) -> None:
        total = read_content_length(response)
        self._check_total(total, FailedAttemptError)
        chunks = _read_chunks(response)
        first = b""
        while len(first) < SNIFF_BYTES and (chunk := next(chunks, b"")):
            first += chunk
        _refuse_web_page(response, first)  # before the kept bytes are dropped for it
        headers = response.headers
        modified = strong_last_modified(headers.get("Last-Modified"), headers.get("Date"))
        self._restart(
            build_partial_facts(self.artifact, address, etag=headers.get("ETag"), last_modified=modified, total=total)
        )
        self._write(chain([first], chunks), total)

    def _receive_rest(self, response: requests.Response, address: str) -> None:
        _refuse_web_page(response, b"")
        offset, facts = self.partial.size, self.partial.facts
        total = check_content_range(response, facts if facts.address == address else None, offset)
        self._check_total(total, FileChangedError)
        self.partial.resume(address)
        self.meter.begin(offset, total)
        self._write(_read_chunks(response, offset), total)

    def _restart(self, facts: PartialFacts) -> None:
        self.partial.restart(facts)
        self.meter.begin(0, facts.total if facts.total is not None else self.artifact.size)

    def _write(self, chunks: Iterable[bytes], total: int | None) -> None:
        """Append chunks to the partial file, and check that it is complete then."""
        recorded = self.artifact.size
        for chunk in chunks:
            if self.partial.size + len(chunk) > self._max_bytes:
                self.partial.discard_bytes()
                limit = "that the zoo file records" if recorded else "that any such file has"
                raise FailedAttemptError(f"sent more than the {self._max_bytes:,} bytes {limit}")
            self.partial.write(chunk)
            self.meter.advance(len(chunk))
        size = self.partial.size
        if total is not None and size != total:
            raise FailedAttemptError(truncation_message(size, total), transient=True)
        if not size:
            raise FailedAttemptError("sent an empty file")
        if recorded is not None and size != recorded:
            raise FailedAttemptError(self._size_message(size))

    @property
    def _max_bytes(self) -> int:
        return self.artifact.size or MAX_FILE_BYTES.get(self.artifact.what, MAX_OTHER_FILE_BYTES)

    def _size_message(self, size: int) -> str:
        return f"has a file of {size:,} bytes; the zoo file records {self.artifact.size:,}"

    def _check_total(self, total: int | None, kind: type[FailedAttemptError]) -> None:
        """Refuse a file of the wrong size, or that the disk has no room for, before its first byte."""
        if total is None:
            return
        if self.artifact.size not in (None, total):
            raise kind(self._size_message(total))
        if total > self._max_bytes:
            raise FailedAttemptError(f"announces {total:,} bytes, more than any such file has")
        self._check_free_space(total)

    def _check_free_space(self, total: int) -> None:
        folder = self.partial.target.parent
        with storage_errors(folder):
            free = shutil.disk_usage(folder).free
        needed = total - self.partial.size  # a file that starts again frees its space first
        if needed > free:
            raise StorageError.from_os_error(
                folder, OSError(errno.ENOSPC, f"no space for {needed:,} bytes more: {free:,} are free")
            )


def check_content_range(response: requests.Response, facts: PartialFacts | None, offset: int) -> int | None:
    """Check that an answer continues the kept bytes, and return the size of the whole file if it is known.

    Args:
        response: with the status 206.
        facts: those of the kept bytes, if they came from the same address.
        offset: how many bytes are kept.

    Raises:
        FileChangedError: it starts elsewhere, or is of another version of the file.
    """
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or int(found["first"]) != offset:
        raise FileChangedError(f"did not resume at byte {offset:,}, as it was asked to")
    total = None if found["total"] == "*" else int(found["total"])
    if facts is None:
        return total
    versions = (
        (facts.total, total),
        (facts.etag, response.headers.get("ETag")),
        (None if facts.etag else facts.last_modified, response.headers.get("Last-Modified")),
    )
    if any(None not in (kept, now) and kept != now for kept, now in versions):
        raise FileChangedError("has another version of the file than the one that was partly received")
    return facts.total if total is None else total


def strong_last_modified(last_modified: str | None, date: str | None) -> str | None:
    """Return a Last-Modified after which the file cannot have changed unnoticed; None for any other.

    The times have whole seconds: what changed twice in one has one Last-Modified. RFC 9110 8.8.2.2 makes it a
    strong validator only if the answer was sent well after it.
    """
    try:
        modified, sent = parsedate_to_datetime(last_modified or ""), parsedate_to_datetime(date or "")
        strong = (sent - modified).total_seconds() >= CLOCK_SLACK
    except (ValueError, TypeError, OverflowError):  # no date; one with and one without a time zone
        return None
    return last_modified if strong else None


def _read_chunks(response: requests.Response, offset: int = 0) -> Iterator[bytes]:
    stall_detector = StallDetector()
    for chunk in read_body(response, TRANSFER_TIMEOUTS, offset):
        yield chunk
        stall_detector.add(len(chunk))


def _refuse_web_page(response: requests.Response, start: bytes) -> None:
    if is_web_page(response.headers.get("Content-Type", ""), start[:SNIFF_BYTES]):
        raise FailedAttemptError("sent a web page, not a file")

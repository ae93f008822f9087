"""What to do next for an artifact: decided from what is known, by nobody who acts."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Cached = Literal["absent", "keep", "foreign", "contradicted", "changed"]
"""What a file under its final name is to an artifact.

``foreign`` came from an address that the artifact does not list; ``contradicted`` is not what the zoo file records;
``changed`` is no longer the file that was downloaded.
"""

STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,500}"')
"""RFC 9110 8.8.3. A weak one (``W/"…"``) promises the same meaning, not the same bytes; what is none of both cannot be
sent back."""

Action = Literal["keep", "resume", "restart", "refetch", "fail"]


class PartialKnown(NamedTuple):
    """What is known about the bytes of an earlier transfer."""

    size: int
    """Bytes that are there."""
    address: str | None
    """Where they came from; None where from several."""
    etag: str | None
    last_modified: str | None
    """Only where it is a strong validator."""
    total: int | None
    """Bytes that the whole file was to have."""


class Known(NamedTuple):
    """All that the next step depends on."""

    cached: Cached
    partial: PartialKnown | None = None
    address: str | None = None
    """The address whose turn it is; None where none may be asked."""
    digest: str | None = None
    """What the whole file must have, if anything says so."""
    size: int | None = None
    """Bytes that the zoo file records."""


class Decision(NamedTuple):
    """The next step.

    keep: the cached file is right. resume: ask for the bytes from ``offset`` on. restart: ask for all bytes, and
    begin anew what is partly there. refetch: the cached file is wrong; get another, and set it aside when that is here.
    fail: nothing may be asked.
    """

    action: Action
    offset: int = 0
    validator: str | None = None
    """What If-Range must hold, so that bytes of another version of the file are never put together."""


def decide(known: Known) -> Decision:
    """Say what to do next; see Decision."""
    if known.cached == "keep":
        return Decision("keep")
    if known.address is None:
        return Decision("fail")
    if known.cached in ("contradicted", "changed"):
        return Decision("refetch")
    if known.partial is None or not _fits(known.partial, known.size):
        return Decision("restart")
    return _continuation(known.partial, known.address, digest_known=known.digest is not None)


def _fits(partial: PartialKnown, size: int | None) -> bool:
    """Tell whether bytes can be the beginning of a file of the recorded size."""
    totals = [total for total in (partial.total, size) if total is not None]
    return partial.size > 0 and all(partial.size <= total for total in totals) and len(set(totals)) <= 1


def _continuation(partial: PartialKnown, address: str, *, digest_known: bool) -> Decision:
    """Continue where something will tell a mixture of two files: the server by its validator, or the digest."""
    resume = Decision("resume", partial.size)
    if address != partial.address:
        return resume if digest_known else Decision("restart")
    strong = partial.etag if partial.etag and STRONG_ETAG.fullmatch(partial.etag) else None
    if validator := strong or partial.last_modified:
        return resume._replace(validator=validator)
    return resume if digest_known or partial.size == partial.total else Decision("restart")

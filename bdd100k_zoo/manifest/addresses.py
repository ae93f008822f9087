"""Which addresses are well formed, and which of them nobody on the way can change."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,4})?(/[!#-;=?-\[\]_a-z~]*)?")
"""Well formed beyond doubt; spares the closer look at most of the zoo's 200 addresses."""

FORBIDDEN = '"<>\\^`{|}'
"""RFC 3986 has none of them, and programs disagree on where a host ends at a backslash."""


def address_problem(address: str) -> str:
    """Say what makes an address malformed; nothing where it is well formed."""
    if _PLAIN.fullmatch(address):
        return ""
    if any(character.isspace() or not character.isprintable() for character in address):
        return f"{address!r} holds spaces or control characters"
    if stray := next((character for character in address if character in FORBIDDEN), ""):
        return f"{address!r} holds {stray!r}, which no address may"
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        return f"{address!r} is malformed: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return f"expected an address https://HOST/…, found {address!r}"
    return ""


def is_private(address: str) -> bool:
    """Tell whether nobody on the way can change what an address answers: https, or this very machine."""
    if address.startswith("https://"):
        return True
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in LOOPBACK

"""Addresses: whether they are well formed and tamper-proof, and how to show one without its secrets."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}

_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,4})?(/[!#-;=?-\[\]_a-z~]*)?")
"""Certainly well formed; most of the zoo's 200 addresses need no slower check."""

FORBIDDEN_CHARACTERS = '"<>\\^`{|}'
"""Not allowed by RFC 3986; programs disagree on where a host ends at a backslash."""


def address_problem(address: str) -> str:
    """Return what makes an address malformed, without showing its secrets; empty if it is well formed."""
    if _PLAIN.fullmatch(address):
        return ""
    shown = redact_address(address)
    if any(character.isspace() or not character.isprintable() for character in address):
        return f"{shown!r} contains spaces or control characters"
    if stray := next((character for character in address if character in FORBIDDEN_CHARACTERS), ""):
        return f"{shown!r} contains {stray!r}, which is not allowed in an address"
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        # urllib quotes the part that it cannot read, which may be a password with a slash.
        return f"{shown!r} is malformed" + (f": {error}" if shown == address else "")
    if parts.scheme not in ("http", "https") or not host:
        return f"expected an address https://HOST/…, found {shown!r}"
    return ""


ADDRESS_FORMS = "https://HOST/…, hf://ORG/REPO/FILE, file:///ABSOLUTE/FILE or the path of a file"
"""How a zoo file may write where a file of a model is."""

OTHER_SCHEMES = ("hf://", "file://")
"""Beginnings of addresses, beside http and https, that files are downloaded from."""

_OTHER = re.compile(r"file://(localhost)?/(?!~)[^?#]+|hf://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(@[^/@?#]+)?/[^?#]+")


def other_scheme_problem(address: str) -> str:
    """Return what makes an address of ``OTHER_SCHEMES`` malformed, without its secrets; empty if it is well formed."""
    shown = redact_address(address)
    if any(each.isspace() or not each.isprintable() or each in FORBIDDEN_CHARACTERS for each in address):
        return f"{shown!r} contains a character that no address may have; write a space as %20"
    is_relative = any(part in (".", "..") for part in re.split(r"[/\\]", unquote(address)))
    if is_relative or not _OTHER.fullmatch(address):
        return f"expected {ADDRESS_FORMS}, found {shown!r}"
    return secret_problem(address)


def secret_problem(address: str) -> str:
    """Return why an address must not be in a file that people share; empty if it holds no password or token."""
    if redact_address(address) == address:
        return ""
    return (
        f"{redact_address(address)!r} contains a password or a token, which everyone with this file could use; "
        "remove it, and put a password into ~/.netrc"
    )


REDACTION = "***"

_START = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:)?(?P<slashes>[/\\]*)")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]+)(:[0-9]*)?")
_PARAMETER = re.compile(r"(?<=[?&;#/])(?P<name>[^?&;#/=]+)=(?P<value>[^&;#]+)")
_SECRET_NAME = re.compile(
    r"token|secret|authori[sz]ation|oauth|passw|pwd|signature|credential|api[_-]?key|access[_-]?key|private[_-]?key|key[_-]?pair|session"
    r"|jwt|hmac|bearer|(?<![a-z])auth(?!or|user)|^(sig|key|pass|policy|code|hdnts|hdnea|sas|pw|ticket)$",
    re.IGNORECASE,
)
"""Names of parameters that hold a password, a token, or what signs an address in place of one."""
_HUB_TOKEN = re.compile(r"hf_[A-Za-z0-9]{12,}")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]+[^\s'\"<>]+")


def redact_address(address: str) -> str:
    """Return an address with ``***`` in place of passwords and tokens.

    The address may be malformed: a mistyped address may contain a password too.
    """
    start = _START.match(address)
    before, rest = (address[: start.end()], address[start.end() :]) if start else ("", address)
    at = address.rfind("@")
    if not (start and start["scheme"] and start["slashes"]) and "//" in address[1 : max(at, 1)]:
        before, rest = "", REDACTION + address[at:]  # a mistyped scheme: "https//user:…", "<https://user:…"
    if before.lower() != "file:///":
        authority = re.split(r"[/\\?#]", rest, maxsplit=1)[0]
        # A password may contain "@", a slash, "?" or "#", so its end is the last "@". There is a password if the
        # authority has an "@", or if no port follows its colon.
        at = rest.rfind("@") if "@" in authority or not _HOST_AND_PORT.fullmatch(authority) else -1
        rest = REDACTION + rest[at:] if at >= 0 else rest
    return _HUB_TOKEN.sub(f"hf_{REDACTION}", before + _PARAMETER.sub(_hidden, rest))


def _hidden(found: re.Match[str]) -> str:
    return f"{found['name']}={REDACTION}" if _SECRET_NAME.search(unquote(found["name"])) else found[0]


def redact_text(text: str) -> str:
    """Return a text with the addresses in it redacted."""
    return _IN_TEXT.sub(lambda found: redact_address(found[0]), text)


def is_tamper_proof(address: str) -> bool:
    """Return whether no one on the network can change what an address answers: https, or this machine."""
    if address.startswith("https://"):
        return True
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in LOOPBACK_HOSTS

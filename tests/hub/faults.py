"""What a server can do wrong, and the outcome: the tests try this list, and docs/downloads.md shows it.

    python tests/hub/faults.py docs/downloads.md

updates the table of that document.
"""

from __future__ import annotations

import codecs
import gzip
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fault_host import Reply

BODY = bytes(range(256)) * 4096 * 2 + b"the end"
"""The file: 2,097,159 bytes."""
HALF = len(BODY) // 2
STEP = 64 << 10
WHOLE = Reply(BODY, etag='"1"', ranges="honoured")
CUT = replace(WHOLE, cut=HALF)
WEB_PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
ARRIVES = ""


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LATE = "timed out after 0.2 s without an answer"
ENDLESS = "sent 2,097,152 bytes of headers, chunk extensions or trailers, and no end of them"


def drip(start: bytes, again: bytes) -> Reply:
    """An answer of which a little comes every now and then, and never the end."""
    return Reply(start, forever=again, slow=0.05)


def flood(start: bytes, again: bytes) -> Reply:
    """An answer that comes as fast as it is read, and never ends."""
    return Reply(start, forever=again)


def other(reply: Reply) -> Reply:
    """The same, of a later version of the file."""
    return replace(reply, body=BODY[::-1], etag='"2"')


@dataclass(frozen=True)
class Fault:
    """One way in which a server fails, and what the user gets."""

    does: str
    """What the server does, for the document."""
    replies: tuple[Reply, ...]
    """Its answers, one after the other; the last again and again."""
    words: str = ARRIVES
    """How the address fails, in the words of the message; ARRIVES where the file comes all the same."""
    requests: int = 1
    """How often it is asked."""
    ranges: tuple[str, ...] = ()
    """The ranges that are requested, in order."""
    kept: int = 0
    """Bytes that the next try resumes from."""
    digest: bool = False
    """The zoo file records the digest."""
    size: bool = False
    """The zoo file records the size."""
    note: str = ""
    """What the document adds."""
    content: bytes = BODY
    """What arrives."""


FAULTS = {
    "drops": Fault("hangs up halfway, once", (CUT, WHOLE), requests=2, ranges=(f"bytes={HALF}-",)),
    "drops again": Fault(
        "hangs up again and again, each time a little later",
        (*tuple(replace(WHOLE, cut=size) for size in (HALF, *[STEP] * 4)), WHOLE),
        requests=6,
        ranges=tuple(f"bytes={HALF + STEP * more}-" for more in range(5)),
        note="64 KiB count as progress, and the count of tries restarts",
    ),
    "drops for a byte": Fault(
        "hangs up again and again, each time a byte later",
        (CUT, replace(WHOLE, cut=1)),
        f"ended after {HALF + 2:,} of {len(BODY):,} bytes",
        requests=3,
        kept=HALF + 2,
        note="fewer than 64 KiB do not count, or the tries would never end",
    ),
    "drops for good": Fault(
        "hangs up halfway, then before every further byte",
        (CUT, replace(WHOLE, cut=0)),
        f"ended after {HALF:,} of {len(BODY):,} bytes",
        requests=3,
        kept=HALF,
    ),
    "no ranges": Fault(
        "hangs up halfway, and does not support ranges",
        (replace(CUT, ranges="ignored"), replace(WHOLE, ranges="ignored")),
        requests=2,
        ranges=(f"bytes={HALF}-",),
        note="starts over",
    ),
    "drops without ranges": Fault(
        "hangs up at the same byte every time, and does not support ranges",
        (replace(CUT, ranges="ignored"),),
        f"ended after {HALF:,} of {len(BODY):,} bytes",
        requests=3,
        kept=HALF,
    ),
    "another version": Fault(
        "hangs up, and has another version of the file (another ETag) when the rest is requested",
        (CUT, other(WHOLE)),
        requests=2,
        content=BODY[::-1],
        note="starts over; two versions are never mixed",
    ),
    "another version in ranges": Fault(
        "the same, but sends the rest of the other version in spite of If-Range",
        (
            CUT,
            replace(
                other(WHOLE),
                status=206,
                body=BODY[::-1][HALF:],
                headers={"Content-Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"},
            ),
            other(WHOLE),
        ),
        requests=3,
        content=BODY[::-1],
        note="starts over, once",
    ),
    "another size": Fault(
        "hangs up, and then names another total in Content-Range",
        (
            CUT,
            replace(
                WHOLE,
                status=206,
                body=BODY[HALF:],
                headers={"Content-Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY) + 5}"},
            ),
            WHOLE,
        ),
        requests=3,
        note="starts over, once",
    ),
    "wrong offset": Fault(
        "starts a range one byte early",
        (CUT, replace(WHOLE, ranges="shifted"), WHOLE),
        requests=3,
        note="starts over, once",
    ),
    "unlabelled range": Fault(
        "answers 206 without Content-Range",
        (CUT, replace(WHOLE, ranges="unlabelled"), WHOLE),
        requests=3,
        note="starts over, once",
    ),
    "wrong offset again": Fault(
        "hangs up and starts the rest one byte early, every time",
        (CUT, replace(WHOLE, ranges="shifted"), CUT, replace(WHOLE, ranges="shifted")),
        f"did not resume at byte {HALF:,}, as it was asked to",
        requests=4,
        kept=HALF,
        note="starts over only once",
    ),
    "range of nothing": Fault(
        "answers 416 to the rest of the file",
        (CUT, replace(WHOLE, ranges="unsatisfied"), WHOLE),
        requests=3,
        note="starts over, once",
    ),
    "wrong rest": Fault(
        "sends other bytes in the rest, under the same ETag",
        (CUT, replace(WHOLE, ranges="disguised"), WHOLE),
        requests=3,
        digest=True,
        note="the digest differs; starts over, once",
    ),
    "a part unasked": Fault(
        "answers 206 to a request for the whole file", (replace(WHOLE, status=206),), "answered 206 Partial Content"
    ),
    "busy": Fault("answers 503, then the file", (Reply(status=503), WHOLE), requests=2),
    "told to wait": Fault(
        "answers 429 with Retry-After: 0, then the file",
        (Reply(status=429, headers={"Retry-After": "0"}), WHOLE),
        requests=2,
    ),
    "told to wait long": Fault(
        "answers 503 with Retry-After: 3600",
        (Reply(status=503, headers={"Retry-After": "3600"}),),
        "answered 503 Service Unavailable, and asks clients to wait 3,600 s",
        note="the next address is tried at once",
    ),
    "broken": Fault("answers 500 every time", (Reply(status=500),), "answered 500 Internal Server Error", requests=3),
    "missing": Fault("answers 404", (Reply(b"no", status=404),), "answered 404 Not Found"),
    "made-up status": Fault("answers 799", (Reply(b"no", status=799),), "answered 799"),
    "promises more": Fault(
        "promises more bytes than it sends (Content-Length)",
        (replace(WHOLE, promised=len(BODY) + 1, ranges="ignored"),),
        f"ended after {len(BODY):,} of {len(BODY) + 1:,} bytes",
        requests=3,
        kept=len(BODY),
    ),
    "promises less": Fault(
        "promises less than the file has",
        (replace(WHOLE, promised=1000),),
        "sent other bytes: expected md5:",
        digest=True,
        note="the digest or the recorded size shows it; where neither is known, `cache verify --deep` does",
    ),
    "other size": Fault(
        "has a file of another size than the zoo file records",
        (replace(WHOLE, body=BODY[:-1]),),
        f"has a file of {len(BODY) - 1:,} bytes; the zoo file records {len(BODY):,}",
        size=True,
        note="reported before the first byte",
    ),
    "endless": Fault(
        "sends without end and without a length",
        (Reply(BODY + b"more", framing="chunked"),),
        f"sent more than the {len(BODY):,} bytes that the zoo file records",
        size=True,
        note="where no size is recorded: ends at 8 GiB for weights, 64 GiB for other files",
    ),
    "huge": Fault(
        "announces a file of a terabyte",
        (replace(WHOLE, promised=1 << 40, stalls=True),),
        f"announces {1 << 40:,} bytes, more than any such file has",
    ),
    "cut in chunks": Fault(
        "ends a chunked body before its last chunk",
        (Reply(b"a" * 1234, framing="chunked-cut"),),
        "ended after 1,234 bytes, before the end of the file",
        requests=3,
        kept=1234,
    ),
    "empty": Fault("sends an empty file", (Reply(b""),), "sent an empty file"),
    "web page": Fault(
        "sends a web page with status 200",
        (Reply(WEB_PAGE, headers={"Content-Type": "text/html; charset=utf-8"}),),
        "sent a web page, not a file",
    ),
    "unlabelled web page": Fault(
        "sends a web page as application/octet-stream", (Reply(b"\n " + WEB_PAGE),), "sent a web page, not a file"
    ),
    "web page behind a mark": Fault(
        "the same, behind a byte order mark", (Reply(codecs.BOM_UTF8 + WEB_PAGE),), "sent a web page, not a file"
    ),
    "web page behind a comment": Fault(
        "the same, behind a comment", (Reply(b"<!-- portal -->" + WEB_PAGE),), "sent a web page, not a file"
    ),
    "XHTML": Fault("the same, as XHTML", (Reply(b"<?xml version='1.0'?>" + WEB_PAGE),), "sent a web page, not a file"),
    "web page for the rest": Fault(
        "hangs up, and then sends a web page",
        (CUT, Reply(WEB_PAGE, headers={"Content-Type": "text/html"})),
        "sent a web page, not a file",
        requests=2,
        kept=HALF,
        note="the bytes that have arrived are kept",
    ),
    "compressed": Fault(
        "sends a compressed body",
        (Reply(gzip.compress(BODY, 1), headers={"Content-Encoding": "gzip"}),),
        "sent a compressed body ('gzip') although plain bytes were requested",
    ),
    "silent": Fault(
        "accepts the connection and sends nothing",
        (Reply(silent=True),),
        "timed out after 0.2 s without an answer",
        requests=3,
        note="30 s, see Limits (the test waits 0.2 s)",
    ),
    "stalls": Fault(
        "stops sending halfway, then sends the rest",
        (Reply(BODY[:HALF], promised=len(BODY), stalls=True, etag='"1"'), WHOLE),
        requests=2,
        ranges=(f"bytes={HALF}-",),
    ),
    "drips its status line": Fault("sends its status line byte by byte", (drip(b"", b"H"),), LATE, requests=3),
    "drips a header": Fault("sends a header byte by byte", (drip(b"HTTP/1.1 200 OK\r\nX: ", b"a"),), LATE, requests=3),
    "continues": Fault(
        "sends `100 Continue` again and again", (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),), LATE, requests=3
    ),
    "drips a chunk extension": Fault(
        "sends a chunk extension byte by byte", (drip(CHUNKED + b"10;", b"a"),), LATE, requests=3
    ),
    "drips a trailer": Fault(
        "sends trailers without end",
        (drip(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),),
        LATE,
        requests=3,
    ),
    "floods with 100": Fault(
        "the same, as fast as it can", (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),), ENDLESS
    ),
    "floods with trailers": Fault(
        "sends trailers, as fast as it can",
        (flood(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 10_000),),
        ENDLESS,
    ),
    "floods with headers": Fault(
        "sends headers without end",
        (flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000),),
        "sent an answer that breaks the rules of HTTP",
        requests=3,
    ),
    "an endless chunk size": Fault(
        "sends the size of a chunk without end",
        (flood(CHUNKED, b"0" * 65_536),),
        "sent an answer that breaks the rules of HTTP",
        requests=3,
    ),
    "an impossible length": Fault(
        "announces a Content-Length of 5,000 digits",
        (Reply(BODY, framing="until-close", headers={"Content-Length": "9" * 5000}),),
        "announces an impossible size: a Content-Length of 5,000 digits",
    ),
    "another protocol": Fault(
        "speaks another protocol",
        (flood(b"SSH-2.0-OpenSSH_9.0\r\n", b"\0" * 1000),),
        "sent an answer that breaks the rules of HTTP",
        requests=3,
    ),
    "redirect to a file": Fault(
        "redirects to file://",
        (Reply(status=302, headers={"Location": "file:///etc/passwd"}),),
        "redirected to no usable address: expected an address https://HOST/…, found 'file:///etc/passwd'",
    ),
    "redirect to plain http": Fault(
        "redirects to plain http on another host",
        (Reply(status=302, headers={"Location": "http://models.example.org/x.pth"}),),
        "redirected to http://models.example.org/x.pth, which is not https",
    ),
    "redirect with a token": Fault(
        "redirects to plain http with a password and a token",
        (Reply(status=302, headers={"Location": "http://me:pw@models.example.org/x.pth?X-Amz-Signature=1f"}),),
        "redirected to http://***@models.example.org/x.pth?X-Amz-Signature=***, which is not https",
        note="neither is shown",
    ),
    "redirect to nothing": Fault(
        "redirects to something that is not an address",
        (Reply(status=302, headers={"Location": "http://[oops/x.pth"}),),
        "redirected to no usable address: 'http://[oops/x.pth' is malformed: Invalid IPv6 URL",
    ),
    "redirect without target": Fault("redirects without saying where", (Reply(status=302),), "answered 302 Found"),
    "redirect in no encoding": Fault(
        "redirects in no known encoding", (Reply(status=302, headers={"Location": "/\xff"}),), "is not a usable address"
    ),
    "redirect in a loop": Fault(
        "redirects in a loop",
        (Reply(status=302, headers={"Location": "/x.pth"}),),
        "redirected more than 10 times",
        requests=11,
    ),
    "file name": Fault(
        "names a file in another folder (Content-Disposition)",
        (replace(WHOLE, headers={"Content-Disposition": 'attachment; filename="../../../etc/cron.d/x"'}),),
        note="names come from the zoo file alone",
    ),
}


def table() -> str:
    """The table of the document, in Markdown."""
    lines = ["| the server | the outcome | requests |", "| --- | --- | --: |"]
    for fault in FAULTS.values():
        lines.append(f"| {fault.does} | {_outcome(fault)} | {fault.requests} |")
    return "\n".join(lines) + "\n"


def _outcome(fault: Fault) -> str:
    told = f"“{fault.words.removesuffix(' md5:')}”" if fault.words else "the file arrives"
    kept = f"; {fault.kept:,} bytes are kept" if fault.kept else ""
    return told + kept + (f"; {fault.note}" if fault.note else "")


BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"


def brought_up_to_date(document: str) -> str:
    """The document with the table of today."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(brought_up_to_date(path.read_text(encoding="utf-8")), encoding="utf-8")

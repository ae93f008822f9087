"""Addresses: which are well formed, and which of them nobody on the way can change."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bdd100k_zoo.manifest.addresses import address_problem, is_private


@pytest.mark.parametrize(
    "address",
    [
        "https://dl.cv.ethz.ch/bdd100k/det/models/x_det_bdd100k.pth",
        "https://scholar.google.com/citations?user=c3PYmxUAAAAJ&hl=en",
        "https://sites.cs.ucsb.edu/~lilei/",
        "http://127.0.0.1:40123/a%20b.pth",
        "http://[::1]:8000/x",
        "HTTPS://EXAMPLE.COM",
        "https://example.com:65535/",
        "https://beispiel-ä.example/ö",
        "https://example.com?q=1",
    ],
)
def test_a_well_formed_address_has_no_problem(address: str) -> None:
    assert address_problem(address) == ""


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.com/x",
        "//example.com/x",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "javascript:alert(1)",
        "https:",
        "https://",
        "https:///x",
        "https://?x",
        "https://:80/",
        "https://[::1/",
        "https://example.com:65536/",
        "https://example.com:port/",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com/\n",
        "https://exa\tmple.com/",
        "https://example.com/\x1b[2J",
        "https://example.com/\u200b",
        "https://example.com/a|b",
        "https://example.com/<b>",
        'https://example.com/"',
        "https://example.com/`",
        "http://far.example\\@localhost/",
    ],
)
def test_a_malformed_address_is_told_with_the_address(address: str) -> None:
    assert repr(address)[1:-1] in address_problem(address)


@given(st.text(alphabet=st.sampled_from("htps:/.@[]\\#?%a1é \t<>\"'()-_~"), max_size=24).map("http".__add__))
@example("https://a/b\n")
@example("http://a/\\")
def test_what_passes_has_a_host_and_survives_a_markdown_link(address: str) -> None:
    if address_problem(address) == "":
        parts = urlsplit(address)
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert not set('"<>\\^`{|} \t\n') & set(address)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("https://far.example/x", True),
        ("HTTPS://far.example/x", True),
        ("http://localhost/x", True),
        ("http://LOCALHOST:8000/x", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://[::1]/x", True),
        ("http://far.example/x", False),
        ("http://localhost.far.example/x", False),
        ("http://localhost@far.example/x", False),
        ("http://127.0.0.1@far.example/", False),
        ("http://far.example/localhost", False),
        ("http://far.example#localhost", False),
        ("http://10.0.0.1/x", False),
    ],
)
def test_only_https_and_this_machine_are_private(address: str, private: bool) -> None:
    assert address_problem(address) == ""
    assert is_private(address) is private

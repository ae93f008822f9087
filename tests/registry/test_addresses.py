"""Addresses: which are well formed, and which of them no one on the network can change."""

from __future__ import annotations

import re
import string
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo
from bdd100k_zoo.registry.addresses import address_problem, is_tamper_proof, redact_address, redact_text, secret_problem


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
def test_a_malformed_address_is_named_in_the_problem(address: str) -> None:
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
    assert is_tamper_proof(address) is private


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://user:{SECRET}@host/x", "https://***@host/x"),
        (f"https://{SECRET}@host/x", "https://***@host/x"),
        (f"HTTPS://user:{SECRET}@HOST:8443/x", "HTTPS://***@HOST:8443/x"),
        (f"https://user:{SECRET}@[::1]:80/x", "https://***@[::1]:80/x"),
        (f"https://user:p@{SECRET}@host:port:bad/", "https://***@host:port:bad/"),
        (f"https://user:a/{SECRET}@host/x", "https://***@host/x"),
        (f"https://user:a?{SECRET}@host/x", "https://***@host/x"),
        (f"https://user:a#{SECRET}@host/x", "https://***@host/x"),
        (f"https://me@corp.example:a/{SECRET}@host/x", "https://***@host/x"),
        (f"https://user:a {SECRET}@host/x", "https://***@host/x"),
        (f"https://user:{SECRET}@", "https://***@"),
        (f"https:user:{SECRET}@host/x", "https:***@host/x"),
        (f"https:/user:{SECRET}@host/x", "https:/***@host/x"),
        (f"https:///user:{SECRET}@host/x", "https:///***@host/x"),
        (f"https:\\\\user:{SECRET}@host/x", "https:\\\\***@host/x"),
        (f"user:{SECRET}@host/x", "user:***@host/x"),
        (f"//user:{SECRET}@host/x", "//***@host/x"),
        (f"https://[::1/{SECRET}@host/x", "https://***@host/x"),
        (f" https://user:{SECRET}@host/x", "***@host/x"),
        (f"<https://user:{SECRET}@host/x>", "***@host/x>"),
        (f"htt ps://user:{SECRET}@host/x", "***@host/x"),
        (f"ht_tps://user:{SECRET}@host/x", "***@host/x"),
        (f"https//user:{SECRET}@host/x", "***@host/x"),
        (f"https ://user:{SECRET}@host/x", "***@host/x"),
        (f"https://host/file/x.pth?Authorization={SECRET}", "https://host/file/x.pth?Authorization=***"),
        (f"https://host/x?oauth={SECRET}", "https://host/x?oauth=***"),
        (f"https://host/x?token={SECRET}", "https://host/x?token=***"),
        (f"https://host/x?a=b&TOKEN={SECRET}&c=d", "https://host/x?a=b&TOKEN=***&c=d"),
        (f"https://host/x?%74oken={SECRET}", "https://host/x?%74oken=***"),
        (f"https://host/x?X-Amz-Signature={SECRET}&X-Amz-Date=1", "https://host/x?X-Amz-Signature=***&X-Amz-Date=1"),
        (f"https://host/x?sv=1&sig={SECRET}", "https://host/x?sv=1&sig=***"),
        (f"https://host/x?api_key={SECRET}", "https://host/x?api_key=***"),
        (f"https://host/x?auth={SECRET} with spaces", "https://host/x?auth=***"),
        (f"https://host/x?password={SECRET}", "https://host/x?password=***"),
        (f"https://host/x#access_token={SECRET}", "https://host/x#access_token=***"),
        (f"https://host/x;token={SECRET}", "https://host/x;token=***"),
        (f"https://host?token={SECRET}", "https://host?token=***"),
        (f"hf://{SECRET}@org/repo", "hf://***@org/repo"),
        ("hf://org/repo@hf_abcdefghijKLMNOPQRSTuvwx/f", "hf://org/repo@hf_***/f"),
        (f"socks5h://user:{SECRET}@proxy:1080", "socks5h://***@proxy:1080"),
        (f"file://user:{SECRET}@host/x", "file://***@host/x"),
    ],
)
def test_passwords_and_tokens_are_not_shown(address: str, shown: str) -> None:
    assert redact_address(address) == shown
    assert secret_problem(address)
    assert SECRET not in address_problem(address) + secret_problem(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://scholar.google.com/citations?user=c3PYmxUAAAAJ&hl=en&authuser=1",
        "https://host/x.pth?download=1&id=1GHsd9-33_chars&author=me&version=3",
        "https://host/@scope/package@1.0/x.pth",
        "https://host:8000/a@b",
        "https://[::1]:8000/a@b",
        "hf://org/repo@main/folder",
        "file:///data/me@home:1/x.pth",
        "https://host/token/x.pth",
        "https://host/hf_models/x.pth",
        "/data/a:b@c",
        "",
    ],
)
def test_an_address_without_secrets_is_unchanged(address: str) -> None:
    assert redact_address(address) == redact_text(address) == address
    assert secret_problem(address) == ""


@example(user="", password="@0#", rest="host/x")
@given(
    user=st.text(string.ascii_letters + "@:%._-", max_size=8),
    password=st.text(string.ascii_letters + string.digits + "@:/?#[]%!$&'()*+,;=._~-", max_size=12),
    rest=st.sampled_from(["host/x", "host:8080/x?a=b", "[::1]/x", "host:bad:port", ""]),
)
def test_no_password_is_shown_whatever_characters_it_has(user: str, password: str, rest: str) -> None:
    assume(not re.match(r"[0-9]*[/?#]", password) or not user.rpartition("@")[2])  # user:80/… is a host and a port
    address = f"https://{user}:{password}{SECRET}@{rest}"
    shown = redact_address(address)
    assert SECRET not in shown
    assert shown == redact_address(shown) == f"https://***@{rest}"


def test_the_addresses_of_the_built_in_zoo_hold_no_secrets() -> None:
    zoo = load_zoo()
    addresses = [
        address for model in zoo.models for what in ARTIFACT_KINDS for address in model.artifact(what).addresses
    ]
    assert len(addresses) > 100
    assert [redact_address(address) for address in addresses] == addresses

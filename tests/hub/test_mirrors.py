"""Mirrors: where they are configured, which are accepted, and what is requested on Hugging Face."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from fault_host import artifact_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.cli.output import explain
from bdd100k_zoo.errors import MissingPackageError, SettingsError
from bdd100k_zoo.hub.mirrors import SCHEMES, Mirror, configured_mirrors, local_path, mirror_problem, resolve_address
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.addresses import address_problem

needs_hub = pytest.mark.skipif(
    find_spec("huggingface_hub") is None,
    reason="MIRRORS ON HUGGING FACE NOT TESTED: pip install 'bdd100k-zoo[hf]'",
)
WEIGHTS = artifact_of("https://host.example/x/tiny_1x_det_bdd100k.pth")

names = st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1, max_size=12).filter(
    lambda name: name.isprintable() and name not in (".", "..") and not name.startswith("~")
)
folders = st.lists(names.map(quote), max_size=4).map("/".join)
words = st.from_regex(r"[a-z0-9]([a-z0-9]|[._-](?=[a-z0-9])){0,20}", fullmatch=True).filter(
    lambda word: not word.endswith(".git") and word not in ("datasets", "spaces", "buckets", "kernels", "models")
)
web_bases = st.builds("https://{}.example/{}".format, st.from_regex(r"[a-z]{1,9}", fullmatch=True), folders)
file_bases = st.builds("file://{}/{}".format, st.sampled_from(["", "localhost"]), folders)
hub_bases = st.builds(
    "hf://{}/{}{}{}".format,
    words.filter(lambda word: "--" not in word),
    words.filter(lambda word: "--" not in word),
    st.sampled_from(["", "@v1.0", "@refs%2Fpr%2F1"]),
    folders.map(lambda folder: f"/{folder}" if folder else ""),
)
good_bases = st.one_of(web_bases, file_bases, hub_bases)


@given(good_bases)
def test_every_form_that_is_documented_is_accepted(base: str) -> None:
    assert mirror_problem(base) == ""


@given(good_bases, st.sampled_from(["/..", "/%2e%2E/x", "/a%2f..%2fb", "/a%5c..", "/.", "?a=b", "#a", "/%00", "/%0a"]))
def test_a_path_that_leaves_the_base_a_query_and_a_control_character_are_refused(base: str, fault: str) -> None:
    assert mirror_problem(base + fault)


@given(good_bases, st.characters(categories=("Z", "C")), st.data())
def test_spaces_and_control_characters_are_refused_everywhere(base: str, character: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(base)))
    assert mirror_problem(base[:place] + character + base[place:])


@given(web_bases, st.sampled_from(["user@", "user:secret@", "@", ":secret@"]))
def test_credentials_are_refused_and_not_shown(base: str, credentials: str) -> None:
    written = base.replace("//", f"//{credentials}", 1)
    assert "netrc" in mirror_problem(written)
    with pytest.raises(SettingsError) as caught:
        configured_mirrors({"BDD100K_ZOO_MIRRORS": quote(written, safe=":/@%")})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "listed",
    [
        "https://me:p@s3cr3t@host:port:bad/zoo",
        "https://me:a/s3cr3t@host/zoo",
        "https://me:a?s3cr3t@host/zoo",
        "https://me:a s3cr3t@host/zoo",
        "https://me:s3cr3t,b@host/zoo",
        "https://me:a,s3cr3t@host/zoo",
        "https:me:s3cr3t@host/zoo",
        "me:s3cr3t@host/zoo",
        "ftp://me:s3cr3t@host/zoo",
        "https://host/zoo?token=s3cr3t",
        "https://host/zoo?s3cr3t",
        "hf://me:s3cr3t@org/repo",
    ],
)
def test_malformed_credentials_are_refused_and_not_shown(listed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        configured_mirrors({"BDD100K_ZOO_MIRRORS": listed})
    assert "s3cr3t" not in str(caught.value)


schemes = ["https://", "http://", "file://", "hf://", "ftp://", "", "//"]
pieces = st.sampled_from(["/", "..", "%2e", "@", "~", ":", "h", "o/r", "%00", "%", "\\", "?", "#", "é", "[", "]", "--"])
anything = st.builds(
    lambda scheme, parts: scheme + "".join(parts),
    st.sampled_from(schemes),
    st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=8),
)


@given(anything)
def test_whatever_is_accepted_gives_addresses_below_it_that_can_be_requested(base: str) -> None:
    if "," in base or mirror_problem(base.strip()) or not base.strip():
        return
    (mirror,) = configured_mirrors({"BDD100K_ZOO_MIRRORS": base})
    for address in (mirror.address(WEIGHTS), mirror.digest_address(WEIGHTS)):
        assert address.startswith(mirror.base + "/")
        assert ".." not in unquote(address).replace("\\", "/").split("/")
        assert mirror_problem(address) == ""
        if base.startswith("http"):
            assert address_problem(address) == ""
        if base.startswith("file"):
            path = local_path(address)
            assert path is not None
            assert path.is_absolute()
            assert "\0" not in str(path)


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("/mnt/zoo", "file:///mnt/zoo"),
        ("mnt/zoo", "file:///ABSOLUTE/FOLDER"),
        ("file://mnt/zoo", "three slashes"),
        ("file:mnt/zoo", "file:///ABSOLUTE/FOLDER"),
        ("file://~/zoo", "file:///home/NAME"),
        ("file:///~/zoo", "file:///home/NAME"),
        ("file:///mnt/our zoo", "%20"),
        ("https://", "https://HOST"),
        ("https://host.example:port/x", "https://HOST"),
        ("ftp://host.example/x", "https://HOST"),
        ("hf://zoo", "hf://ORG/REPO"),
        ("hf://datasets/lab/zoo", "repository of models"),
        ("hf://lab/zoo.git", "repository"),
        ("hf://lab/zoo@../x", "`..`"),
        ("hf://lab/zoo//x", "without a name"),
    ],
)
def test_a_refused_mirror_is_reported_with_the_right_form(base: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        configured_mirrors({"BDD100K_ZOO_MIRRORS": f"https://good.example,{base}"})
    assert told in str(caught.value)
    assert repr(base) in str(caught.value)
    assert "BDD100K_ZOO_MIRRORS" in str(caught.value)
    assert "/mirrors" in explain(caught.value)[1]


def test_mirrors_of_the_variable_come_in_their_order_each_once() -> None:
    listed = " https://one.example/zoo/ ,, file:///mnt/zoo//,hf://lab/zoo@v1/, https://one.example/zoo,"
    bases = [mirror.base for mirror in configured_mirrors({"BDD100K_ZOO_MIRRORS": listed})]
    assert bases == ["https://one.example/zoo", "file:///mnt/zoo", "hf://lab/zoo@v1"]


def test_the_root_of_the_file_system_can_be_a_mirror() -> None:
    (mirror,) = configured_mirrors({"BDD100K_ZOO_MIRRORS": "file:///"})
    assert mirror.address(WEIGHTS) == "file:///det/models/tiny_1x_det_bdd100k.pth"


def test_the_configuration_file_counts_where_the_variable_is_not_set(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mirrors: [hf://lab/zoo]\n")
    for environment in ({}, {"BDD100K_ZOO_MIRRORS": ""}):
        assert configured_mirrors(environment, file) == (Mirror("hf://lab/zoo"),)
    assert configured_mirrors({"BDD100K_ZOO_CONFIG": str(file)}) == (Mirror("hf://lab/zoo"),)
    variable = {"BDD100K_ZOO_MIRRORS": "file:///mnt/zoo", "BDD100K_ZOO_CONFIG": str(file)}
    assert configured_mirrors(variable) == (Mirror("file:///mnt/zoo"),)
    assert configured_mirrors({}, tmp_path / "none.yaml") == ()


def test_a_wrong_mirror_in_the_configuration_file_is_reported_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mirrors: [/mnt/zoo]\n")
    with pytest.raises(SettingsError) as caught:
        configured_mirrors({}, file)
    assert f"mirrors in {file}: '/mnt/zoo'" in str(caught.value)


def test_the_examples_of_the_documentation_are_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "mirrors.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "config.yaml").write_text(listed)
    first, *others = [configured_mirrors({"BDD100K_ZOO_MIRRORS": each}) for each in re.findall(r"_MIRRORS=(\S+)", text)]
    assert configured_mirrors({}, tmp_path / "config.yaml") == first
    assert len(others) == 3


def test_every_scheme_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mirrors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)://", text, re.MULTILINE)) == set(SCHEMES)


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDD100K_ZOO_MIRRORS", "https://one.example")
    assert configured_mirrors() == (Mirror("https://one.example"),)


def test_a_mirror_has_every_file_of_the_zoo_where_the_published_host_has_it() -> None:
    mirror = Mirror("https://dl.cv.ethz.ch/bdd100k")
    for model in load_zoo().models:
        for what in ("weights", "preds", "visuals", "scores-val", "scores-test"):
            artifact = model.artifact(what)
            assert mirror.address(artifact) == artifact.addresses[0]
        weights = model.artifact("weights")
        assert mirror.digest_address(weights) == weights.digest_addresses[0]


def test_a_file_address_names_the_file_with_its_escapes_undone() -> None:
    assert local_path("file:///mnt/our%20zoo/a%2Bb.pth") == Path("/mnt/our zoo/a+b.pth")
    assert local_path("file://localhost/mnt/x") == Path("/mnt/x")
    assert local_path("https://host.example/x") is None
    assert local_path("hf://lab/zoo/x") is None


@pytest.mark.parametrize("address", ["file://host/x", "file:x", "file:///x%00", "file:///a/../x", "file:///~/x"])
def test_a_file_address_that_names_no_absolute_path_is_refused(address: str) -> None:
    with pytest.raises(SettingsError):
        local_path(address)


@pytest.mark.parametrize("address", ["https://host.example/x", "http://127.0.0.1/x", "file:///mnt/x"])
def test_all_addresses_but_those_of_hugging_face_are_requested_as_they_are(address: str) -> None:
    assert resolve_address(address) == (address, {})


@pytest.mark.parametrize("address", ["hf://lab", "hf://lab/zoo/../x", "hf:lab/zoo"])
def test_an_address_on_hugging_face_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(SettingsError):
        resolve_address(address)


def test_without_the_package_the_error_explains_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError) as caught:
        resolve_address("hf://lab/zoo/x.pth")
    assert "pip install 'bdd100k-zoo[hf]'" in explain(caught.value)[1]


ASK = """
import sys
from bdd100k_zoo.hub.mirrors import resolve_address
url, headers = resolve_address(sys.argv[1])
print(url, headers.get("Authorization", "-"), sep="\\n")
"""


def opened_with(address: str, **environment: str) -> list[str]:
    """Return what is requested in a fresh process: huggingface_hub reads its settings once, at import."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-W", "error", "-c", ASK, address]
    asked = subprocess.run(command, env={**clean, **environment}, check=True, capture_output=True, text=True)
    return asked.stdout.split("\n")[:2]


@needs_hub
def test_a_file_on_hugging_face_is_requested_at_its_endpoint_with_the_user_s_token() -> None:
    url, token = opened_with("hf://lab/zoo@v1/our%20copy/det/models/x.pth", HF_TOKEN="hf_mine")
    assert url == "https://huggingface.co/lab/zoo/resolve/v1/our%20copy/det/models/x.pth"
    assert token == "Bearer hf_mine"


@needs_hub
def test_a_revision_with_a_slash_stays_one_part_of_the_address() -> None:
    url, token = opened_with("hf://lab/zoo@refs%2Fpr%2F1/x.pth")
    assert url == "https://huggingface.co/lab/zoo/resolve/refs%2Fpr%2F1/x.pth"
    assert token == "-"


@needs_hub
@pytest.mark.parametrize(
    ("endpoint", "sent"),
    [("https://hub.example", True), ("http://127.0.0.1:9000", True), ("http://hub.example", False)],
)
def test_the_token_is_not_sent_to_an_endpoint_that_others_can_read(endpoint: str, sent: bool) -> None:
    url, token = opened_with("hf://lab/zoo/x.pth", HF_TOKEN="hf_mine", HF_ENDPOINT=endpoint)
    assert url == f"{endpoint}/lab/zoo/resolve/main/x.pth"
    assert token == ("Bearer hf_mine" if sent else "-")


@needs_hub
def test_a_user_who_forbids_the_implicit_token_is_heard() -> None:
    _, token = opened_with("hf://lab/zoo/x.pth", HF_TOKEN="hf_mine", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    assert token == "-"


@needs_hub
@given(hub_bases)
def test_every_accepted_repository_has_an_address_that_can_be_requested(base: str) -> None:
    url, _ = resolve_address(Mirror(base.rstrip("/")).address(WEIGHTS))
    assert address_problem(url) == ""

"""doctor --links as a user sees it, with servers on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bdd100k_zoo.registry import loading

ZOO = """\
families:
  - name: fcos  # which the demo's model is of
    title: Tiny R-CNN
    paper: {{title: Tiny, address: "{address}/paper", venue: X 2020}}
    authors:
      - {{name: A. Author, page: "{address}/{page}"}}
      - {{name: B. Author, page: null}}
    code: null
    note: null
models:
  - name: tiny_1x
    aliases: []
    family: fcos
    backbone: R-50-FPN
    schedule: 1x
    multi_scale_training: false
    config: faster_rcnn_r50_fpn_1x_det_bdd100k.py
    ap_val: null
    ap_test: null
    weights: {{address: "{address}/{weights}", alternates: [], digest: null, size: null}}
    md5: null
    predictions: null
    visuals: null
    scores_val: null
    scores_test: null
"""


@pytest.fixture
def small_zoo(served, tmp_path, monkeypatch):
    """Replace the built-in zoo by one of a single model, whose files a server on this machine has."""
    for name in ("paper", "page", "tiny_1x.pth"):
        (served.folder / name).write_text(name)

    def write(page: str = "page", weights: str = "tiny_1x.pth") -> None:
        file = tmp_path / "zoo.yaml"
        file.write_text(ZOO.format(address=served.address, page=page, weights=weights))
        monkeypatch.setattr(loading, "builtin_zoo_file", lambda: file)

    return write


def test_alive_addresses_are_counted_by_host(call, small_zoo, served):
    small_zoo()
    result = call("doctor", "--links")
    assert result.exit_code == 0, result.stderr
    header, host = result.stdout.splitlines()
    assert header.split() == ["Host", "Alive", "Moved", "Dead", "Slowest"]
    assert host.split()[:4] == [served.address.removeprefix("http://"), "3", "0", "0"]
    assert "3 addresses: 3 alive, 0 moved, 0 dead; --json lists every one" in result.stderr


def test_a_dead_file_is_shown_in_full_with_its_use_and_is_a_failure(call, small_zoo, served):
    small_zoo(weights="a_name_that_is_far_longer_than_the_line_of_a_terminal_but_must_stay_whole_for_copying.pth")
    result = call("doctor", "--links")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("dead")]
    assert lines[place].startswith(f"dead   {served.address}/a_name_that_is_far_longer")
    assert lines[place].endswith("_must_stay_whole_for_copying.pth")
    assert lines[place + 1].strip() == "answered 404 Not Found; weights of tiny_1x"


def test_a_dead_page_is_reported_and_is_no_failure(call, small_zoo):
    small_zoo(page="gone")
    result = call("doctor", "--links")
    assert result.exit_code == 0
    assert "/gone\n       answered 404 Not Found; page of A. Author\n" in result.stdout


def test_the_new_address_of_a_moved_page_is_shown(call, small_zoo, served):
    (served.folder / "people").mkdir()
    (served.folder / "people" / "index.html").write_text("me")
    small_zoo(page="people")
    result = call("doctor", "--links")
    assert result.exit_code == 0
    assert (
        f"moved  {served.address}/people\n    to {served.address}/people/\n       page of A. Author\n" in result.stdout
    )


def test_the_json_document_has_every_address(call, small_zoo, served):
    small_zoo(weights="gone.pth")
    result = call("doctor", "--links", "--json")
    assert result.exit_code == 1
    weights, paper, page = json.loads(result.stdout)
    assert weights.pop("milliseconds") >= 0
    assert weights == {
        "address": f"{served.address}/gone.pth",
        "host": served.address.removeprefix("http://"),
        "state": "dead",
        "outcome": "answered 404 Not Found",
        "moved_to": None,
        "uses": ["weights of tiny_1x"],
        "file": True,
    }
    assert [paper["state"], page["state"]] == ["alive", "alive"]
    assert not page["file"]


def test_mirrors_are_checked_too(call, small_zoo, monkeypatch):
    small_zoo()
    folder = Path("mirror/det/models")
    folder.mkdir(parents=True)
    (folder / "tiny_1x.pth").write_text("weights")
    monkeypatch.setenv("BDD100K_ZOO_MIRRORS", Path("mirror").absolute().as_uri())
    result = call("doctor", "--links")
    assert result.exit_code == 0
    assert ["this", "machine", "1", "0", "0", "0", "ms"] in [line.split() for line in result.stdout.splitlines()]


def test_a_malformed_mirror_is_reported_before_anything_is_requested(call, small_zoo, monkeypatch):
    small_zoo()
    monkeypatch.setenv("BDD100K_ZOO_MIRRORS", "~/zoo")
    result = call("doctor", "--links")
    assert result.exit_code == 1
    assert "BDD100K_ZOO_MIRRORS: '~/zoo'" in result.stderr
    assert "file:///" in result.stderr


def test_without_a_network_the_hosts_are_given_up_together_and_the_output_fits_the_terminal(call, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    result = call("doctor", "--links")
    assert result.exit_code == 1
    assert "more of dl.cv.ethz.ch, skipped\n" in result.stdout
    assert "connected to the network" in result.stderr
    lines = result.stdout.splitlines()
    assert sum(line.startswith("dead") for line in lines) < 70
    assert all(len(line) <= 80 for line in lines if "://" not in line)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--offline"], "leave out"), (["--imports-only"], "--imports-only")]
)
def test_contradicting_options_are_wrong_usage(call, arguments, message):
    result = call("doctor", "--links", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())

"""download as a user sees it, against a server on this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

CONTENT = b"weights " * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def weights(served):
    (served.folder / "weights.pth").write_bytes(CONTENT)


def test_a_verified_download_says_so(call, served, write_zoo):
    (served.folder / "weights.md5").write_text(f"{MD5}  weights.pth\n")
    result = call("--zoo", str(write_zoo(md5=f"{served.address}/weights.md5")), "download", "mine")
    assert result.exit_code == 0, result.stderr
    path, rest = result.stdout.split("  ", 1)
    assert Path(path).read_bytes() == CONTENT
    assert rest == f"{len(CONTENT):,} bytes  verified\n"


def test_an_unverified_download_is_said_aloud_and_known_to_info(call, served, write_zoo):
    zoo = str(write_zoo(md5=f"{served.address}/none.md5"))
    result = call("--zoo", zoo, "download", "mine")
    assert result.exit_code == 0
    assert "unverified" in result.stdout
    assert "unverified" in result.stderr
    assert "404" in result.stderr
    assert "UNVERIFIED" in call("--zoo", zoo, "info", "mine").stdout
    card = json.loads(call("--zoo", zoo, "info", "mine", "--json").stdout)
    assert card["cache"]["weights"]["verified"] is False


def test_a_second_download_contacts_nothing(call, served, write_zoo):
    zoo = str(write_zoo())
    assert call("--zoo", zoo, "download", "mine").exit_code == 0
    (served.folder / "weights.pth").unlink()
    assert call("--zoo", zoo, "--offline", "download", "mine").exit_code == 0


def test_a_wrong_digest_keeps_nothing(call, write_zoo, tmp_path):
    zoo = write_zoo(digest=f"md5:{'0' * 32}")
    result = call("--zoo", str(zoo), "download", "mine", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert MD5 in told["error"]
    assert "0" * 32 in told["error"]
    assert "cache import MODEL FILE" in told["hint"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size]


def test_a_missing_file_names_the_address_and_the_answer(call, served, write_zoo):
    (served.folder / "weights.pth").unlink()
    result = call("--zoo", str(write_zoo()), "download", "mine")
    assert result.exit_code == 1
    assert f"{served.address}/weights.pth" in result.stderr
    assert "404" in result.stderr


def test_a_required_digest_refuses_what_has_none(call, write_zoo):
    result = call("--zoo", str(write_zoo()), "download", "mine", "--require-digest")
    assert result.exit_code == 1
    assert "cannot be verified" in result.stderr


def test_offline_names_what_is_missing(call, write_zoo):
    result = call("--offline", "--zoo", str(write_zoo()), "download", "mine")
    assert result.exit_code == 1
    assert "offline" in result.stderr


def test_one_failure_does_not_hold_up_the_rest(call, write_zoo, served):
    result = call("--zoo", str(write_zoo()), "download", "mine", "--what", "weights", "--what", "preds")
    assert result.exit_code == 1
    assert "1 of 2 files" in result.stderr
    assert call("--offline", "--zoo", str(write_zoo()), "download", "mine").exit_code == 0


def test_models_or_all_must_be_named(call):
    assert call("download").exit_code == 2
    assert call("download", "--all", "fcos_r50_fpn_1x").exit_code == 2

"""download as a user sees it, against a server on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_host import Reply, running_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fault_host import Host

CONTENT = b"weights " * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def weights(served):
    (served.folder / "weights.pth").write_bytes(CONTENT)


def test_a_verified_download_is_reported_as_verified(call, served, write_zoo):
    (served.folder / "weights.md5").write_text(f"{MD5}  weights.pth\n")
    result = call("--zoo", str(write_zoo(md5=f"{served.address}/weights.md5")), "download", "mine")
    assert result.exit_code == 0, result.stderr
    path, rest = result.stdout.split("  ", 1)
    assert Path(path).read_bytes() == CONTENT
    assert rest == f"{len(CONTENT):,} bytes  verified by the publisher\n"


def test_an_unverified_download_is_reported_and_shown_by_info(call, served, write_zoo):
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
    assert "cache import mine FILE" in told["hint"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size]


def test_a_missing_file_names_the_address_and_the_answer(call, served, write_zoo):
    (served.folder / "weights.pth").unlink()
    result = call("--zoo", str(write_zoo()), "download", "mine")
    assert result.exit_code == 1
    assert f"{served.address}/weights.pth" in result.stderr
    assert "404" in result.stderr


def test_a_required_digest_refuses_a_file_without_one(call, write_zoo):
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


BODY = b"weights " * 500_000
ENTRY = """\
  - name: {name}
    aliases: [{name}_alias]
    family: faster_rcnn
    backbone: R-50-FPN
    schedule: 1x
    multi_scale_training: false
    config: config.py
    ap_val: null
    ap_test: null
    weights:
      address: {address}/{name}.pth
      alternates: []
      digest: null
      size: null
    md5: null
    predictions: null
    visuals: null
    scores_val: null
    scores_test: null
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        yield host


@pytest.fixture
def zoo_of(tmp_path, host):
    """Write a zoo file of models whose weights the host serves; of ``stalled`` ones, at first half and then nothing."""

    def write(*names: str, stalled: tuple[str, ...] = ()) -> str:
        half = Reply(BODY[: len(BODY) // 2], promised=len(BODY), stalls=True, etag='"1"')
        whole = Reply(BODY, etag='"1"', ranges="honoured")
        for name in names:
            host.serves(f"/{name}.pth", *([half, whole] if name in stalled else [whole]))
        (tmp_path / "config.py").write_text("")
        path = tmp_path / "several.yaml"
        path.write_text("models:\n" + "".join(ENTRY.format(name=name, address=host.address) for name in names))
        return str(path)

    return write


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_several_files_are_listed_in_the_order_requested_and_counted(call, zoo_of, jobs, tmp_path):
    result = call("--zoo", zoo_of("a", "b", "c"), "download", "c", "a", "c_alias", "b", "--jobs", jobs)
    assert result.exit_code == 0, result.stderr
    paths = [Path(line.split("  ")[0]) for line in result.stdout.splitlines()]
    assert [path.name for path in paths] == ["c.pth", "a.pth", "b.pth"]
    assert all(path.read_bytes() == BODY for path in paths)
    assert re.fullmatch(r"3 files, 12,000,000 bytes, [\d.]+ s", result.stderr.splitlines()[-1])


def test_json_of_several_files_is_one_document_in_the_order_requested(call, zoo_of):
    result = call("--zoo", zoo_of("a", "b"), "download", "b", "a", "--json")
    assert [Path(each["path"]).name for each in json.loads(result.stdout)] == ["b.pth", "a.pth"]


def test_all_is_every_kind_that_was_requested_of_every_model(call):
    result = call("--offline", "download", "--all", "--what", "weights", "--what", "preds")
    assert result.exit_code == 1
    assert "128 of 128 files could not be downloaded" in result.stderr


def test_there_is_at_least_one_job(call):
    assert call("download", "fcos_r50_fpn_1x", "--jobs", "0").exit_code == 2


@pytest.fixture
def interrupted(tmp_path):
    """Start the command line, send it a signal when every file named has partly arrived, and give how it ended."""

    def run(number: signal.Signals, partly: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bdd100k_zoo", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not all(arrived(tmp_path, name) for name in partly):
                time.sleep(0.01)
            process.send_signal(number)
            told = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, *told)

    return run


def arrived(tmp_path: Path, name: str) -> int:
    partials = (tmp_path / "cache").rglob(f"{name}.pth.*.partial")
    return max((path.stat().st_size for path in partials), default=0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["alone", "several"])
def test_an_interrupt_keeps_received_bytes_and_the_same_command_completes_them(
    call, host, zoo_of, interrupted, tmp_path, names, number, status
):
    arguments = ["--zoo", zoo_of(*names, stalled=names), "download", *names]
    ended = interrupted(number, names, *arguments)
    assert ended.returncode == status
    assert ended.stdout == ""
    told = ended.stderr.splitlines()
    assert told[0] == f"interrupted: 0 of {len(names)} files are complete, partly here:"
    for name, line in zip(names, told[1:-1], strict=True):
        (counted,) = re.fullmatch(rf"  {name} weights: ([\d,]+) of 4,000,000 bytes", line).groups()
        assert 0 < int(counted.replace(",", "")) <= arrived(tmp_path, name) < len(BODY)
    assert told[-1] == "the same command resumes from there"
    kept = {f"bytes={arrived(tmp_path, name)}-" for name in names}
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    assert {headers["Range"] for headers in host.seen_headers[len(names) :]} == kept
    assert all(Path(line.split("  ")[0]).read_bytes() == BODY for line in result.stdout.splitlines())


def test_an_interrupt_with_one_job_counts_complete_files(zoo_of, interrupted):
    zoo = zoo_of("a", "b", "c", stalled=("b",))
    ended = interrupted(signal.SIGINT, ("b",), "--zoo", zoo, "download", "a", "b", "c", "--jobs", "1")
    assert ended.returncode == 130
    assert "interrupted: 1 of 3 files are complete, partly here:\n  b weights: " in ended.stderr

"""Stdout and stderr of any encoding, on a full disk, closed, or without a reader: no traceback, no broken JSON."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENCODINGS = ("ascii", "latin-1", "cp1252", "gbk", "utf-8")
FULL = Path("/dev/full")
HELP = """
import sys
from bdd100k_zoo.cli.output import prepare_streams
from bdd100k_zoo.cli.app import build_app
prepare_streams()
app = build_app()
asked = [[], *([command.name] for command in app.registered_commands)]
for group in app.registered_groups:
    commands = group.typer_instance.registered_commands
    asked += [[group.name], *([group.name, each.name or each.callback.__name__] for each in commands)]
for words in asked:
    try:
        app(args=[*words, "--help"], prog_name="bdd100k-zoo")
    except SystemExit as end:
        assert end.code == 0, words
"""
ZOO = """
families:
- name: new
  title: Neu ü → 新
  paper: {title: Ü 新, venue: ×, address: "https://x.org/p"}
  authors: []
  code:
  note:
models:
- {name: m, aliases: [], family: new, backbone: R-50 ✓ 新, schedule: 1x, multi_scale_training: true, config: m.py,
   ap_val: 1.5, ap_test: 2.5, weights: {address: "https://x.org/m.pth", alternates: [], digest: , size: }, md5: ,
   predictions: , visuals: , scores_val: , scores_test: }
"""


def run(*arguments: str, encoding: str = "utf-8", **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bdd100k_zoo", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False, **pipes)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_help_is_shown_in_any_encoding(encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", HELP], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert done.stderr == b""
    text = done.stdout.decode(encoding)
    assert text.count("Usage: bdd100k-zoo") > 20
    assert "\\u" not in text
    # Three dots for one where there is no ellipsis.
    assert max(len(line.replace("...", "…")) for line in text.splitlines()) <= 80


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    (tmp_path / "m.py").write_text("_base_ = ['bdd100k_zoo::retinanet_r50_fpn_1x_det_bdd100k.py']")
    path = tmp_path / "zoo-ü-新.yaml"
    path.write_text(ZOO, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", ["list", "info m", "table", "table --format csv", "table --format latex"])
def test_text_of_zoo_files_is_shown_in_any_encoding(command: str, encoding: str, zoo: str) -> None:
    done = run("--zoo", zoo, *command.split(), encoding=encoding)
    assert done.returncode == 0, done.stderr.decode(encoding)
    shown = "✓ 新".encode(encoding, "backslashreplace")
    assert shown in done.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_stays_json_in_any_encoding(encoding: str, zoo: str) -> None:
    done = run("--zoo", zoo, "list", "--json", encoding=encoding)
    assert json.loads(done.stdout.decode(encoding))[-1]["backbone"] == "R-50 ✓ 新"
    unknown = run("info", "ключ", "--json", encoding=encoding)
    assert unknown.returncode == 1
    assert "ключ" in json.loads(unknown.stdout.decode(encoding))["error"]


def test_a_name_of_bytes_that_are_no_text_is_an_unknown_name() -> None:
    for form in ([], ["--json"]):
        done = run("info", "a\udcff", *form)
        assert done.returncode == 1
        assert b"bug" not in done.stdout + done.stderr


def test_punctuation_becomes_what_every_encoding_has(zoo: str) -> None:
    assert "Neu ü -> \\u65b0".encode("latin-1") in run("--zoo", zoo, "list", encoding="latin-1").stdout


def test_an_encoding_that_was_requested_with_its_own_replacement_keeps_it(zoo: str) -> None:
    assert b"R-50 ? ?" in run("--zoo", zoo, "list", encoding="ascii:replace").stdout


def test_a_document_is_written_in_utf_8_whatever_stdout_has(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("<!-- bdd100k-zoo table: begin -->\n<!-- bdd100k-zoo table: end -->\n")
    markers = run("table", "--out", str(document), encoding="ascii")
    assert markers.returncode == 0, markers.stderr.decode()
    assert "✓" in document.read_text(encoding="utf-8")
    assert run("table", "--check", str(document), encoding="ascii").returncode == 0


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "command", ["--help", "--version", "predict --help", "list", "list --json", "table", "info lost --json"]
)
def test_a_full_disk_behind_stdout_is_one_message(command: str) -> None:
    with FULL.open("wb") as full:
        done = run(*command.split(), stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write to stdout: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stderr_fails_nothing() -> None:
    with FULL.open("wb") as full:
        done = run("table", "--format", "csv", stderr=full)
        listed = run("list", stderr=full)
    assert done.returncode == listed.returncode == 0
    assert len(list(csv.reader(done.stdout.decode().splitlines()))) == 64 + 1


def test_a_reader_that_is_gone_is_no_reason_to_speak() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("list", "--json", stdout=writer)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize("closed", [1, 2])
@pytest.mark.parametrize("command", ["list", "list --json", "info lost", "--help"])
def test_a_stream_that_is_closed_from_the_start_fails_nothing(command: str, closed: int) -> None:
    words = f'exec "$@" {closed}>&-'
    done = subprocess.run(
        ["sh", "-c", words, "sh", sys.executable, "-m", "bdd100k_zoo", *command.split()],
        capture_output=True,
        check=False,
    )
    assert done.returncode == (1 if "lost" in command else 0)
    assert b"Traceback" not in done.stdout + done.stderr

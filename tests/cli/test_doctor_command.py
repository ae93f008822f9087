"""doctor as a user sees it, in incomplete installations."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

BROKEN = """
import sys
package, reason, *arguments = sys.argv[1:]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ImportError(reason)
sys.meta_path.insert(0, Refuse())
sys.argv = ["bdd100k-zoo", "doctor", *arguments]
from bdd100k_zoo.cli.app import main
main()
"""
"""Runs doctor where a package does not import."""

BARE = """
import sys
from importlib import metadata
true = metadata.version
def version(name):
    if name in ("numpy", "Pillow"):
        return true(name)
    raise metadata.PackageNotFoundError(name)
metadata.version = version
sys.argv = ["bdd100k-zoo", "doctor", *sys.argv[1:]]
from bdd100k_zoo.cli.app import main
main()
"""
"""Runs doctor where nothing but the core is installed."""


def run(program, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("package", "reason", "repair"),
    [
        ("torchvision", "No module named 'torchvision'", "torchvision"),
        ("cv2", "libGL.so.1: cannot open shared object file: No such file or directory", "headless"),
    ],
)
def test_a_broken_import_is_reported_with_its_repair(package, reason, repair):
    pytest.importorskip("mmdet")
    done = run(BROKEN, package, reason, "--json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert not document["healthy"]
    findings = {finding["what"]: finding for finding in document["findings"]}
    assert findings[package]["state"] == "wrong"
    assert repair in findings[package]["repairs"][0]
    assert findings["mmdet"]["state"] == findings["ops"]["state"] == "unknown"
    assert "mmdet3" not in document["versions"]
    assert document["versions"]["torch"]


def test_the_core_alone_is_healthy_and_optional_extras_are_listed():
    done = run(BARE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if "install: " not in line)
    assert any(line.startswith("absent") and "videos" in line for line in lines)
    assert any(line.strip().startswith("install:") and "bdd100k-zoo[official]" in line for line in lines)
    assert "everything that is installed works" in done.stderr


def test_commands_are_not_wrapped(tmp_path, monkeypatch):
    cache = tmp_path / "file"
    cache.write_text("")
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(cache))
    done = run(BARE)
    assert done.returncode == 1
    assert "  repair: set BDD100K_ZOO_CACHE to a folder of yours" in done.stdout.splitlines()
    assert "wrong: cache; after a repair, run `bdd100k-zoo doctor` again" in " ".join(done.stderr.split())


def test_zoo_files_of_the_command_line_are_checked(tmp_path):
    done = run(BARE, "--imports-only", "--json", "--zoo", str(tmp_path / "no.yaml"))
    assert done.returncode == 1, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "no.yaml" in findings["bdd100k-zoo"]["found"]


def test_the_json_document_is_as_documented():
    document = json.loads(run(BARE, "--json").stdout)
    assert list(document) == ["bdd100k_zoo", "system", "healthy", "backend", "versions", "gpu", "findings"]
    assert set(document["gpu"]) == {"torch", "driver", "driver_cuda", "cards"}
    assert {"python", "torch", "mmcv-full", "pydantic"} <= set(document["versions"])
    assert all(set(finding) == {"what", "state", "found", "repairs"} for finding in document["findings"])

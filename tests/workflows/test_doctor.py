"""doctor finds this installation sound, and names the repair of one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bdd100k_zoo.workflows.doctor import examine
from bdd100k_zoo.workflows.repairs import repair_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_sound_installation_predicts():
    findings = {finding.what: finding for finding in examine()}
    assert all(finding.fine for finding in findings.values()), findings
    assert set(findings) >= {"Python", "torch", "torchvision", "cv2", "mmengine", "mmcv", "mmdet", "CUDA", "trial"}
    assert "boxes" in findings["trial"].found


@pytest.mark.parametrize(
    ("reason", "repair"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file", "libglib2.0-0"),
        ("No module named 'torchvision'", "pip install torchvision"),
        ("No module named 'mmdet'", "pip install 'bdd100k-zoo[predict]'"),
        ("MMCV==2.2.0 is used but incompatible. Please install", "pip install mmcv-lite==2.1.0"),
        ("operator torchvision::nms does not exist", "--force-reinstall torch torchvision"),
        ("something never seen", "pip install"),
        (
            "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88",
            "--force-reinstall numpy",
        ),
        ("weights.pth: No space left on device", "TMPDIR"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "stop what else"),
        ("The NVIDIA driver on your system is too old (found version 11040)", "update the NVIDIA driver"),
    ],
)
def test_each_known_fault_has_its_repair(reason, repair):
    assert repair in repair_of(reason)


def findings_of(*zoo_files, trial=False):
    return {finding.what: finding for finding in examine(zoo_files, trial=trial)}


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize(
    "content", [None, "models: [", "models:\n- name: x\n"], ids=["missing", "no YAML", "incomplete"]
)
def test_a_broken_zoo_file_is_a_finding(content, way, tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    if content:
        file.write_text(content)
    if way == "environment":
        monkeypatch.setenv("BDD100K_ZOO_FILES", str(file))
    findings = findings_of(*([file] if way == "argument" else []))
    assert not findings["bdd100k-zoo"].fine
    assert str(file) in findings["bdd100k-zoo"].found
    assert str(file) in findings["bdd100k-zoo"].repair
    assert findings["mmdet"].fine
    assert findings["CUDA"].fine


def test_the_command_line_hands_its_zoo_files_over(tmp_path):
    command = [
        sys.executable,
        "-m",
        "bdd100k_zoo",
        "doctor",
        "--imports-only",
        "--json",
        "--zoo",
        str(tmp_path / "no.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert "no.yaml" in findings["bdd100k-zoo"]["found"]


@pytest.mark.parametrize(
    ("cache", "problem"),
    [("file", "is a file"), ("file/below", "Not a directory"), ("x" * 300, "too long")],
)
def test_a_cache_that_cannot_be_is_a_finding(cache, problem, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BDD100K_ZOO_CACHE", cache)
    finding = findings_of()["cache"]
    assert not finding.fine
    assert problem in finding.found
    assert "BDD100K_ZOO_CACHE" in finding.repair


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
@pytest.mark.parametrize("cache", ["locked", "locked/below/further"])
def test_a_cache_below_a_locked_folder_is_a_finding(cache, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir(mode=0o000)
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / cache))
    assert not findings_of()["cache"].fine


def test_a_trial_that_fails_in_any_way_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    finding = findings_of(trial=True)["trial"]
    assert not finding.fine
    assert "FileNotFoundError" in finding.found


def test_a_torch_for_rocm_is_called_so(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.3.4")
    assert "ROCm 6.3.4" in findings_of()["CUDA"].found


def test_the_rest_of_an_installation_that_was_cut_short_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "mmcv_full-1.7.2.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert findings_of()["mmcv"].fine


BROKEN = """
import sys
package, reason = sys.argv[1:]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ImportError(reason)
sys.meta_path.insert(0, Refuse())
sys.argv = ["bdd100k-zoo", "doctor", "--json"]
from bdd100k_zoo.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("package", "reason", "repair"),
    [
        ("torchvision", "No module named 'torchvision'", "torchvision"),
        ("cv2", "libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
    ],
)
def test_a_broken_import_is_told_with_its_repair(package, reason, repair, tmp_path):
    command = [sys.executable, "-c", BROKEN, package, reason]
    environment = {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert not findings[package]["fine"]
    assert repair in findings[package]["repair"]
    assert "left out" in findings["trial"]["found"]
